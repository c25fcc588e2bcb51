//! Arguments in memory that another thread changes between the kernel's look and a hook's.

use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

use crate::Arm;
use crate::fault::{PAGE, Trap};
use crate::network::{Listener, ipv4};
use crate::place::{Done, Place, Step, Stop, inode, read, tell};
use crate::programs::{forked, tiny};
use crate::raw::{fd_of, sys, sys_fd};

pub(crate) const ARMS: &[(&str, Arm)] = &[
    ("race_open", race_open),
    ("race_open_denied", race_open_denied),
    ("race_rename", race_rename),
    ("race_unlink", race_unlink),
    ("race_chmod", race_chmod),
    ("race_connect", race_connect),
    ("race_dup2", race_dup2),
    ("fault_open", fault_open),
    ("fault_open_denied", fault_open_denied),
    ("fault_unlink", fault_unlink),
    ("fault_mkdir", fault_mkdir),
    ("fault_exec", fault_exec),
    ("fault_connect", fault_connect),
    ("cold_page", cold_page),
    ("cold_page_denied", cold_page_denied),
];

const OPENS: usize = 1000;
const CHANGES: usize = 250;

/// So many times, fewer on a machine that is emulated.
fn times(count: usize) -> usize {
    let slow = std::env::var("ATALAYA_E2E_SLOW").is_ok_and(|factor| factor != "1");
    if slow { count / 5 } else { count }
}

/// A path whose last byte a thread on another processor changes as fast as it can, between `a` and `b`.
struct Race<'a> {
    path: &'a [AtomicU8],
}

impl Race<'_> {
    fn address(&self) -> *const u8 {
        self.path.as_ptr().cast()
    }
}

/// Runs `work` while a racer changes one byte between two values.
fn raced<T>(
    bytes: &[AtomicU8],
    at: usize,
    values: [u8; 2],
    work: impl FnOnce() -> Result<T, Stop>,
) -> Result<T, Stop> {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            on_processor(1);
            while !stop.load(Ordering::Relaxed) {
                for value in values {
                    bytes[at].store(value, Ordering::Relaxed);
                    // Long enough that the kernel's copy and the hook's may fall on two sides.
                    for _ in 0..50 {
                        std::hint::spin_loop();
                    }
                }
            }
        });
        on_processor(0);
        let result = work();
        stop.store(true, Ordering::Relaxed);
        result
    })
}

/// With one processor the two take turns; the race is then rare.
fn on_processor(number: usize) {
    let mut set = CpuSet::new();
    if set.set(number).is_ok() {
        let _ = sched_setaffinity(Pid::from_raw(0), &set);
    }
}

fn raced_path<T>(
    place: &Place,
    work: impl FnOnce(&Race<'_>) -> Result<T, Stop>,
) -> Result<T, Stop> {
    let path = place.c("a")?;
    let bytes: Vec<AtomicU8> = path
        .as_bytes_with_nul()
        .iter()
        .map(|byte| AtomicU8::new(*byte))
        .collect();
    let last = bytes.len() - 2;
    raced(&bytes, last, *b"ab", || work(&Race { path: &bytes }))
}

fn two_files(place: &Place) -> Result<[u64; 2], Stop> {
    let mut inodes = [0; 2];
    for (to, name) in inodes.iter_mut().zip(["a", "b"]) {
        std::fs::write(place.path(name), name).step("a file")?;
        *to = inode(&place.path(name))?;
    }
    tell("a_inode", inodes[0]);
    tell("b_inode", inodes[1]);
    Ok(inodes)
}

fn tell_counts(counts: [usize; 2]) {
    tell("a", counts[0]);
    tell("b", counts[1]);
}

fn race_open(place: &Place) -> Done {
    let [_, b_inode] = two_files(place)?;
    let counts = raced_path(place, |race| {
        let mut counts = [0; 2];
        for _ in 0..times(OPENS) {
            let file = sys_fd!(SYS_openat, libc::AT_FDCWD, race.address(), libc::O_RDONLY)
                .step("openat")?;
            let opened = std::fs::File::from(file).metadata().step("fstat")?.ino();
            counts[usize::from(opened == b_inode)] += 1;
        }
        Ok(counts)
    })?;
    tell_counts(counts);
    Ok(())
}

/// Opens that are refused leave nothing that tells which file they were of, but that one is readable: `a` must never be told as refused.
fn race_open_denied(place: &Place) -> Done {
    two_files(place)?;
    std::fs::set_permissions(place.path("a"), PermissionsExt::from_mode(0o644)).step("a mode")?;
    std::fs::set_permissions(place.path("b"), PermissionsExt::from_mode(0o000)).step("a mode")?;
    sys!(SYS_setresuid, 1234, 1234, 1234).step("setresuid")?;
    let counts = raced_path(place, |race| {
        let mut counts = [0; 2];
        for _ in 0..times(OPENS) {
            let opened = sys_fd!(SYS_openat, libc::AT_FDCWD, race.address(), libc::O_RDONLY);
            counts[usize::from(opened.is_err())] += 1;
        }
        Ok(counts)
    })?;
    tell_counts(counts);
    Ok(())
}

fn race_rename(place: &Place) -> Done {
    two_files(place)?;
    let (a, b, to) = (place.path("a"), place.path("b"), place.path("to"));
    let target = place.c("to")?;
    let counts = raced_path(place, |race| {
        let mut counts = [0; 2];
        for _ in 0..times(CHANGES) {
            sys!(SYS_rename, race.address(), &target).step("rename")?;
            let was_b = !b.exists();
            counts[usize::from(was_b)] += 1;
            std::fs::rename(&to, if was_b { &b } else { &a }).step("back")?;
        }
        Ok(counts)
    })?;
    tell_counts(counts);
    Ok(())
}

fn race_unlink(place: &Place) -> Done {
    two_files(place)?;
    let (a, b) = (place.path("a"), place.path("b"));
    let counts = raced_path(place, |race| {
        let mut counts = [0; 2];
        for _ in 0..times(CHANGES) {
            sys!(SYS_unlink, race.address()).step("unlink")?;
            let was_b = !b.exists();
            counts[usize::from(was_b)] += 1;
            std::fs::write(if was_b { &b } else { &a }, "").step("back")?;
        }
        Ok(counts)
    })?;
    tell_counts(counts);
    Ok(())
}

fn race_chmod(place: &Place) -> Done {
    two_files(place)?;
    let (a, b) = (place.path("a"), place.path("b"));
    for path in [&a, &b] {
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o600)).step("a mode")?;
    }
    let counts = raced_path(place, |race| {
        let mut counts = [0; 2];
        for _ in 0..times(CHANGES) {
            sys!(SYS_chmod, race.address(), 0o640_i32).step("chmod")?;
            let was_b = std::fs::metadata(&b).step("stat")?.mode() & 0o777 == 0o640;
            counts[usize::from(was_b)] += 1;
            std::fs::set_permissions(
                if was_b { &b } else { &a },
                PermissionsExt::from_mode(0o600),
            )
            .step("back")?;
        }
        Ok(counts)
    })?;
    tell_counts(counts);
    Ok(())
}

