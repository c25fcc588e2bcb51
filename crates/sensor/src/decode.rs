//! Bytes of the ring → [`Record`]. Total: whatever the bytes are, the answer is a record or a [`Malformed`]; nothing is read past the end,
//! and what is not understood is skipped.

use atalaya_model::EventData;
use atalaya_model::capture::{
    Body, CaptureKind, CgroupMove, CgroupPath, Credentials, Exec, Exit, FileFields, Fork, Header,
    Namespaces, PathOrigin, Task,
};
use atalaya_model::record::{EventRecord, Text};
use zerocopy::FromBytes;

use crate::layout::{
    self, CallBody, CgroupBody, EventHead, ExecBody, ExitBody, FileInfo, ForkBody, HeartbeatBody,
    ObjectBody, RecordHeader, Section, TaskBody, UringBody,
};

/// Why a record was not understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Fewer bytes than its fixed part.
    #[error("shorter than its fixed part")]
    Short,
    /// The size it states is not the size it has.
    #[error("states another size than it has")]
    Size,
    /// A kind that this build does not know.
    #[error("of an unknown kind")]
    Kind,
    /// Its own struct is too short, or makes no sense.
    #[error("makes no event of its kind")]
    Body,
    /// A section reaches past the end.
    #[error("has a section past its end")]
    Section,
}

/// One record of the ring. Captures are complete; the others are parts that [`crate::assemble`] joins.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// What every record has.
    pub header: Header,
    /// The ring it says it came through.
    pub ring: u32,
    /// What only its kind has.
    pub part: Part,
}

/// What only one kind of record has.
#[derive(Debug, Clone, PartialEq)]
pub enum Part {
    /// Needs nothing more.
    Whole(Body),
    /// An exec; a script may have been sent ahead.
    Exec(Box<Exec>, Option<Interp>),
    /// The script of the exec that follows on the same thread.
    Script(Box<FileFields>),
    /// Any other event.
    Event(Box<EventData>),
    /// A file call.
    Call(Box<Call>),
    /// An object of the call that follows on the same thread.
    Object(Box<Object>),
    /// A process that is there, as the iterator tells it.
    Task(Box<Task>),
    /// An io_uring request; the call that ends it follows, unless `silent`.
    Request(Box<Request>),
}

/// The interpreter's path, as the kernel copied it out of the script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interp(pub String);

/// A file call with its arguments, before its objects are joined.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// Which call.
    pub kind: CaptureKind,
    /// What it returned.
    pub retval: i64,
    /// See [`atalaya_model::capture::FileCall`] for these.
    pub flags: u32,
    /// See above.
    pub mode: u32,
    /// See above.
    pub uid: i32,
    /// See above.
    pub gid: i32,
    /// See above.
    pub dirfd: i32,
    /// See above.
    pub atime_ns: u64,
    /// See above.
    pub mtime_ns: u64,
    /// The io_uring request it ends; 0 for none.
    pub request: u64,
    /// The number its objects carry; 0 for none.
    pub number: u64,
    /// A stacked file system was changed: objects of others are not what the caller named.
    pub stacked: bool,
    /// The file, where the record itself has it.
    pub file: Option<FileFields>,
    /// The path arguments.
    pub paths: [Argument; 2],
}

/// A path argument in the caller's words and the directory it starts from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Argument {
    /// The text; `None` when there is none or it could not be read.
    pub text: Option<String>,
    /// It is the kernel's copy, not the caller's memory.
    pub kernel_copy: bool,
    /// It is longer than what was captured.
    pub truncated: bool,
    /// The directory it starts from, as a path.
    pub base: Option<String>,
}

/// An object that a call works on.
#[derive(Debug, Clone, PartialEq)]
pub struct Object {
    /// The call's number.
    pub number: u64,
    /// One of `ROLE_*`.
    pub role: u32,
    /// The file.
    pub file: FileFields,
}

/// An io_uring request.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// Its address.
    pub request: u64,
    /// No completion follows unless it fails.
    pub silent: bool,
    /// The call it will make.
    pub call: Call,
}

