//! Joins the parts of one capture: the objects of a call, the script of an exec, the request of a completion.
//!
//! Parts come ahead of what they belong to, on the same thread (or with the same request), in the order of time. What is waiting is bounded;
//! a part whose capture never comes is dropped when the table is full, and counted.

use atalaya_model::capture::{
    Body, Capture, CaptureKind, FileCall, FileFields, Header, PathOrigin,
};
use rustc_hash::FxHashMap;

use crate::decode::{Argument, Call, Interp, Object, Part, Record, Request};
use crate::layout::{ROLE_AFTER, ROLE_BEFORE, ROLE_DESTINATION, ROLE_FILE};

/// Threads whose parts wait at once, and requests in flight. One part is a few hundred bytes.
const WAITING: usize = 8192;
/// Objects of one call: two inodes with a few names each, through a few mounts.
const OBJECTS: usize = 24;
const S_IFMT: u16 = 0o170_000;
const S_IFDIR: u16 = 0o040_000;

/// See the module.
#[derive(Debug, Default)]
pub struct Assembler {
    objects: FxHashMap<u32, Vec<Object>>,
    scripts: FxHashMap<u32, FileFields>,
    requests: FxHashMap<u64, (Header, Call)>,
    /// Parts dropped because too many waited.
    pub dropped: u64,
}

impl Assembler {
    /// Takes a record; gives the capture that it completes.
    pub fn feed(&mut self, record: Record) -> Option<Capture> {
        let Record { header, part, .. } = record;
        let body = match part {
            Part::Whole(body) => {
                if matches!(body, Body::Exit(_)) {
                    self.objects.remove(&header.tid);
                    self.scripts.remove(&header.pid);
                }
                body
            }
            // The iterator's; it comes through no ring.
            Part::Task(_) => return None,
            Part::Script(file) => {
                self.dropped += make_room(&mut self.scripts);
                self.scripts.insert(header.pid, *file);
                return None;
            }
            Part::Exec(mut exec, interp) => {
                // By process: a thread that calls exec takes over the group's id on the way.
                let script = self.scripts.remove(&header.pid);
                if let Some(interp) = interp {
                    let script =
                        script.unwrap_or_else(|| script_by_name(&exec.filename, &exec.cwd));
                    let mut interpreter = std::mem::replace(&mut exec.file, script);
                    if interpreter.path.is_empty() {
                        let Interp(path) = interp;
                        interpreter.path = path;
                        interpreter.origin = PathOrigin::KernelCopy;
                    }
                    exec.interpreter = Some(interpreter);
                }
                Body::Exec(exec)
            }
            Part::Object(object) => {
                if !self.objects.contains_key(&header.tid) {
                    self.dropped += make_room(&mut self.objects);
                }
                let waiting = self.objects.entry(header.tid).or_default();
                waiting.retain(|other| other.number == object.number);
                if waiting.len() < OBJECTS {
                    waiting.push(*object);
                }
                return None;
            }
            Part::Request(request) => return self.request(header, *request),
            Part::Event(event) => Body::Event(event),
            Part::Call(call) => {
                if call.request != 0 {
                    return self.completion(header, *call);
                }
                let mut objects = self.objects.remove(&header.tid).unwrap_or_default();
                objects.retain(|object| object.number == call.number);
                Body::File(Box::new(join(*call, &objects)))
            }
        };
        Some(Capture { header, body })
    }

    fn request(&mut self, header: Header, request: Request) -> Option<Capture> {
        if request.silent {
            // The caller asked for no completion on success: told at once, as a success.
            return Some(Capture {
                header,
                body: Body::File(Box::new(join(request.call, &[]))),
            });
        }
        self.dropped += make_room(&mut self.requests);
        self.requests
            .insert(request.request, (header, request.call));
        None
    }

    fn completion(&mut self, header: Header, end: Call) -> Option<Capture> {
        let mut objects = match end.number {
            0 => Vec::new(),
            _ => self.objects.remove(&header.tid).unwrap_or_default(),
        };
        objects.retain(|object| object.number == end.number);
        let Some((submitter, mut call)) = self.requests.remove(&end.request) else {
            // Submitted before we looked: what the completion knows is better than nothing.
            return Some(Capture {
                header,
                body: Body::File(Box::new(join(end, &objects))),
            });
        };
        call.retval = end.retval;
        call.file = end.file;
        // The caller is who submitted; the time and the sequence number are the record's own.
        let header = Header {
            cpu: header.cpu,
            seq: header.seq,
            time_ns: header.time_ns,
            ..submitter
        };
        Some(Capture {
            header,
            body: Body::File(Box::new(join(call, &objects))),
        })
    }
}