fn race_connect(_: &Place) -> Done {
    let ports = two_ports()?;
    tell("a_port", ports[0].port);
    tell("b_port", ports[1].port);
    let bytes: Vec<AtomicU8> = ipv4(ports[0].port).map(AtomicU8::new).into();
    let low = [
        ports[0].port.to_be_bytes()[1],
        ports[1].port.to_be_bytes()[1],
    ];
    let counts = raced(&bytes, 3, low, || {
        let mut counts = [0; 2];
        for _ in 0..times(CHANGES) {
            let socket = sys_fd!(SYS_socket, libc::AF_INET, libc::SOCK_STREAM, 0).step("socket")?;
            let address: *const AtomicU8 = bytes.as_ptr();
            sys!(SYS_connect, &socket, address, 16).step("connect")?;
            let stream = std::net::TcpStream::from(socket);
            let peer = stream.peer_addr().step("getpeername")?.port();
            let which = usize::from(peer == ports[1].port);
            counts[which] += 1;
            ports[which].accept()?;
        }
        Ok(counts)
    })?;
    tell_counts(counts);
    Ok(())
}

/// Two ports that differ in one byte.
fn two_ports() -> Result<[Listener; 2], Stop> {
    let first = Listener::quiet()?;
    for other in 1..255_u16 {
        if let Ok(second) = Listener::at(first.port ^ other) {
            return Ok([first, second]);
        }
    }
    Err(Stop::Unavailable("no two ports".to_owned()))
}

/// Another thread puts a decoy under the number of the descriptor that an open is about to return.
fn race_dup2(place: &Place) -> Done {
    let decoy = read(place.secret("decoy")?)?;
    std::fs::write(place.path("real"), "").step("a file")?;
    let path = place.c("real")?;
    let first: OwnedFd =
        sys_fd!(SYS_openat, libc::AT_FDCWD, c"/dev/null", libc::O_RDONLY).step("openat")?;
    let number = first.as_raw_fd();
    drop(first);
    let stop = AtomicBool::new(false);
    let opened = std::thread::scope(|scope| -> Result<usize, Stop> {
        scope.spawn(|| {
            on_processor(1);
            while !stop.load(Ordering::Relaxed) {
                // EBUSY while the number is being given to an open.
                let _ = sys!(SYS_dup2, decoy.as_raw_fd(), number);
                for _ in 0..20 {
                    std::hint::spin_loop();
                }
            }
        });
        on_processor(0);
        let mut opened = 0;
        for _ in 0..times(OPENS) {
            let _ = sys!(SYS_close, number);
            let fd = sys!(SYS_openat, libc::AT_FDCWD, &path, libc::O_RDONLY).step("openat")?;
            opened += 1;
            if fd as i32 != number {
                sys!(SYS_close, fd).step("close")?;
            }
        }
        stop.store(true, Ordering::Relaxed);
        Ok(opened)
    });
    stop.store(true, Ordering::Relaxed);
    tell("opened", opened?);
    Ok(())
}