/// Decodes one record.
pub fn decode(bytes: &[u8]) -> Result<Record, Malformed> {
    let (raw, rest) = RecordHeader::read_from_prefix(bytes).map_err(|_| Malformed::Short)?;
    if raw.size as usize != bytes.len() {
        return Err(Malformed::Size);
    }
    let header = header_of(&raw);
    let part = match raw.kind {
        layout::KIND_SCRIPT => {
            let sections = Sections::read(rest)?;
            Part::Script(Box::new(sections.file.unwrap_or_default()))
        }
        layout::KIND_TASK => Part::Task(Box::new(task_of(header.clone(), rest)?)),
        layout::KIND_OBJECT => {
            let (body, rest) = fixed::<ObjectBody>(rest)?;
            let sections = Sections::read(rest)?;
            Part::Object(Box::new(Object {
                number: body.call,
                role: body.role,
                file: sections.file.unwrap_or_default(),
            }))
        }
        layout::KIND_URING => {
            let (uring, rest) = fixed::<UringBody>(rest)?;
            let kind = u16::try_from(uring.call_kind)
                .ok()
                .and_then(CaptureKind::from_number)
                .ok_or(Malformed::Kind)?;
            let (body, rest) = fixed::<CallBody>(rest)?;
            let call = call_of(kind, &body, Sections::read(rest)?);
            Part::Request(Box::new(Request {
                request: uring.request,
                silent: uring.silent != 0,
                call,
            }))
        }
        number => match CaptureKind::from_number(number).ok_or(Malformed::Kind)? {
            CaptureKind::Fork => Part::Whole(fork_of(rest)?),
            CaptureKind::Exec => exec_of(rest)?,
            CaptureKind::Exit => Part::Whole(Body::Exit(Exit {
                status: fixed::<ExitBody>(rest)?.0.status,
            })),
            CaptureKind::Cgroup => {
                let (body, rest) = fixed::<CgroupBody>(rest)?;
                let sections = Sections::read(rest)?;
                Part::Whole(Body::Cgroup(CgroupMove {
                    cgroup_id: body.cgroup_id,
                    cgroup: sections.cgroup,
                }))
            }
            CaptureKind::Heartbeat => {
                Part::Whole(Body::Heartbeat(fixed::<HeartbeatBody>(rest)?.0.number))
            }
            kind if !kind.is_file_call() => Part::Event(Box::new(event_of(kind, &header, rest)?)),
            kind => {
                let (body, rest) = fixed::<CallBody>(rest)?;
                Part::Call(Box::new(call_of(kind, &body, Sections::read(rest)?)))
            }
        },
    };
    Ok(Record {
        header,
        ring: raw.ring,
        part,
    })
}

fn fixed<T: FromBytes>(bytes: &[u8]) -> Result<(T, &[u8]), Malformed> {
    T::read_from_prefix(bytes).map_err(|_| Malformed::Short)
}

fn header_of(raw: &RecordHeader) -> Header {
    Header {
        cpu: raw.cpu,
        seq: raw.seq,
        time_ns: raw.time_ns,
        pid: raw.pid,
        tid: raw.tid,
        cgroup_id: raw.cgroup_id,
        mntns: raw.mntns,
        netns: raw.netns,
        start_low: raw.start_low,
        ppid: raw.ppid,
        session: raw.session,
        creds: Credentials {
            uid: raw.uid,
            gid: raw.gid,
            euid: raw.euid,
            egid: raw.egid,
            fsuid: raw.fsuid,
            fsgid: raw.fsgid,
            auid: raw.auid,
            cap_effective: raw.cap_effective,
            cap_permitted: raw.cap_permitted,
        },
        comm: text(&raw.comm),
        is_async: raw.flags & layout::HEADER_ASYNC != 0,
        compat: raw.flags & layout::HEADER_COMPAT != 0,
        creds_after: raw.flags & layout::HEADER_CREDS_AFTER != 0,
        no_task: raw.flags & layout::HEADER_NO_TASK != 0,
    }
}

fn namespaces(raw: &layout::Namespaces) -> Namespaces {
    Namespaces {
        mnt: raw.mnt,
        net: raw.net,
        pid: raw.pid,
        user: raw.user,
        uts: raw.uts,
        ipc: raw.ipc,
        cgroup: raw.cgroup,
    }
}

