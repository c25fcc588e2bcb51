//! Events of the file system.

use std::sync::Arc;

use atalaya_model_derive::Fields;
use serde_json::json;

use crate::capture::{CaptureKind, FileCall};
use crate::constants::{open_flag_names, unlink_flag_names};
use crate::event::{ChdirEvent, EventData, XattrEvent};
use crate::fields::Cx;
use crate::file::File;
use crate::json::{Details, FileJson, Time};
use crate::process::{group_name, user_name};
use crate::record::EventBody;

const RIGHTS: i64 = 0o7777;
const O_CREAT: u32 = 0o100;

/// A file was opened.
#[derive(Debug, Clone, PartialEq, Default, Fields)]
pub struct OpenEvent {
    /// The file.
    #[nested(prefix = "file")]
    pub file: File,
    /// The flags the file was opened with.
    #[field(constants = "Open flags")]
    #[field(
        name = "syscall.flags",
        weight = 900,
        doc = "The flags argument.",
        constants = "Open flags"
    )]
    pub flags: u32,
    /// The mode argument: the permission bits for a file that the call makes.
    #[field(name = "file.destination.mode", constants = "File mode constants")]
    #[field(
        name = "syscall.mode",
        weight = 900,
        constants = "File mode constants",
        doc = "The mode argument."
    )]
    pub mode: u32,
    /// What the call returned: a file descriptor, or a negative error.
    #[field(constants = "Error constants")]
    pub retval: i64,
    /// The path argument as the caller gave it.
    #[field(name = "syscall.path", weight = 900)]
    pub syscall_path: String,
}

/// A file's permission bits were changed.
#[derive(Debug, Clone, PartialEq, Default, Fields)]
pub struct ChmodEvent {
    /// The file, as it was before.
    #[nested(prefix = "file")]
    pub file: File,
    /// The new permission bits.
    #[field(name = "file.destination.mode", constants = "File mode constants")]
    #[computed(name = "file.destination.rights", ty = i64, get = ChmodEvent::rights, constants = "File mode constants", doc = "The new permission bits, with set-user-id, set-group-id and sticky.")]
    #[field(
        name = "syscall.mode",
        weight = 900,
        constants = "File mode constants",
        doc = "The mode argument."
    )]
    pub mode: u32,
    /// What the call returned: 0, or a negative error.
    #[field(constants = "Error constants")]
    pub retval: i64,
    /// The path argument as the caller gave it.
    #[field(name = "syscall.path", weight = 900)]
    pub syscall_path: String,
}

impl ChmodEvent {
    fn rights(&self, _: Cx<'_>) -> i64 {
        i64::from(self.mode) & RIGHTS
    }
}

/// A file's owner was changed.
#[derive(Debug, Clone, PartialEq, Default, Fields)]
pub struct ChownEvent {
    /// The file, as it was before.
    #[nested(prefix = "file")]
    pub file: File,
    /// The id of the new owner; -1 where the call leaves it as it is.
    #[computed(name = "file.destination.uid", ty = i64, get = ChownEvent::uid)]
    #[computed(name = "file.destination.user", ty = String, get = ChownEvent::user, weight = 50, doc = "The name of the new owner; empty where the call leaves it as it is.")]
    #[computed(name = "syscall.uid", weight = 900, ty = i64, get = ChownEvent::uid, doc = "The user id argument.")]
    pub uid: i32,
    /// The id of the new group; -1 where the call leaves it as it is.
    #[computed(name = "file.destination.gid", ty = i64, get = ChownEvent::gid)]
    #[computed(name = "file.destination.group", ty = String, get = ChownEvent::group, weight = 50, doc = "The name of the new group; empty where the call leaves it as it is.")]
    #[computed(name = "syscall.gid", weight = 900, ty = i64, get = ChownEvent::gid, doc = "The group id argument.")]
    pub gid: i32,
    /// What the call returned: 0, or a negative error.
    #[field(constants = "Error constants")]
    pub retval: i64,
    /// The path argument as the caller gave it.
    #[field(name = "syscall.path", weight = 900)]
    pub syscall_path: String,
}