/// A path that the kernel reads as `a-file…`, and that reads `b-file…` afterwards.
fn trapped_path(place: &Place) -> Result<Trap, Stop> {
    let path = place.c("a-file-of-a-long-name")?;
    let bytes = path.as_bytes_with_nul();
    let name = bytes.len() - "a-file-of-a-long-name\0".len();
    Trap::new(bytes, name + 16, (name, b'b'))
}

fn two_named(place: &Place, mode: u32) -> Done {
    for name in ["a-file-of-a-long-name", "b-file-of-a-long-name"] {
        std::fs::write(place.path(name), "").step("a file")?;
        std::fs::set_permissions(place.path(name), PermissionsExt::from_mode(mode))
            .step("its mode")?;
    }
    tell("inode", inode(&place.path("a-file-of-a-long-name"))?);
    Ok(())
}

fn fault_open(place: &Place) -> Done {
    two_named(place, 0o600)?;
    let trap = trapped_path(place)?;
    fd_of(
        libc::SYS_openat,
        &[&libc::AT_FDCWD, &trap.address(), &libc::O_RDONLY],
    )
    .step("openat")?;
    trap.sprung()
}

fn fault_open_denied(place: &Place) -> Done {
    two_named(place, 0)?;
    let trap = trapped_path(place)?;
    sys!(SYS_setresuid, 1234, 1234, 1234).step("setresuid")?;
    match sys!(SYS_openat, libc::AT_FDCWD, trap.address(), libc::O_RDONLY) {
        Ok(_) => Err("it was not denied".into()),
        Err(_) => trap.sprung(),
    }
}

fn fault_unlink(place: &Place) -> Done {
    two_named(place, 0o600)?;
    let trap = trapped_path(place)?;
    sys!(SYS_unlink, trap.address()).step("unlink")?;
    trap.sprung()
}

fn fault_mkdir(place: &Place) -> Done {
    let trap = trapped_path(place)?;
    sys!(SYS_mkdir, trap.address(), 0o700).step("mkdir")?;
    trap.sprung()
}

fn fault_exec(place: &Place) -> Done {
    tiny(place, "a-file-of-a-long-name")?;
    tiny(place, "b-file-of-a-long-name")?;
    tell("inode", inode(&place.path("a-file-of-a-long-name"))?);
    forked(|| {
        let trap = trapped_path(place)?;
        let nothing = [std::ptr::null::<u8>()];
        sys!(
            SYS_execve,
            trap.address(),
            nothing.as_ptr(),
            nothing.as_ptr()
        )
        .step("execve")?;
        Ok(())
    })
}

fn fault_connect(_: &Place) -> Done {
    let [first, second] = two_ports()?;
    tell("port", first.port);
    let low = second.port.to_be_bytes()[1];
    let trap = Trap::new(&ipv4(first.port), 12, (3, low))?;
    let socket = sys_fd!(SYS_socket, libc::AF_INET, libc::SOCK_STREAM, 0).step("socket")?;
    sys!(SYS_connect, &socket, trap.address(), 16).step("connect")?;
    if std::net::TcpStream::from(socket)
        .peer_addr()
        .step("getpeername")?
        .port()
        != first.port
    {
        return Err("the trap came too early".into());
    }
    trap.sprung()
}

/// A text in a page of a file that nobody has touched: no hook can read it before the kernel has.
fn cold(place: &Place, name: &str) -> Result<*const u8, Stop> {
    let path = place.c(name)?;
    std::fs::write(place.path("text"), path.as_bytes_with_nul()).step("the text")?;
    let file = read(place.path("text"))?;
    let address = sys!(
        SYS_mmap,
        0,
        PAGE,
        libc::PROT_READ,
        libc::MAP_PRIVATE,
        &file,
        0
    )
    .step("mmap")?;
    Ok(address as *const u8)
}

fn cold_page(place: &Place) -> Done {
    place.secret("secret")?;
    let path = cold(place, "secret")?;
    sys_fd!(SYS_openat, libc::AT_FDCWD, path, libc::O_RDONLY).step("openat")?;
    Ok(())
}

fn cold_page_denied(place: &Place) -> Done {
    let secret = place.secret("secret")?;
    std::fs::set_permissions(secret, PermissionsExt::from_mode(0o000)).step("its mode")?;
    let path = cold(place, "secret")?;
    sys!(SYS_setresuid, 1234, 1234, 1234).step("setresuid")?;
    match sys!(SYS_openat, libc::AT_FDCWD, path, libc::O_RDONLY) {
        Ok(_) => Err("it was not denied".into()),
        Err(_) => Ok(()),
    }
}
