//! Calls on the kernel itself that take more than one call to make.

use std::io::{Read, Write};
use std::os::fd::AsRawFd;

use crate::arguments::Arguments;
use crate::system_call;

/// What is open stays so until the end of the process.
pub(crate) fn splice_used(path: &str) -> i64 {
    let (mut reader, mut writer) = std::io::pipe().expect("a pipe");
    // Each write makes a buffer of its own, because the one before is read out first; there are 16 places.
    for _ in 0..16 {
        writer.write_all(b"x").expect("room in a pipe");
        reader.read_exact(&mut [0]).expect("what was written");
    }
    let mut arguments = Arguments::parse(&[&format!("rfd:{path}")]);
    arguments.values[2] = writer.as_raw_fd().into();
    arguments.values[4] = 3;
    system_call(libc::SYS_splice, &arguments)
}

/// Writes a kernel parameter of a network of this process's own.
pub(crate) fn sysctl(path: &str, value: &str) -> i64 {
    // SAFETY: this process has one thread.
    assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNET) }, 0);
    std::fs::write(path, value).unwrap_or_else(|error| panic!("{path}: {error}"));
    let now = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"));
    now.trim().parse().unwrap_or(0)
}

/// Moves a child to another cgroup; the child is gone when this returns.
pub(crate) fn cgroup_write(path: &str) -> i64 {
    let mut child = std::process::Command::new(std::env::current_exe().expect("a path"))
        .arg("hold")
        .stdout(std::process::Stdio::null())
        .stdin(std::process::Stdio::piped())
        .spawn()
        .expect("this program runs");
    let pid = child.id();
    let written = std::fs::write(path, pid.to_string());
    drop(child.stdin.take());
    child.wait().expect("the child ends");
    written.unwrap_or_else(|error| panic!("{path}: {error}"));
    pid.into()
}

/// Loads a module out of memory.
pub(crate) fn init_module(path: &str) -> i64 {
    let module = std::fs::read(path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let mut arguments = Arguments::parse(&["i:0", "i:0", "s:"]);
    arguments.values[0] = module.as_ptr() as i64;
    arguments.values[1] = module.len() as i64;
    system_call(libc::SYS_init_module, &arguments)
}
