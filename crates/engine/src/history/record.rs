//! One event of the past, in few bytes.

use std::fmt::{self, Write};

use atalaya_model::capture::CaptureKind;
use atalaya_model::{Address, EventData, File, Process};

/// Bytes of what the event was about: of a longer text the beginning and, since it tells most of a path, the end.
const DETAIL: usize = 68;
const HEAD: usize = 20;
const GAP: &[u8] = "…".as_bytes();
/// Bytes of a comm.
const COMM: usize = 16;
/// Who began at the same time within this (2^20 ns each) is the same: times of `/proc` are rougher than those of captures, and the
/// difference of the clocks is measured anew now and then.
const SAME: u32 = 24;
/// More nodes of one process than this are not looked through for its parent.
const MAX_NODES: usize = 8;

/// A process: by its pid, and when it was forked, since pids are used again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Who {
    pub(super) pid: u32,
    /// In units of 2^20 ns, its lower half; 0 when unknown.
    began: u32,
}

impl Who {
    pub(super) fn of(process: &Process) -> Self {
        Self {
            pid: process.pid,
            began: (process.fork_time >> 20) as u32,
        }
    }

    /// The process that it is a child of: not what it was itself before an exec.
    pub(super) fn parent_of(process: &Process) -> Self {
        let mut nodes = process.ancestors().take(MAX_NODES);
        let parent = nodes.find(|node| node.pid != process.pid);
        parent.map_or_else(
            || Self {
                pid: process.ppid,
                began: 0,
            },
            Self::of,
        )
    }

    pub(super) fn is(self, other: Self) -> bool {
        let apart = self.began.wrapping_sub(other.began);
        let is_known = self.began != 0 && other.began != 0;
        self.pid == other.pid && (!is_known || apart.min(apart.wrapping_neg()) <= SAME)
    }
}

/// One event of the past.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    /// Boot time.
    pub(super) time_ns: u64,
    pub(super) who: Who,
    pub(super) parent: Who,
    /// A hash of the container's id; 0: in none.
    pub(super) container: u32,
    /// What failed calls returned, without the sign; else 0.
    pub(super) error: u16,
    pub(super) kind: CaptureKind,
    comm: [u8; COMM],
    detail: Detail,
}

impl Record {
    /// Of an event and who did it.
    pub(crate) fn new(time_ns: u64, process: &Process, data: &EventData) -> Self {
        let mut record = Self::of(time_ns, data.kind(), process);
        let error = data.retval().filter(|value| *value < 0).unwrap_or(0);
        record.error = u16::try_from(error.unsigned_abs()).unwrap_or(0);
        record.detail.tell(process, data);
        record
    }

    /// That a process has begun.
    pub(crate) fn fork(time_ns: u64, child: &Process) -> Self {
        Self::of(time_ns, CaptureKind::Fork, child)
    }

    fn of(time_ns: u64, kind: CaptureKind, process: &Process) -> Self {
        let mut comm = [0; COMM];
        let bytes = process.comm.as_bytes();
        let length = bytes.len().min(COMM);
        comm[..length].copy_from_slice(&bytes[..length]);
        Self {
            time_ns,
            who: Who::of(process),
            parent: Who::parent_of(process),
            container: container(process),
            error: 0,
            kind,
            comm,
            detail: Detail::default(),
        }
    }

    pub(super) fn comm(&self) -> String {
        let length = self.comm.iter().position(|b| *b == 0).unwrap_or(COMM);
        String::from_utf8_lossy(&self.comm[..length]).into_owned()
    }

    pub(super) fn detail(&self) -> String {
        let bytes = &self.detail.bytes[..usize::from(self.detail.length)];
        String::from_utf8_lossy(bytes).into_owned()
    }
}

/// The container of a process, so that two are told apart; 0: none.
pub(super) fn container(process: &Process) -> u32 {
    let id = process.container_id().as_bytes();
    // FNV: ids are long random numbers of a runtime, and a mistake costs a line that is not of the container.
    let hash = id.iter().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    });
    if id.is_empty() { 0 } else { hash.max(1) }
}

/// A text of few bytes.
#[derive(Debug, Clone)]
struct Detail {
    length: u8,
    bytes: [u8; DETAIL],
}

impl Default for Detail {
    fn default() -> Self {
        Self {
            length: 0,
            bytes: [0; DETAIL],
        }
    }
}

impl Write for Detail {
    /// What finds no room is left out.
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = DETAIL - usize::from(self.length);
        self.add(text.as_bytes(), room);
        Ok(())
    }
}