fn fork_of(bytes: &[u8]) -> Result<Body, Malformed> {
    let (body, rest) = fixed::<ForkBody>(bytes)?;
    let sections = Sections::read(rest)?;
    Ok(Body::Fork(Fork {
        child_pid: body.child_pid,
        parent_pid: body.parent_pid,
        start_time_ns: body.start_time_ns,
        is_kthread: body.is_kthread != 0,
        namespaces: namespaces(&body.ns),
        ns_pid: body.ns_pid,
        cgroup_id: body.cgroup_id,
        cgroup: sections.cgroup,
    }))
}

fn task_of(header: Header, bytes: &[u8]) -> Result<Task, Malformed> {
    let (body, rest) = fixed::<TaskBody>(bytes)?;
    let sections = Sections::read(rest)?;
    Ok(Task {
        header,
        start_time_ns: body.start_time_ns,
        sid: body.sid,
        ns_pid: body.ns_pid,
        is_kthread: body.is_kthread != 0,
        is_fork: body.is_fork != 0,
        namespaces: namespaces(&body.ns),
        exe: sections.file.unwrap_or_default(),
        cgroup: sections.cgroup,
        tty: sections.tty,
    })
}

fn exec_of(bytes: &[u8]) -> Result<Part, Malformed> {
    let (body, rest) = fixed::<ExecBody>(bytes)?;
    let sections = Sections::read(rest)?;
    let exec = Exec {
        file: sections.file.unwrap_or_default(),
        interpreter: None,
        filename: sections.filename,
        ppid: body.ppid,
        sid: body.sid,
        tty: sections.tty,
        start_time_ns: body.start_time_ns,
        args: sections.args,
        args_truncated: body.args_truncated != 0,
        envs: sections.envs,
        envs_truncated: body.envs_truncated != 0,
        namespaces: namespaces(&body.ns),
        ns_pid: body.ns_pid,
        cgroup: sections.cgroup,
        cwd: sections.cwd,
    };
    Ok(Part::Exec(Box::new(exec), sections.interp.map(Interp)))
}

fn event_of(kind: CaptureKind, header: &Header, bytes: &[u8]) -> Result<EventData, Malformed> {
    let (head, rest) = fixed::<EventHead>(bytes)?;
    let size = head.size as usize;
    let body = rest.get(..size).ok_or(Malformed::Short)?;
    let sections = rest.get(size.next_multiple_of(8)..).unwrap_or_default();
    let sections = Sections::read(sections)?;
    let [first, second] = sections.paths;
    let mut record = EventRecord {
        header: header.clone(),
        retval: head.retval,
        body,
        files: [sections.file, sections.file2],
        texts: [first.into_text(), second.into_text()],
        bytes: sections.bytes,
    };
    let event = EventData::read(kind, &mut record).or_else(|| match kind {
        // Whatever is sent to the port of DNS comes: what is no message is an event of its own.
        CaptureKind::Dns => EventData::read(CaptureKind::FailedDns, &mut record),
        _ => None,
    });
    event.ok_or(Malformed::Body)
}

fn call_of(kind: CaptureKind, body: &CallBody, sections: Sections<'_>) -> Call {
    Call {
        kind,
        retval: body.retval,
        flags: body.flags,
        mode: body.mode,
        uid: body.uid,
        gid: body.gid,
        dirfd: body.dirfd,
        atime_ns: body.atime_ns,
        mtime_ns: body.mtime_ns,
        request: body.request,
        number: body.call,
        stacked: body.stacked != 0,
        file: sections.file,
        paths: sections.paths,
    }
}

/// All that sections can say.
#[derive(Debug, Default)]
struct Sections<'a> {
    file: Option<FileFields>,
    file2: Option<FileFields>,
    bytes: &'a [u8],
    paths: [Argument; 2],
    args: Vec<String>,
    envs: Vec<String>,
    cgroup: CgroupPath,
    tty: String,
    filename: String,
    cwd: String,
    interp: Option<String>,
}

impl<'a> Sections<'a> {
    fn read(mut bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut out = Self::default();
        // A record's length is a multiple of eight; fewer bytes than a section header at its end are padding.
        while bytes.len() >= size_of::<Section>() {
            let (section, rest) = fixed::<Section>(bytes)?;
            let len = section.len as usize;
            let data = rest.get(..len).ok_or(Malformed::Section)?;
            out.take(&section, data);
            bytes = rest.get(len.next_multiple_of(8)..).unwrap_or_default();
        }
        Ok(out)
    }

