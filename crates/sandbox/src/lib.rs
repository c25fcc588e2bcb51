//! What a program gives up for good after its start, so that whoever takes it over gets little: system calls ([`seccomp`]) and files
//! and ports ([`landlock`]), and being looked into by others ([`hide_memory`]).
//!
//! All of it is best effort by kernel and says what came of it: an agent that does not start protects nobody. It must be called while the
//! program has one thread: filters and rule sets belong to threads, and new threads inherit them.
#![forbid(unsafe_code)]

pub mod landlock;
pub mod seccomp;

use std::fmt;

use rustix::process::{DumpableBehavior, Resource, Rlimit};

/// What came of a restriction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// In force; the text says how much.
    Enforced(String),
    /// This kernel has less than was asked for; the text says what is missing.
    Partly(String),
    /// Not in force; the text says why.
    Absent(String),
}

impl Outcome {
    /// Whether all that was asked for is in force.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        matches!(self, Self::Enforced(_))
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Enforced(how) => write!(f, "enforced ({how})"),
            Self::Partly(how) => write!(f, "partly enforced ({how})"),
            Self::Absent(why) => write!(f, "not enforced ({why})"),
        }
    }
}

/// Keeps processes of the same user from reading this one's memory and tracing it, and the kernel from writing it to disk when it
/// crashes. Whoever has `CAP_SYS_PTRACE` may still do the former.
///
/// # Errors
/// The kernel refuses.
pub fn hide_memory() -> std::io::Result<()> {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    rustix::process::setrlimit(Resource::Core, none)?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(())
}