fn make_room<K, V>(map: &mut FxHashMap<K, V>) -> u64 {
    if map.len() < WAITING {
        return 0;
    }
    // Only a flood of calls that never end gets here; the oldest cannot be told apart cheaply, so all go.
    let dropped = map.len() as u64;
    map.clear();
    dropped
}

/// Where no hook saw the script: the kernel's copy of its name, from the caller's directory.
fn script_by_name(filename: &str, cwd: &str) -> FileFields {
    let base = if filename.starts_with('/') { "/" } else { cwd };
    FileFields {
        path: lexical(base, filename),
        origin: PathOrigin::KernelCopy,
        ..FileFields::default()
    }
}

/// `path` from `base`, with `.`, `..` and `//` taken out of the text; links are not followed. An absolute path is from the caller's
/// root, which is what `base` then is.
fn lexical(base: &str, path: &str) -> String {
    let mut elements: Vec<&str> = Vec::new();
    let base_elements = base.split('/').filter(|e| !e.is_empty());
    elements.extend(base_elements);
    let floor = if path.starts_with('/') {
        elements.len()
    } else {
        0
    };
    for element in path.split('/') {
        match element {
            "" | "." => {}
            ".." => {
                if elements.len() > floor {
                    elements.pop();
                }
            }
            element => elements.push(element),
        }
    }
    let mut out = String::with_capacity(base.len() + path.len() + 1);
    for element in elements {
        out.push('/');
        out.push_str(element);
    }
    if out.is_empty() {
        out.push('/');
    }
    out
}

fn is_dir(file: &FileFields) -> bool {
    file.mode & S_IFMT == S_IFDIR
}

fn name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}

/// The path of an argument, as far as its text tells.
fn path_of(argument: &Argument) -> Option<String> {
    let text = argument.text.as_deref()?;
    match &argument.base {
        Some(base) => Some(lexical(base, text)),
        // No base was walked: an absolute path still means something, a relative one does not.
        None if text.starts_with('/') => Some(lexical("/", text)),
        None => None,
    }
}

/// A file of which only the argument is known.
fn by_argument(argument: &Argument) -> FileFields {
    let origin = if argument.kernel_copy {
        PathOrigin::KernelCopy
    } else {
        PathOrigin::UserMemory
    };
    FileFields {
        path: path_of(argument).unwrap_or_default(),
        origin,
        ..FileFields::default()
    }
}

/// An overlay changes inodes below itself, too; its own is the one that the caller sees.
fn is_overlay(file: &FileFields) -> bool {
    file.filesystem == "overlay"
}

/// Of the files that the kernel was seen to change, the one that the argument names. `loose`: any will do when none has the name, as
/// the argument may be a link to it.
fn choose<'a>(
    files: impl Iterator<Item = &'a FileFields> + Clone,
    argument: &Argument,
    loose: bool,
) -> Option<&'a FileFields> {
    let path = path_of(argument);
    let wanted = path.as_deref().map(name);
    let same_name = || {
        files
            .clone()
            .filter(|file| wanted == Some(name(&file.path)))
    };
    files
        .clone()
        .find(|file| path.as_deref() == Some(&file.path))
        .or_else(|| same_name().next())
        .or_else(|| if loose { files.clone().next() } else { None })
}