    fn take(&mut self, section: &Section, data: &'a [u8]) {
        match section.tag {
            layout::SECTION_FILE => take_file(&mut self.file, data),
            layout::SECTION_PATH => take_path(&mut self.file, section, data),
            layout::SECTION_FILE2 => take_file(&mut self.file2, data),
            layout::SECTION_PATH2 => take_path(&mut self.file2, section, data),
            layout::SECTION_BYTES => self.bytes = data,
            layout::SECTION_ARG => self.paths[0].take(section, data),
            layout::SECTION_ARG2 => self.paths[1].take(section, data),
            layout::SECTION_BASE => self.paths[0].base = Some(path_of(data, section.flags)),
            layout::SECTION_BASE2 => self.paths[1].base = Some(path_of(data, section.flags)),
            layout::SECTION_ARGS => self.args = strings(data),
            layout::SECTION_ENVS => self.envs = strings(data),
            layout::SECTION_CGROUP => self.cgroup.unified = path_of(data, 0),
            layout::SECTION_CGROUP_V1 => self.cgroup.v1 = path_of(data, 0),
            layout::SECTION_TTY => self.tty = text(data),
            layout::SECTION_FILENAME => self.filename = text(data),
            layout::SECTION_CWD => self.cwd = path_of(data, section.flags),
            layout::SECTION_INTERP => self.interp = Some(text(data)),
            _ => {} // of a newer object
        }
    }
}

fn take_file(file: &mut Option<FileFields>, data: &[u8]) {
    if let Ok(info) = FileInfo::read_from_bytes(data) {
        known_file(file.get_or_insert_default(), &info);
    }
}

fn take_path(file: &mut Option<FileFields>, section: &Section, data: &[u8]) {
    let file = file.get_or_insert_default();
    file.path = path_of(data, section.flags);
    file.origin = PathOrigin::Kernel;
    file.truncated = section.flags & layout::PATH_TRUNCATED != 0;
    file.detached = section.flags & layout::PATH_DETACHED != 0;
}

impl Argument {
    fn into_text(self) -> Option<Text> {
        Some(Text {
            text: self.text?,
            kernel_copy: self.kernel_copy,
            truncated: self.truncated,
        })
    }

    fn take(&mut self, section: &Section, data: &[u8]) {
        // An empty text is a fault, or an argument that is empty because the call is on a descriptor.
        self.text = (!data.is_empty())
            .then(|| text(data))
            .filter(|text| !text.is_empty());
        self.kernel_copy = section.flags & layout::STRING_KERNEL != 0;
        self.truncated = section.flags & layout::PATH_TRUNCATED != 0;
    }
}

fn known_file(file: &mut FileFields, info: &FileInfo) {
    file.known = true;
    file.inode = info.inode;
    file.dev = user_dev(info.dev);
    file.mount_id = info.mount_id;
    file.mode = info.mode;
    file.uid = info.uid;
    file.gid = info.gid;
    file.nlink = info.nlink;
    file.deleted = info.nlink == 0;
    file.mtime_ns = info.mtime_ns;
    file.ctime_ns = info.ctime_ns;
    file.filesystem = text(&info.filesystem);
}

/// The kernel's device number (12 bits of major over 20 of minor) as `stat(2)` tells it.
fn user_dev(dev: u64) -> u64 {
    let (major, minor) = (dev >> 20, dev & 0xf_ffff);
    (minor & 0xff) | ((major & 0xfff) << 8) | ((minor & !0xff) << 12)
}

/// The text up to the first NUL.
fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

/// Strings that are each ended by NUL; a last one that is cut off has none.
fn strings(bytes: &[u8]) -> Vec<String> {
    let bytes = bytes.strip_suffix(&[0]).unwrap_or(bytes);
    if bytes.is_empty() {
        return Vec::new();
    }
    bytes
        .split(|b| *b == 0)
        .map(|s| String::from_utf8_lossy(s).into_owned())
        .collect()
}