/// An id argument: -1 is "as it is", other ids have no sign.
pub(crate) fn id_argument(id: i32) -> i64 {
    match id {
        -1 => -1,
        id => id.cast_unsigned().into(),
    }
}

impl ChownEvent {
    fn uid(&self, _: Cx<'_>) -> i64 {
        id_argument(self.uid)
    }

    fn gid(&self, _: Cx<'_>) -> i64 {
        id_argument(self.gid)
    }

    pub(crate) fn user(&self, cx: Cx<'_>) -> Arc<str> {
        match self.uid {
            -1 => Arc::default(),
            uid => user_name(uid.cast_unsigned(), cx),
        }
    }

    pub(crate) fn group(&self, cx: Cx<'_>) -> Arc<str> {
        match self.gid {
            -1 => Arc::default(),
            gid => group_name(gid.cast_unsigned(), cx),
        }
    }
}

/// A name of a file was removed.
#[derive(Debug, Clone, PartialEq, Default, Fields)]
pub struct UnlinkEvent {
    /// The file.
    #[nested(prefix = "file")]
    pub file: File,
    /// The flags argument.
    #[field(constants = "Unlink flags")]
    #[field(name = "syscall.flags", weight = 900, constants = "Unlink flags")]
    pub flags: u32,
    /// The directory that a relative path starts from: a file descriptor, or -100 (`AT_FDCWD`) for the working directory.
    #[field(name = "syscall.dirfd", weight = 900)]
    pub dirfd: i32,
    /// What the call returned: 0, or a negative error.
    #[field(constants = "Error constants")]
    pub retval: i64,
    /// The path argument as the caller gave it.
    #[field(name = "syscall.path", weight = 900)]
    pub syscall_path: String,
}

/// A directory was removed.
#[derive(Debug, Clone, PartialEq, Default, Fields)]
pub struct RmdirEvent {
    /// The directory.
    #[nested(prefix = "file")]
    pub file: File,
    /// What the call returned: 0, or a negative error.
    #[field(constants = "Error constants")]
    pub retval: i64,
    /// The path argument as the caller gave it.
    #[field(name = "syscall.path", weight = 900)]
    pub syscall_path: String,
}

/// A directory was made.
#[derive(Debug, Clone, PartialEq, Default, Fields)]
pub struct MkdirEvent {
    /// The directory.
    #[nested(prefix = "file")]
    pub file: File,
    /// The permission bits asked for, before the umask.
    #[field(name = "file.destination.mode", constants = "File mode constants")]
    #[computed(name = "file.destination.rights", ty = i64, get = MkdirEvent::rights, constants = "File mode constants", doc = "The permission bits asked for, with set-user-id, set-group-id and sticky, before the umask.")]
    #[field(
        name = "syscall.mode",
        weight = 900,
        constants = "File mode constants",
        doc = "The mode argument."
    )]
    pub mode: u32,
    /// What the call returned: 0, or a negative error.
    #[field(constants = "Error constants")]
    pub retval: i64,
    /// The path argument as the caller gave it.
    #[field(name = "syscall.path", weight = 900)]
    pub syscall_path: String,
}

impl MkdirEvent {
    fn rights(&self, _: Cx<'_>) -> i64 {
        i64::from(self.mode) & RIGHTS
    }
}

/// A file got another name.
#[derive(Debug, Clone, PartialEq, Default, Fields)]
pub struct RenameEvent {
    /// The file under its old name.
    #[nested(prefix = "file")]
    pub file: File,
    /// The file under its new name.
    #[nested(prefix = "file.destination")]
    pub destination: File,
    /// The flags argument of `renameat2`.
    pub flags: u32,
    /// What the call returned: 0, or a negative error.
    #[field(constants = "Error constants")]
    pub retval: i64,
    /// The old path argument as the caller gave it.
    #[field(name = "syscall.path", weight = 900)]
    pub syscall_path: String,
    /// The new path argument as the caller gave it.
    #[field(name = "syscall.destination.path", weight = 900)]
    pub syscall_destination: String,
}