fn join(call: Call, objects: &[Object]) -> FileCall {
    let stacked = call.stacked;
    let role = |role: u32| {
        objects
            .iter()
            .filter(move |o| o.role == role && (!stacked || is_overlay(&o.file)))
            .map(|o| &o.file)
    };
    let [first, second] = &call.paths;
    let mut destination = None;
    let file = match call.kind {
        _ if call.file.is_some() => call.file.clone(),
        CaptureKind::Rename | CaptureKind::Link => {
            // What changed its name tells both by itself; the arguments may say something else by now.
            let has = |role_: u32, file: &FileFields| {
                role(role_).any(|f| (f.inode, f.dev, &f.path) == (file.inode, file.dev, &file.path))
            };
            let changed = role(ROLE_AFTER).next().is_some();
            let went = role(ROLE_BEFORE).filter(|f| changed && !has(ROLE_AFTER, f));
            let came = role(ROLE_AFTER).filter(|f| !has(ROLE_BEFORE, f));
            let source = role(ROLE_FILE)
                .next()
                .or_else(|| choose(went, first, true))
                .or_else(|| choose(role(ROLE_BEFORE), first, false))
                .or_else(|| {
                    // Of a link: the file that got the new name.
                    let linked = |f: &&FileFields| {
                        came.clone().any(|c| (c.inode, c.dev) == (f.inode, f.dev))
                    };
                    choose(role(ROLE_BEFORE).filter(linked), first, true)
                });
            let target = role(ROLE_DESTINATION).next().or_else(|| {
                // The new name belongs to the inode of the old one.
                let of_source =
                    |f: &&FileFields| source.is_none_or(|s| (s.inode, s.dev) == (f.inode, f.dev));
                choose(came.clone().filter(of_source), second, true)
                    .or_else(|| choose(role(ROLE_AFTER).filter(of_source), second, false))
                    .or_else(|| choose(role(ROLE_AFTER), second, false))
            });
            destination = Some(match (target, source) {
                // Before the call the new name had no inode, or that of the file it replaces.
                (Some(target), Some(source)) => FileFields {
                    path: target.path.clone(),
                    mount_id: target.mount_id,
                    truncated: target.truncated,
                    ..source.clone()
                },
                (Some(target), None) => target.clone(),
                (None, Some(source)) => FileFields {
                    path: path_of(second).unwrap_or_default(),
                    origin: by_argument(second).origin,
                    ..source.clone()
                },
                (None, None) => by_argument(second),
            });
            source.cloned()
        }
        // Where no file system is stacked, only the new directory was looked at.
        CaptureKind::Mkdir => {
            choose(role(ROLE_AFTER).filter(|f| is_dir(f)), first, !stacked).cloned()
        }
        CaptureKind::Rmdir => role(ROLE_FILE)
            .next()
            .or_else(|| choose(role(ROLE_BEFORE).filter(|f| is_dir(f)), first, false))
            .cloned(),
        // A directory that was changed by it is the parent.
        CaptureKind::Unlink => role(ROLE_FILE)
            .next()
            .or_else(|| choose(role(ROLE_BEFORE).filter(|f| !is_dir(f)), first, true))
            .cloned(),
        _ => role(ROLE_FILE)
            .next()
            .or_else(|| choose(role(ROLE_BEFORE), first, true))
            .cloned(),
    };
    FileCall {
        kind: call.kind,
        retval: call.retval,
        file: file.unwrap_or_else(|| by_argument(first)),
        destination,
        flags: call.flags,
        mode: call.mode,
        uid: call.uid,
        gid: call.gid,
        atime_ns: call.atime_ns,
        mtime_ns: call.mtime_ns,
        arg_path: first.text.clone().unwrap_or_default(),
        arg_path2: second.text.clone().unwrap_or_default(),
        dirfd: call.dirfd,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;

    fn header(tid: u32) -> Header {
        Header {
            pid: tid,
            tid,
            ..Header::default()
        }
    }

    fn file(path: &str, inode: u64, mode: u16) -> FileFields {
        FileFields {
            path: path.into(),
            inode,
            mode,
            known: true,
            ..FileFields::default()
        }
    }

    fn object(number: u64, role: u32, file: FileFields) -> Part {
        Part::Object(Box::new(Object { number, role, file }))
    }

    fn call(kind: CaptureKind, number: u64, paths: [&str; 2]) -> Call {
        let argument = |text: &str| Argument {
            text: (!text.is_empty()).then(|| text.to_owned()),
            kernel_copy: false,
            truncated: false,
            base: Some("/home".into()),
        };
        Call {
            kind,
            retval: 0,
            flags: 0,
            mode: 0,
            uid: -1,
            gid: -1,
            dirfd: -100,
            atime_ns: 0,
            mtime_ns: 0,
            request: 0,
            number,
            stacked: false,
            file: None,
            paths: paths.map(argument),
        }
    }

    fn feed(assembler: &mut Assembler, tid: u32, part: Part) -> Option<FileCall> {
        match assembler
            .feed(Record {
                header: header(tid),
                ring: 1,
                part,
            })?
            .body
        {
            Body::File(call) => Some(*call),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn lexical_paths() {
        assert_eq!(lexical("/home/me", "../you/./x//y"), "/home/you/x/y");
        assert_eq!(lexical("/jail", "/../etc/passwd"), "/jail/etc/passwd");
        assert_eq!(lexical("/", ".."), "/");
        assert_eq!(lexical("/a", ""), "/a");
    }

    #[test]
    fn an_unlink_through_a_linked_directory_has_the_kernels_path() {
        let mut a = Assembler::default();
        assert!(feed(&mut a, 1, object(9, ROLE_BEFORE, file("/real", 1, S_IFDIR))).is_none());
        assert!(
            feed(
                &mut a,
                1,
                object(9, ROLE_BEFORE, file("/real/x", 2, 0o100_644))
            )
            .is_none()
        );
        let call = feed(
            &mut a,
            1,
            Part::Call(Box::new(call(CaptureKind::Unlink, 9, ["link/x", ""]))),
        )
        .unwrap();
        assert_eq!(
            (call.file.path.as_str(), call.file.inode, call.file.origin),
            ("/real/x", 2, PathOrigin::Kernel)
        );
        assert_eq!(call.arg_path, "link/x");
    }

    #[test]
    fn a_file_below_an_overlay_is_not_what_the_caller_removed() {
        let mut a = Assembler::default();
        feed(
            &mut a,
            1,
            object(9, ROLE_BEFORE, file("/upper/x", 2, 0o020_000)),
        );
        let mut unlink = call(CaptureKind::Unlink, 9, ["x", ""]);
        unlink.stacked = true;
        let call = feed(&mut a, 1, Part::Call(Box::new(unlink))).unwrap();
        assert_eq!(
            (call.file.path.as_str(), call.file.origin),
            ("/home/x", PathOrigin::UserMemory)
        );
    }

    #[test]
    fn objects_of_another_call_of_the_thread_are_not_taken() {
        let mut a = Assembler::default();
        feed(
            &mut a,
            1,
            object(8, ROLE_BEFORE, file("/old/x", 2, 0o100_644)),
        );
        let call = feed(
            &mut a,
            1,
            Part::Call(Box::new(call(CaptureKind::Unlink, 9, ["x", ""]))),
        )
        .unwrap();
        assert_eq!(
            (call.file.path.as_str(), call.file.origin),
            ("/home/x", PathOrigin::UserMemory)
        );
    }

    #[test]
    fn a_rename_has_both_names_and_one_inode() {
        let mut a = Assembler::default();
        for (role, path, inode, mode) in [
            (ROLE_BEFORE, "/home", 1, S_IFDIR),
            (ROLE_BEFORE, "/home/a", 5, 0o100_600),
            (ROLE_AFTER, "/home", 1, S_IFDIR),
            (ROLE_AFTER, "/home/b", 5, 0o100_600),
        ] {
            feed(&mut a, 1, object(3, role, file(path, inode, mode)));
        }
        let call = feed(
            &mut a,
            1,
            Part::Call(Box::new(call(CaptureKind::Rename, 3, ["a", "b"]))),
        )
        .unwrap();
        assert_eq!((call.file.path.as_str(), call.file.inode), ("/home/a", 5));
        let destination = call.destination.unwrap();
        assert_eq!(
            (destination.path.as_str(), destination.inode),
            ("/home/b", 5)
        );
    }

    #[test]
    fn a_completion_is_told_of_its_submitter() {
        let mut a = Assembler::default();
        let request = Request {
            request: 77,
            silent: false,
            call: call(CaptureKind::Unlink, 0, ["x", ""]),
        };
        assert!(feed(&mut a, 1, Part::Request(Box::new(request))).is_none());
        let mut end = call(CaptureKind::Unlink, 0, ["", ""]);
        end.request = 77;
        end.retval = -13;
        let capture = a
            .feed(Record {
                header: header(2),
                ring: 1,
                part: Part::Call(Box::new(end)),
            })
            .unwrap();
        assert_eq!(capture.header.tid, 1);
        let Body::File(call) = capture.body else {
            panic!()
        };
        assert_eq!((call.retval, call.file.path.as_str()), (-13, "/home/x"));
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut a = Assembler::default();
        for tid in 0..3 * WAITING as u32 {
            feed(&mut a, tid, object(1, ROLE_BEFORE, file("/x", 1, 0)));
        }
        assert!(a.objects.len() <= WAITING);
        assert!(a.dropped > 0);
    }
}