impl Detail {
    /// Adds a text in so many bytes at most.
    fn add(&mut self, text: &[u8], room: usize) {
        let from = usize::from(self.length);
        let room = room.min(DETAIL - from);
        let mut put = |at: usize, part: &[u8]| {
            self.bytes[from + at..from + at + part.len()].copy_from_slice(part);
        };
        let length = if text.len() <= room {
            put(0, text);
            text.len()
        } else if room > HEAD + GAP.len() {
            let tail = room - HEAD - GAP.len();
            put(0, &text[..HEAD]);
            put(HEAD, GAP);
            put(HEAD + GAP.len(), &text[text.len() - tail..]);
            room
        } else {
            put(0, &text[..room]);
            room
        };
        self.length += length as u8;
    }

    fn file(&mut self, file: &File, given: &str) {
        let path = if file.path.is_empty() {
            given
        } else {
            &file.path
        };
        self.add(path.as_bytes(), DETAIL);
    }

    fn address(&mut self, address: &Address) {
        // Writing cannot fail; what finds no room is left out.
        let _ = match address.ip {
            Some(ip) if ip.addr().is_ipv6() => write!(self, "[{}]:{}", ip.addr(), address.port),
            Some(ip) => write!(self, "{}:{}", ip.addr(), address.port),
            None => write!(self, "family {}", address.family),
        };
    }

    fn two(&mut self, from: &File, to: &File) {
        const ARROW: &str = " -> ";
        let half = (DETAIL - ARROW.len()) / 2;
        self.add(from.path.as_bytes(), half);
        self.add(ARROW.as_bytes(), ARROW.len());
        self.add(to.path.as_bytes(), DETAIL);
    }

    /// What an event was about.
    fn tell(&mut self, process: &Process, data: &EventData) {
        use EventData as Data;
        match data {
            Data::Exec(_) => self.file(&process.image.file, &process.image.filename),
            Data::Exit(exit) => {
                let _ = write!(self, "{} {}", exit.cause.name(), exit.code);
            }
            Data::Open(call) => self.file(&call.file, &call.syscall_path),
            Data::Chmod(call) => self.file(&call.file, &call.syscall_path),
            Data::Chown(call) => self.file(&call.file, &call.syscall_path),
            Data::Unlink(call) => self.file(&call.file, &call.syscall_path),
            Data::Rmdir(call) => self.file(&call.file, &call.syscall_path),
            Data::Mkdir(call) => self.file(&call.file, &call.syscall_path),
            Data::Utimes(call) => self.file(&call.file, &call.syscall_path),
            Data::Chdir(call) => self.file(&call.file, &call.syscall_path),
            Data::Rename(call) => self.two(&call.file, &call.destination),
            Data::Link(call) => self.two(&call.file, &call.destination),
            Data::Setxattr(call) | Data::Removexattr(call) => self.file(&call.file, ""),
            Data::Mmap(call) => self.file(&call.file, ""),
            Data::Splice(call) => self.file(&call.file, ""),
            Data::CgroupWrite(call) => self.file(&call.file, ""),
            Data::Connect(call) => self.address(&call.addr.address),
            Data::Accept(call) => self.address(&call.addr.address),
            Data::Bind(call) => self.address(&call.addr),
            Data::Dns(question) => self.add(question.name.as_bytes(), DETAIL),
            Data::Imds(request) => self.add(request.url.as_bytes(), DETAIL),
            Data::Mount(call) => self.add(call.mountpoint.as_bytes(), DETAIL),
            Data::LoadModule(call) => self.add(call.name.as_bytes(), DETAIL),
            Data::UnloadModule(call) => self.add(call.name.as_bytes(), DETAIL),
            Data::Sysctl(call) => self.add(call.name.as_bytes(), DETAIL),
            Data::Prctl(call) => self.add(call.new_name.as_bytes(), DETAIL),
            Data::Setuid(call) => {
                let _ = write!(self, "uid {} euid {}", call.uid, call.euid);
            }
            Data::Setgid(call) => {
                let _ = write!(self, "gid {} egid {}", call.gid, call.egid);
            }
            Data::Signal(call) => {
                let _ = write!(self, "{} to {}", call.signal, call.pid);
            }
            Data::Ptrace(call) => {
                let _ = write!(self, "request {}", call.request);
            }
            Data::Bpf(call) => {
                let _ = write!(
                    self,
                    "command {} {}{}",
                    call.command, call.program_name, call.map_name
                );
            }
            _ => {}
        }
    }
}