/// A path from its elements, innermost first. A name under no root (a memfd) stays a name, without a leading slash.
fn path_of(bytes: &[u8], flags: u16) -> String {
    let bytes = bytes.strip_suffix(&[0]).unwrap_or(bytes);
    if bytes.is_empty() {
        return "/".to_owned();
    }
    let rootless = flags & layout::PATH_DETACHED != 0 && !bytes.contains(&0);
    let mut path = Vec::with_capacity(bytes.len() + 1);
    for element in bytes.rsplit(|b| *b == 0) {
        if !rootless {
            path.push(b'/');
        }
        path.extend_from_slice(element);
    }
    String::from_utf8(path)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use proptest::prelude::*;
    use zerocopy::{FromZeros, IntoBytes};

    use super::*;

    fn record(kind: u16, body: &[u8], sections: &[(u16, u16, &[u8])]) -> Vec<u8> {
        let mut header = RecordHeader::new_zeroed();
        header.kind = kind;
        header.comm[..4].copy_from_slice(b"test");
        let mut bytes = header.as_bytes().to_vec();
        bytes.extend_from_slice(body);
        for (tag, flags, data) in sections {
            bytes.extend_from_slice(
                Section {
                    tag: *tag,
                    flags: *flags,
                    len: data.len() as u32,
                }
                .as_bytes(),
            );
            bytes.extend_from_slice(data);
            bytes.resize(bytes.len().next_multiple_of(8), 0xAA);
        }
        let size = bytes.len() as u32;
        bytes[4..8].copy_from_slice(&size.to_le_bytes());
        bytes
    }

    fn open_record() -> Vec<u8> {
        let mut info = FileInfo::new_zeroed();
        info.inode = 7;
        info.dev = (8 << 20) | 1;
        info.nlink = 1;
        info.filesystem[..4].copy_from_slice(b"ext4");
        let body = CallBody {
            flags: 2,
            retval: 3,
            ..CallBody::new_zeroed()
        };
        record(
            16,
            body.as_bytes(),
            &[
                (layout::SECTION_FILE, 0, info.as_bytes()),
                (layout::SECTION_PATH, 0, b"passwd\0etc\0"),
                (layout::SECTION_ARG, 0, b"../etc/passwd\0"),
                (999, 0, b"from the future"),
            ],
        )
    }

    #[test]
    fn an_open_has_its_path_inode_and_argument() {
        let record = decode(&open_record()).unwrap();
        assert_eq!(record.header.comm, "test");
        let Part::Call(call) = record.part else {
            panic!("not a call")
        };
        let file = call.file.unwrap();
        assert_eq!(
            (
                file.path.as_str(),
                file.inode,
                file.dev,
                file.filesystem.as_str()
            ),
            ("/etc/passwd", 7, 0x801, "ext4")
        );
        assert_eq!(call.paths[0].text.as_deref(), Some("../etc/passwd"));
        assert!(file.known && !file.deleted);
    }

    #[test]
    fn a_cut_record_is_refused_at_every_length() {
        let whole = open_record();
        for len in 0..whole.len() {
            assert!(decode(&whole[..len]).is_err(), "{len} bytes");
            // The same with a size that agrees: sections may be missing, nothing may be read past the end.
            let mut cut = whole[..len].to_vec();
            if len >= 8 {
                cut[4..8].copy_from_slice(&(len as u32).to_le_bytes());
                let _ = decode(&cut);
            }
        }
    }

    #[test]
    fn a_memfd_is_a_name_and_the_root_is_a_slash() {
        assert_eq!(path_of(b"memfd:x\0", layout::PATH_DETACHED), "memfd:x");
        assert_eq!(path_of(b"", 0), "/");
        assert_eq!(path_of(b"b\0a\0", layout::PATH_DETACHED), "/a/b");
        assert_eq!(path_of(b"\xff\0", 0), "/\u{fffd}");
    }

    #[test]
    fn arguments_keep_empty_strings() {
        assert_eq!(strings(b"sh\0\0-c\0"), ["sh", "", "-c"]);
        assert_eq!(strings(b"sh\0cut"), ["sh", "cut"]);
        assert!(strings(b"").is_empty());
        assert_eq!(strings(b"\0"), Vec::<String>::new());
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_record_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
            let _ = decode(&bytes);
        }

        #[test]
        fn any_sections_are_read_or_refused(kind in 1u16..33, body in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = decode(&record(kind, &body, &[]));
        }
    }
}
