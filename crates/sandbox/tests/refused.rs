//! What is forbidden is refused, and the rest goes on. Each test restricts a thread of its own, which takes the restriction along.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Command;
use std::thread;

use atalaya_sandbox::landlock::{self, Rules};
use atalaya_sandbox::seccomp::{self, Profile};
use atalaya_sandbox::{Outcome, hide_memory};
use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use nix::unistd::chroot;

/// On a thread of its own.
fn apart<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    thread::spawn(work).join().unwrap()
}

fn code<T>(result: std::io::Result<T>) -> i32 {
    result.err().and_then(|e| e.raw_os_error()).unwrap_or(0)
}

#[test]
fn only_what_is_listed_may_be_read_and_written() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    for name in ["readable", "writable", "other"] {
        fs::create_dir(path(name)).unwrap();
        fs::write(path(name).join("file"), "text").unwrap();
    }
    let (readable, writable, other) = (path("readable"), path("writable"), path("other"));
    apart(move || {
        let outcome = landlock::restrict(&Rules {
            read: vec![readable.clone(), "/nonexistent".into()],
            write: vec![writable.clone()],
            ..Rules::default()
        })
        .unwrap();
        if let Outcome::Absent(why) = &outcome {
            eprintln!("SKIPPED: {why}");
            return;
        }
        assert_eq!(fs::read(readable.join("file")).unwrap(), b"text");
        let refused = |error: std::io::Error| assert_eq!(error.kind(), ErrorKind::PermissionDenied);
        refused(fs::write(readable.join("file"), "x").unwrap_err());
        refused(fs::remove_file(readable.join("file")).unwrap_err());
        refused(fs::read(other.join("file")).unwrap_err());
        refused(File::open("/etc/shadow").unwrap_err());
        refused(Command::new("/bin/true").status().unwrap_err());
        // As the store does: append, rename, begin anew, delete.
        let file = writable.join("file");
        let mut log = File::options().append(true).open(&file).unwrap();
        log.write_all(b"more").unwrap();
        fs::rename(&file, writable.join("file.1")).unwrap();
        fs::write(&file, "new").unwrap();
        fs::remove_file(writable.join("file.1")).unwrap();
        refused(fs::rename(&file, other.join("file")).unwrap_err());
        // What was opened before remains open: nothing is, and a parent is no way round.
        refused(fs::read(readable.join("../other/file")).unwrap_err());
    });
}

#[test]
fn no_port_but_those_that_are_listed() {
    let there = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = there.local_addr().unwrap();
    apart(move || {
        let outcome = landlock::restrict(&Rules {
            listen: vec![0],
            ..Rules::default()
        })
        .unwrap();
        if !outcome.is_whole() {
            eprintln!("SKIPPED: {outcome}");
            return;
        }
        let refused = TcpStream::connect(address).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::PermissionDenied);
        let refused = TcpListener::bind("127.0.0.1:49151").unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::PermissionDenied);
        TcpListener::bind("127.0.0.1:0").unwrap();
    });
}

#[test]
fn the_agent_makes_no_call_that_it_does_not_need() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    apart(move || {
        let outcome = seccomp::restrict(Profile::Agent).unwrap();
        if let Outcome::Absent(why) = outcome {
            eprintln!("SKIPPED: {why}");
            return;
        }
        // What it needs.
        fs::write(&path, "x").unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        UdpSocket::bind("127.0.0.1:0").unwrap();
        thread::spawn(|| ()).join().unwrap();
        // What it does not: the error of commands is that of execve, in the child.
        assert_eq!(code(Command::new("/bin/true").status()), libc::EPERM);
        assert_eq!(chroot("/"), Err(Errno::EPERM));
        assert_eq!(unshare(CloneFlags::CLONE_NEWNS), Err(Errno::EPERM));
        assert_eq!(mount_tmpfs(), Err(Errno::EPERM));
        assert_eq!(raw_socket(AddressFamily::Packet), Err(Errno::EAFNOSUPPORT));
    });
}

#[test]
fn the_probe_has_no_socket_to_the_outside() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    apart(move || {
        let outcome = seccomp::restrict(Profile::Probe).unwrap();
        if let Outcome::Absent(why) = outcome {
            eprintln!("SKIPPED: {why}");
            return;
        }
        assert_eq!(code(TcpListener::bind("127.0.0.1:0")), libc::EAFNOSUPPORT);
        assert_eq!(code(UdpSocket::bind("127.0.0.1:0")), libc::EAFNOSUPPORT);
        assert_eq!(code(TcpStream::connect("[::1]:1")), libc::EAFNOSUPPORT);
        assert_eq!(raw_socket(AddressFamily::Packet), Err(Errno::EAFNOSUPPORT));
        raw_socket(AddressFamily::Netlink).unwrap();
        let _listener = UnixListener::bind(&path).unwrap();
        UnixStream::connect(&path).unwrap();
        assert_eq!(chroot("/"), Err(Errno::EPERM));
        assert_eq!(unshare(CloneFlags::CLONE_NEWNS), Err(Errno::EPERM));
        assert_eq!(mount_tmpfs(), Err(Errno::EPERM));
        // Of this thread only: the C library's setuid() wants all threads to agree.
        let became = rustix::thread::set_thread_uid(rustix::fs::Uid::from_raw(1));
        assert_eq!(became, Err(rustix::io::Errno::PERM));
        // The self-test runs commands of the host, which go on under the same filter.
        assert!(Command::new("true").status().unwrap().success());
        let refused = Command::new("unshare")
            .args(["-m", "true"])
            .output()
            .unwrap();
        assert!(!refused.status.success());
    });
}

#[test]
fn others_may_not_look_into_the_memory() {
    hide_memory().unwrap();
    assert_eq!(
        rustix::process::dumpable_behavior().unwrap(),
        rustix::process::DumpableBehavior::NotDumpable
    );
    let limit = rustix::process::getrlimit(rustix::process::Resource::Core);
    assert_eq!((limit.current, limit.maximum), (Some(0), Some(0)));
}

fn mount_tmpfs() -> Result<(), Errno> {
    mount(
        Some("none"),
        "/nonexistent",
        Some("tmpfs"),
        MsFlags::empty(),
        None::<&str>,
    )
}

fn raw_socket(family: AddressFamily) -> Result<(), Errno> {
    socket(family, SockType::Raw, SockFlag::empty(), None).map(drop)
}