/// A file got a further name.
#[derive(Debug, Clone, PartialEq, Default, Fields)]
pub struct LinkEvent {
    /// The file under the name it had.
    #[nested(prefix = "file")]
    pub file: File,
    /// The file under its further name.
    #[nested(prefix = "file.destination")]
    pub destination: File,
    /// What the call returned: 0, or a negative error.
    #[field(constants = "Error constants")]
    pub retval: i64,
    /// The path argument as the caller gave it.
    #[field(name = "syscall.path", weight = 900)]
    pub syscall_path: String,
    /// The further path argument as the caller gave it.
    #[field(name = "syscall.destination.path", weight = 900)]
    pub syscall_destination: String,
}

/// A file's times were set.
#[derive(Debug, Clone, PartialEq, Default, Fields)]
pub struct UtimesEvent {
    /// The file.
    #[nested(prefix = "file")]
    pub file: File,
    /// The access time that was set (ns since the epoch); 0 for "now" or untouched.
    pub access_time: u64,
    /// The modification time that was set (ns since the epoch); 0 for "now" or untouched.
    pub modification_time: u64,
    /// What the call returned: 0, or a negative error.
    #[field(constants = "Error constants")]
    pub retval: i64,
    /// The path argument as the caller gave it.
    #[field(name = "syscall.path", weight = 900)]
    pub syscall_path: String,
}

impl EventData {
    /// The event that a file record tells of; `None` for a kind that is no file call.
    #[must_use]
    pub fn from_file_call(call: FileCall) -> Option<Self> {
        let retval = call.retval;
        let file = File::from(call.file);
        let syscall_path = call.arg_path;
        // What a rename moves and a link names is one inode: where only the new name was captured, the rest is known.
        let destination = || {
            let mut new = call.destination.map(File::from).unwrap_or_default();
            if !new.known && file.known {
                new = File {
                    path: new.path,
                    origin: new.origin,
                    truncated: new.truncated,
                    ..file.clone()
                };
            }
            new
        };
        Some(match call.kind {
            CaptureKind::Open => Self::Open(OpenEvent {
                file,
                flags: call.flags,
                mode: call.mode,
                retval,
                syscall_path,
            }),
            CaptureKind::Chmod => Self::Chmod(ChmodEvent {
                file,
                mode: call.mode,
                retval,
                syscall_path,
            }),
            CaptureKind::Chown => Self::Chown(ChownEvent {
                file,
                uid: call.uid,
                gid: call.gid,
                retval,
                syscall_path,
            }),
            CaptureKind::Unlink => Self::Unlink(UnlinkEvent {
                file,
                flags: call.flags,
                dirfd: call.dirfd,
                retval,
                syscall_path,
            }),
            CaptureKind::Rmdir => Self::Rmdir(RmdirEvent {
                file,
                retval,
                syscall_path,
            }),
            CaptureKind::Mkdir => Self::Mkdir(MkdirEvent {
                file,
                mode: call.mode,
                retval,
                syscall_path,
            }),
            CaptureKind::Rename => Self::Rename(RenameEvent {
                destination: destination(),
                file,
                flags: call.flags,
                retval,
                syscall_path,
                syscall_destination: call.arg_path2,
            }),
            CaptureKind::Link => Self::Link(LinkEvent {
                destination: destination(),
                file,
                retval,
                syscall_path,
                syscall_destination: call.arg_path2,
            }),
            CaptureKind::Utimes => Self::Utimes(UtimesEvent {
                file,
                access_time: call.atime_ns,
                modification_time: call.mtime_ns,
                retval,
                syscall_path,
            }),
            CaptureKind::Chdir => Self::Chdir(ChdirEvent {
                file,
                retval,
                syscall_path,
            }),
            CaptureKind::Setxattr => Self::Setxattr(XattrEvent::of(file, call.arg_path2, retval)),
            CaptureKind::Removexattr => {
                Self::Removexattr(XattrEvent::of(file, call.arg_path2, retval))
            }
            _ => return None,
        })
    }
}

