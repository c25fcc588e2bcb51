//! Other ways into the kernel than a 64-bit system call.

use std::arch::asm;
use std::ffi::CStr;
use std::io;

use crate::Arm;
use crate::network::{Listener, ipv4};
use crate::place::{Done, Place, Step, Stop, tell};
use crate::programs::{forked, tiny};
use crate::raw::sys_fd;
use crate::uring::{self, Entry, Ring};

pub(crate) const ARMS: &[(&str, Arm)] = &[
    ("int80_open", int80_open),
    ("int80_unlink", int80_unlink),
    ("int80_rename", int80_rename),
    ("int80_exec", int80_exec),
    ("int80_connect", int80_connect),
    ("int80_socketcall", int80_socketcall),
    ("x32_open", x32_open),
    ("uring_open", uring_open),
    ("uring_open_worker", uring_open_worker),
    ("uring_open_sqpoll", uring_open_sqpoll),
    ("uring_open_fixed", uring_open_fixed),
    ("uring_open_personality", uring_open_personality),
    ("uring_unlink", uring_unlink),
    ("uring_rename", uring_rename),
    ("uring_unlink_symlink", uring_unlink_symlink),
    ("uring_open_fixed_symlink", uring_open_fixed_symlink),
    ("uring_connect", uring_connect),
    ("uring_connect_worker", uring_connect_worker),
];

/// Memory that lies where 32 bits reach.
struct Low {
    base: *mut u8,
    used: usize,
}

impl Low {
    const SIZE: usize = 1 << 16;

    fn new() -> Result<Self, Stop> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_32BIT;
        let base = crate::raw::sys!(SYS_mmap, 0, Self::SIZE, protection, flags, -1, 0)
            .step("low memory")?;
        Ok(Self {
            base: base as *mut u8,
            used: 0,
        })
    }

    /// A copy below 4 GiB: its address.
    fn put(&mut self, bytes: &[u8]) -> u32 {
        assert!(self.used + bytes.len() <= Self::SIZE, "texts too long");
        // SAFETY: inside the mapping, by the assertion.
        let address = unsafe {
            let to = self.base.add(self.used);
            to.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
            to
        };
        self.used += bytes.len().next_multiple_of(8);
        address as u32
    }

    fn text(&mut self, text: &CStr) -> u32 {
        self.put(text.to_bytes_with_nul())
    }
}

/// A system call through the 32-bit entry, with the number that it has there.
fn int80(number: u32, arguments: [u32; 5]) -> io::Result<u32> {
    let [a, b, c, d, e] = arguments.map(u64::from);
    let result: u64;
    // SAFETY: the convention of the i386 entry; rbx is LLVM's own and so is saved by hand, r8 to r11 are lost.
    unsafe {
        asm!(
            "xchg {a}, rbx",
            "int 0x80",
            "xchg {a}, rbx",
            a = inout(reg) a => _,
            inlateout("rax") u64::from(number) => result,
            in("rcx") b,
            in("rdx") c,
            in("rsi") d,
            in("rdi") e,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    let result = result as u32 as i32;
    if result < 0 {
        return Err(io::Error::from_raw_os_error(-result));
    }
    Ok(result as u32)
}

fn int80_open(place: &Place) -> Done {
    place.secret("secret")?;
    let mut low = Low::new()?;
    let path = low.text(&place.c("secret")?);
    int80(5, [path, 0, 0, 0, 0]).or_absent("int 0x80")?;
    Ok(())
}

fn int80_unlink(place: &Place) -> Done {
    place.secret("secret")?;
    let mut low = Low::new()?;
    let path = low.text(&place.c("secret")?);
    int80(10, [path, 0, 0, 0, 0]).or_absent("int 0x80")?;
    Ok(())
}

fn int80_rename(place: &Place) -> Done {
    place.secret("secret")?;
    let mut low = Low::new()?;
    let (from, to) = (low.text(&place.c("secret")?), low.text(&place.c("plain")?));
    int80(38, [from, to, 0, 0, 0]).or_absent("int 0x80")?;
    Ok(())
}

fn int80_exec(place: &Place) -> Done {
    tiny(place, "program")?;
    let path = place.c("program")?;
    forked(|| {
        let mut low = Low::new()?;
        let path = low.text(&path);
        let word = low.text(c"innocent");
        let argv = low.put(&[word.to_le_bytes(), [0; 4]].concat());
        let envp = low.put(&[0; 4]);
        int80(11, [path, argv, envp, 0, 0]).or_absent("int 0x80")?;
        Ok(())
    })
}

fn int80_connect(_: &Place) -> Done {
    const SOCKET: u32 = 359;
    const CONNECT: u32 = 362;
    let listener = Listener::new()?;
    let mut low = Low::new()?;
    let address = low.put(&ipv4(listener.port));
    let socket = int80(
        SOCKET,
        [libc::AF_INET as u32, libc::SOCK_STREAM as u32, 0, 0, 0],
    )
    .or_absent("int 0x80")?;
    int80(CONNECT, [socket, address, 16, 0, 0]).step("connect")?;
    Ok(())
}

fn int80_socketcall(_: &Place) -> Done {
    const SOCKETCALL: u32 = 102;
    let listener = Listener::new()?;
    let mut low = Low::new()?;
    let words = |words: [u32; 3]| words.map(u32::to_le_bytes).concat();
    let arguments = low.put(&words([libc::AF_INET as u32, libc::SOCK_STREAM as u32, 0]));
    let socket = int80(SOCKETCALL, [1, arguments, 0, 0, 0]).or_absent("socketcall")?;
    let address = low.put(&ipv4(listener.port));
    let arguments = low.put(&words([socket, address, 16]));
    int80(SOCKETCALL, [3, arguments, 0, 0, 0]).step("connect")?;
    Ok(())
}

fn x32_open(place: &Place) -> Done {
    const X32: i64 = 0x4000_0000;
    place.secret("secret")?;
    let path = place.c("secret")?;
    crate::raw::call(X32 | libc::SYS_open, &[&&path, &libc::O_RDONLY]).or_absent("x32")?;
    Ok(())
}

const AT_FDCWD: i32 = libc::AT_FDCWD;

fn open_entry(path: &CStr) -> Entry {
    Entry {
        opcode: uring::OPENAT,
        fd: AT_FDCWD,
        addr: path.as_ptr() as u64,
        ..Entry::default()
    }
}

fn uring_open_with(place: &Place, ring_flags: u32, flags: u8, file_slot: u32) -> Done {
    place.secret("secret")?;
    let path = place.c("secret")?;
    let mut ring = Ring::new(ring_flags)?;
    if file_slot != 0 {
        ring.register_empty_files(4)?;
    }
    ring.one(Entry {
        flags,
        file_slot,
        ..open_entry(&path)
    })
    .step("open")?;
    Ok(())
}

fn uring_open(place: &Place) -> Done {
    uring_open_with(place, 0, 0, 0)
}

fn uring_open_worker(place: &Place) -> Done {
    uring_open_with(place, 0, uring::ASYNC, 0)
}

fn uring_open_sqpoll(place: &Place) -> Done {
    uring_open_with(place, uring::SETUP_SQPOLL, 0, 0)
}

fn uring_open_fixed(place: &Place) -> Done {
    uring_open_with(place, 0, 0, 1)
}

/// As root's personality, after the process has become another user.
fn uring_open_personality(place: &Place) -> Done {
    use std::os::unix::fs::PermissionsExt;
    let path = place.secret("secret")?;
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o600)).step("its mode")?;
    let path = place.c("secret")?;
    let mut ring = Ring::new(0)?;
    let personality = ring.register_personality()?;
    crate::raw::sys!(SYS_setresuid, 1234, 1234, 1234).step("setresuid")?;
    ring.one(Entry {
        personality,
        ..open_entry(&path)
    })
    .step("open")?;
    Ok(())
}

