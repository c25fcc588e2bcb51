//! Driving the helper program, which makes exactly the system calls it is told.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::program;

/// A run of the helper.
pub struct Helper {
    /// What it printed: for a system call, what that returned.
    pub output: String,
    /// Its process id.
    pub pid: u32,
}

impl Helper {
    /// Runs the helper with these arguments.
    pub fn run(arguments: &[&str]) -> Self {
        Self::of(&mut Command::new(program("e2e-helper")), arguments)
    }

    /// Runs a copy of the helper, or anything that runs it, with these arguments.
    pub fn of(command: &mut Command, arguments: &[&str]) -> Self {
        let child = command
            .args(arguments)
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
        let pid = child.id();
        let output = child.wait_with_output().expect("the helper ends");
        assert!(
            output.status.success(),
            "{command:?}: {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        Self {
            output: String::from_utf8_lossy(&output.stdout).trim().to_owned(),
            pid,
        }
    }

    /// What the system call returned: a negative number is an errno.
    pub fn result(&self) -> i64 {
        self.output
            .parse()
            .unwrap_or_else(|_| panic!("the helper printed {:?}", self.output))
    }

    /// Where the helper is.
    pub fn path() -> PathBuf {
        program("e2e-helper")
    }
}

/// Makes one system call from a process of its own; see the helper for how arguments are written.
pub fn sys(number: libc::c_long, arguments: &[&str]) -> Helper {
    let number = number.to_string();
    let mut all = vec!["sys", number.as_str()];
    all.extend(arguments);
    Helper::run(&all)
}

/// The helper as another user and group, without privileges.
pub fn run_as(helper: &Path, uid: u32, gid: u32, arguments: &[&str]) -> Helper {
    use std::os::unix::process::CommandExt;
    Helper::of(Command::new(helper).uid(uid).gid(gid), arguments)
}