impl EventBody for OpenEvent {
    fn retval(&self) -> Option<i64> {
        Some(self.retval)
    }

    fn tell<'a>(&'a self, details: &mut Details<'a>) {
        let json = details.file(&self.file);
        json.flags = open_flag_names(self.flags);
        if self.flags & O_CREAT != 0 {
            json.destination = Some(FileJson::with_mode(&self.file, self.mode));
        }
        details
            .syscall(json!({ "path": self.syscall_path, "flags": self.flags, "mode": self.mode }));
    }
}

impl EventBody for ChmodEvent {
    fn retval(&self) -> Option<i64> {
        Some(self.retval)
    }

    fn tell<'a>(&'a self, details: &mut Details<'a>) {
        details.file(&self.file).destination = Some(FileJson::with_mode(&self.file, self.mode));
        details.syscall(json!({ "path": self.syscall_path, "mode": self.mode }));
    }
}

impl EventBody for ChownEvent {
    fn retval(&self) -> Option<i64> {
        Some(self.retval)
    }

    fn tell<'a>(&'a self, details: &mut Details<'a>) {
        let (uid, gid) = (id_argument(self.uid), id_argument(self.gid));
        let (user, group) = (self.user(details.cx()), self.group(details.cx()));
        details.file(&self.file).destination = Some(Box::new(FileJson {
            uid,
            gid,
            user,
            group,
            ..FileJson::default()
        }));
        details.syscall(json!({ "path": self.syscall_path, "uid": uid, "gid": gid }));
    }
}

impl EventBody for UnlinkEvent {
    fn retval(&self) -> Option<i64> {
        Some(self.retval)
    }

    fn tell<'a>(&'a self, details: &mut Details<'a>) {
        details.file(&self.file).flags = unlink_flag_names(self.flags);
        details.syscall(
            json!({ "path": self.syscall_path, "flags": self.flags, "dirfd": self.dirfd }),
        );
    }
}

impl EventBody for RmdirEvent {
    fn retval(&self) -> Option<i64> {
        Some(self.retval)
    }

    fn tell<'a>(&'a self, details: &mut Details<'a>) {
        details.file(&self.file);
        details.syscall(json!({ "path": self.syscall_path }));
    }
}

impl EventBody for MkdirEvent {
    fn retval(&self) -> Option<i64> {
        Some(self.retval)
    }

    fn tell<'a>(&'a self, details: &mut Details<'a>) {
        details.file(&self.file).destination = Some(FileJson::with_mode(&self.file, self.mode));
        details.syscall(json!({ "path": self.syscall_path, "mode": self.mode }));
    }
}

impl EventBody for RenameEvent {
    fn retval(&self) -> Option<i64> {
        Some(self.retval)
    }

    fn tell<'a>(&'a self, details: &mut Details<'a>) {
        details.file(&self.file);
        details.destination(&self.destination);
        details.syscall(json!({
            "path": self.syscall_path,
            "destination_path": self.syscall_destination,
        }));
    }
}

impl EventBody for LinkEvent {
    fn retval(&self) -> Option<i64> {
        Some(self.retval)
    }

    fn tell<'a>(&'a self, details: &mut Details<'a>) {
        details.file(&self.file);
        details.destination(&self.destination);
        details.syscall(json!({
            "path": self.syscall_path,
            "destination_path": self.syscall_destination,
        }));
    }
}

impl EventBody for UtimesEvent {
    fn retval(&self) -> Option<i64> {
        Some(self.retval)
    }

    fn tell<'a>(&'a self, details: &mut Details<'a>) {
        let json = details.file(&self.file);
        json.access_time = Time::known(self.access_time);
        json.modification_time = Time::known(self.modification_time).or(json.modification_time);
        details.syscall(json!({ "path": self.syscall_path }));
    }
}