fn uring_unlink(place: &Place) -> Done {
    place.secret("secret")?;
    let path = place.c("secret")?;
    let entry = Entry {
        opcode: uring::UNLINKAT,
        fd: AT_FDCWD,
        addr: path.as_ptr() as u64,
        ..Entry::default()
    };
    Ring::new(0)?.one(entry).or_absent("unlink")?;
    Ok(())
}

/// The row's file by another way: a link to its directory.
fn linked(place: &Place) -> Result<std::ffi::CString, Stop> {
    place.secret("secret")?;
    std::os::unix::fs::symlink(place.dir(), place.path("link")).step("symlink")?;
    place.c("link/secret")
}

fn uring_unlink_symlink(place: &Place) -> Done {
    let path = linked(place)?;
    let entry = Entry {
        opcode: uring::UNLINKAT,
        fd: AT_FDCWD,
        addr: path.as_ptr() as u64,
        ..Entry::default()
    };
    Ring::new(0)?.one(entry).or_absent("unlink")?;
    Ok(())
}

fn uring_open_fixed_symlink(place: &Place) -> Done {
    let path = linked(place)?;
    let mut ring = Ring::new(0)?;
    ring.register_empty_files(4)?;
    ring.one(Entry {
        file_slot: 1,
        ..open_entry(&path)
    })
    .step("open")?;
    Ok(())
}

fn uring_rename(place: &Place) -> Done {
    place.secret("secret")?;
    let (from, to) = (place.c("secret")?, place.c("plain")?);
    let entry = Entry {
        opcode: uring::RENAMEAT,
        fd: AT_FDCWD,
        addr: from.as_ptr() as u64,
        len: AT_FDCWD as u32,
        off: to.as_ptr() as u64,
        ..Entry::default()
    };
    Ring::new(0)?.one(entry).or_absent("rename")?;
    Ok(())
}

fn uring_connect_with(flags: u8) -> Done {
    use std::os::fd::AsRawFd;
    let listener = Listener::new()?;
    let address = ipv4(listener.port);
    let socket = sys_fd!(SYS_socket, libc::AF_INET, libc::SOCK_STREAM, 0).step("socket")?;
    let entry = Entry {
        opcode: uring::CONNECT,
        flags,
        fd: socket.as_raw_fd(),
        addr: address.as_ptr() as u64,
        off: 16,
        ..Entry::default()
    };
    Ring::new(0)?.one(entry).step("connect")?;
    tell("done", 1);
    Ok(())
}

fn uring_connect(_: &Place) -> Done {
    uring_connect_with(0)
}

fn uring_connect_worker(_: &Place) -> Done {
    uring_connect_with(uring::ASYNC)
}
