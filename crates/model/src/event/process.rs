//! Events of a process's life, and the sensor's proof of life.

use atalaya_model_derive::Fields;

use crate::capture::Exit;
use crate::fields::Cx;
use crate::json::Details;
use crate::record::EventBody;

/// A process executed a program. Its other fields are those of the process.
#[derive(Debug, Clone, PartialEq, Eq, Default, Fields)]
pub struct ExecEvent {
    /// The path argument as the caller gave it.
    #[field(name = "syscall.path", weight = 900)]
    pub syscall_path: String,
    /// What the content of the executed file is.
    #[nested(prefix = "file.metadata", unavailable = "files are not examined yet")]
    pub metadata: Option<Box<FileMetadata>>,
}

/// What a look into a file tells.
#[derive(Debug, Clone, PartialEq, Eq, Default, Fields)]
pub struct FileMetadata {
    /// The size of the file in bytes.
    #[field(weight = 999)]
    pub size: u64,
    /// What kind of content the file has.
    #[field(name = "type", constants = "FileType", weight = 999)]
    pub file_type: u32,
    /// Whether the file's content is a program that can be executed.
    #[field(weight = 999)]
    pub is_executable: bool,
    /// The processor that the program was built for.
    #[field(constants = "Architecture", weight = 999)]
    pub architecture: u32,
    /// Whether the program is one of 32 or 64 bits.
    #[field(constants = "ABI", weight = 999)]
    pub abi: u32,
    /// Whether the program was packed with UPX.
    #[field(weight = 999)]
    pub is_upx_packed: bool,
    /// How the content is compressed, where it is.
    #[field(constants = "CompressionType", weight = 999)]
    pub compression: u32,
    /// Whether the program is a Go program whose names were hidden by garble.
    #[field(weight = 999)]
    pub is_garble_obfuscated: bool,
}

/// A process ended. Its other fields are those of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Fields)]
pub struct ExitEvent {
    /// The exit status, or the number of the signal that ended the process.
    #[field]
    #[computed(name = "cause", ty = i64, get = ExitEvent::cause_number, doc = "How the process ended: `EXITED`, `SIGNALED` or `COREDUMPED`.", constants = "Exit causes")]
    pub code: u32,
    /// How it ended.
    pub cause: ExitCause,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum ExitCause {
    /// It called exit.
    #[default]
    Exited = 0,
    /// A signal ended it and left a core dump.
    CoreDumped = 1,
    /// A signal ended it.
    Signaled = 2,
}

impl ExitCause {
    /// The name in rules and in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Exited => "EXITED",
            Self::CoreDumped => "COREDUMPED",
            Self::Signaled => "SIGNALED",
        }
    }
}

impl From<Exit> for ExitEvent {
    /// Takes apart the status as `wait(2)` tells it.
    fn from(exit: Exit) -> Self {
        let signal = exit.status & 0x7f;
        match (signal, exit.status & 0x80 != 0) {
            (0, _) => Self {
                code: exit.status >> 8 & 0xff,
                cause: ExitCause::Exited,
            },
            (code, true) => Self {
                code,
                cause: ExitCause::CoreDumped,
            },
            (code, false) => Self {
                code,
                cause: ExitCause::Signaled,
            },
        }
    }
}

impl ExitEvent {
    fn cause_number(&self, _: Cx<'_>) -> i64 {
        i64::from(self.cause as u8)
    }
}

/// The sensor's proof of life: a real hook answered. Its process is the agent itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Fields)]
pub struct HeartbeatEvent {
    /// The number that was asked for.
    #[field]
    pub sequence: u64,
}

impl EventBody for ExecEvent {
    fn tell<'a>(&'a self, details: &mut Details<'a>) {
        if !self.syscall_path.is_empty() {
            details.syscall(serde_json::json!({ "path": self.syscall_path }));
        }
    }
}
impl EventBody for ExitEvent {}
impl EventBody for HeartbeatEvent {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wait_statuses_are_taken_apart() {
        let of = |status| ExitEvent::from(Exit { status });
        assert_eq!((of(0).code, of(0).cause.name()), (0, "EXITED"));
        assert_eq!((of(3 << 8).code, of(3 << 8).cause.name()), (3, "EXITED"));
        assert_eq!((of(9).code, of(9).cause.name()), (9, "SIGNALED"));
        assert_eq!(
            (of(11 | 0x80).code, of(11 | 0x80).cause.name()),
            (11, "COREDUMPED")
        );
    }
}
