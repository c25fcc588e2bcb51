//! Files by descriptors, and contents without reads and writes.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Command, Stdio};

use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg,
    sendmsg, socketpair,
};

use crate::Arm;
use crate::place::{Done, Place, Step, Stop, read, tell, write};
use crate::programs::{copy, ended, fork, reap};
use crate::raw::{sys, sys_fd};

pub(crate) const ARMS: &[(&str, Arm)] = &[
    ("fd_passing", fd_passing),
    ("pidfd_getfd", pidfd_getfd),
    ("fd_inherited", fd_inherited),
    ("@fchmod", fchmod_stdin),
    ("o_path_reopen", o_path_reopen),
    ("dev_fd", dev_fd),
    ("fchmodat2", fchmodat2),
    ("fchmod_o_path", fchmod_o_path),
    ("setxattr_by_fd", setxattr_by_fd),
    ("setxattrat", setxattrat),
    ("truncate", truncate),
    ("truncate_symlink", truncate_symlink),
    ("ftruncate", ftruncate),
    ("sendfile_copy", sendfile_copy),
    ("copy_file_range", copy_file_range),
    ("splice", splice),
    ("mmap_write", mmap_write),
    ("chdir_relative", chdir_relative),
    ("fchdir", fchdir),
];

fn fd_passing(place: &Place) -> Done {
    let path = place.secret("secret")?;
    let (ours, theirs) = socketpair(
        AddressFamily::Unix,
        SockType::Stream,
        None,
        SockFlag::empty(),
    )
    .step("socketpair")?;
    let child = fork(|| {
        let mut space = nix::cmsg_space!([i32; 1]);
        let mut byte = [0];
        let mut parts = [std::io::IoSliceMut::new(&mut byte)];
        let message = recvmsg::<()>(
            theirs.as_raw_fd(),
            &mut parts,
            Some(&mut space),
            MsgFlags::empty(),
        )
        .step("recvmsg")?;
        for part in message.cmsgs().step("its parts")? {
            if let ControlMessageOwned::ScmRights(files) = part
                && let Some(file) = files.first()
            {
                sys!(SYS_fchmod, *file, 0o4755_i32).step("fchmod")?;
                return Ok(());
            }
        }
        Err("no descriptor came".into())
    })?;
    tell("child", child);
    let file = read(path)?;
    let passed = [file.as_raw_fd()];
    let parts = [std::io::IoSlice::new(b"x")];
    sendmsg::<()>(
        ours.as_raw_fd(),
        &parts,
        &[ControlMessage::ScmRights(&passed)],
        MsgFlags::empty(),
        None,
    )
    .step("sendmsg")?;
    reap(child)
}

fn pidfd_getfd(place: &Place) -> Done {
    let path = place.secret("secret")?;
    let (mut ready, theirs) = std::io::pipe().step("a pipe")?;
    let child = fork(|| {
        let file = read(path)?;
        writeln!(&theirs, "{}", file.as_raw_fd()).step("the pipe")?;
        nix::unistd::pause();
        Ok(())
    })?;
    drop(theirs);
    let mut text = [0; 16];
    let length = ready.read(&mut text).step("the pipe")?;
    let number: i32 = String::from_utf8_lossy(&text[..length])
        .trim()
        .parse()
        .map_err(|_| "not a descriptor")?;
    let stolen = sys_fd!(SYS_pidfd_open, child.as_raw(), 0)
        .or_absent("pidfd_open")
        .and_then(|pidfd| sys_fd!(SYS_pidfd_getfd, &pidfd, number, 0).or_absent("pidfd_getfd"));
    nix::sys::signal::kill(child, nix::sys::signal::Signal::SIGKILL).step("kill")?;
    let _ = reap(child);
    sys!(SYS_fchmod, &stolen?, 0o4755_i32).step("fchmod")?;
    Ok(())
}

fn fd_inherited(place: &Place) -> Done {
    let file = read(place.secret("secret")?)?;
    let status = Command::new(copy(place, "program")?)
        .args(["@fchmod", "-"])
        .stdin(Stdio::from(file))
        .status();
    ended(status.step("the program")?)
}

fn fchmod_stdin(_: &Place) -> Done {
    sys!(SYS_fchmod, 0, 0o4755_i32).step("fchmod")?;
    Ok(())
}

fn o_path(place: &Place) -> Result<OwnedFd, Stop> {
    let path = place.secret("secret")?;
    let file = File::options()
        .read(true)
        .custom_flags(libc::O_PATH)
        .open(path)
        .step("O_PATH")?;
    Ok(file.into())
}

fn o_path_reopen(place: &Place) -> Done {
    let file = o_path(place)?;
    write(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
    Ok(())
}

fn dev_fd(place: &Place) -> Done {
    let file = o_path(place)?;
    let dev = std::path::PathBuf::from(format!("/dev/fd/{}", file.as_raw_fd()));
    if !dev.exists() {
        return Err(Stop::Unavailable("no /dev/fd".to_owned()));
    }
    write(dev)?;
    Ok(())
}

fn fchmodat2(place: &Place) -> Done {
    const FCHMODAT2: i64 = 452;
    let file = o_path(place)?;
    crate::raw::call(
        FCHMODAT2,
        &[&&file, &c"", &0o4755_i32, &libc::AT_EMPTY_PATH],
    )
    .or_absent("fchmodat2")?;
    Ok(())
}

fn fchmod_o_path(place: &Place) -> Done {
    let file = o_path(place)?;
    let path = crate::place::c(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
    sys!(SYS_chmod, &path, 0o4755_i32).step("chmod")?;
    Ok(())
}

fn setxattr_by_fd(place: &Place) -> Done {
    let file = read(place.secret("secret")?)?;
    let value = b"evil";
    sys!(
        SYS_fsetxattr,
        &file,
        c"trusted.evasion",
        value.as_ptr(),
        value.len(),
        0
    )
    .or_absent("fsetxattr")?;
    Ok(())
}

fn setxattrat(place: &Place) -> Done {
    const SETXATTRAT: i64 = 463;
    let file = read(place.secret("secret")?)?;
    let value = b"evil";
    // struct xattr_args: value, size and flags
    let arguments = [value.as_ptr() as u64, value.len() as u64];
    let call = crate::raw::call(
        SETXATTRAT,
        &[
            &&file,
            &c"",
            &libc::AT_EMPTY_PATH,
            &c"trusted.evasion",
            &arguments.as_ptr(),
            &size_of_val(&arguments),
        ],
    );
    call.or_absent("setxattrat")?;
    Ok(())
}

fn truncate(place: &Place) -> Done {
    // Not with O_TRUNC among the flags of its making.
    let file = File::options()
        .write(true)
        .create_new(true)
        .open(place.path("secret"))
        .step("the file")?;
    (&file).write_all(b"secret").step("its contents")?;
    let path = place.c("secret")?;
    sys!(SYS_truncate, &path, 0).step("truncate")?;
    Ok(())
}

fn truncate_symlink(place: &Place) -> Done {
    // Not with O_TRUNC among the flags of its making.
    let file = File::options()
        .write(true)
        .create_new(true)
        .open(place.path("secret"))
        .step("the file")?;
    tell("inode", crate::place::inode(&place.path("secret"))?);
    (&file).write_all(b"secret").step("its contents")?;
    std::os::unix::fs::symlink("secret", place.path("innocent")).step("symlink")?;
    let path = place.c("innocent")?;
    sys!(SYS_truncate, &path, 0).step("truncate")?;
    Ok(())
}

fn ftruncate(place: &Place) -> Done {
    let file = write(place.secret("secret")?)?;
    file.set_len(0).step("ftruncate")
}

fn two(place: &Place) -> Result<(File, File), Stop> {
    let from = read(place.secret("secret")?)?;
    let to = File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .open(place.path("copy"))
        .step("the copy")?;
    Ok((from, to))
}

fn sendfile_copy(place: &Place) -> Done {
    let (from, to) = two(place)?;
    let nothing: *const u8 = std::ptr::null();
    sys!(SYS_sendfile, &to, &from, nothing, 6).step("sendfile")?;
    Ok(())
}

fn copy_file_range(place: &Place) -> Done {
    let (from, to) = two(place)?;
    let nothing: *const u8 = std::ptr::null();
    sys!(SYS_copy_file_range, &from, nothing, &to, nothing, 6, 0).or_absent("copy_file_range")?;
    Ok(())
}

fn splice(place: &Place) -> Done {
    let (from, to) = two(place)?;
    let (end, start) = std::io::pipe().step("a pipe")?;
    let nothing: *const u8 = std::ptr::null();
    let (start, end) = (OwnedFd::from(start), OwnedFd::from(end));
    sys!(SYS_splice, &from, nothing, &start, nothing, 6, 0).or_absent("splice")?;
    sys!(SYS_splice, &end, nothing, &to, nothing, 6, 0).or_absent("splice")?;
    Ok(())
}

fn mmap_write(place: &Place) -> Done {
    let file = File::options()
        .read(true)
        .write(true)
        .open(place.secret("secret")?)
        .step("the file")?;
    let (protection, shared) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
    let address = sys!(SYS_mmap, 0, 4096, protection, shared, &file, 0).step("mmap")?;
    // SAFETY: a mapping of one page, of which the file fills a part.
    unsafe { (address as *mut u8).write_volatile(b'S') }
    Ok(())
}

fn chdir_relative(place: &Place) -> Done {
    place.secret("secret")?;
    std::env::set_current_dir(place.directory("sub")?).step("chdir")?;
    read("../secret")?;
    Ok(())
}

fn fchdir(place: &Place) -> Done {
    place.secret("secret")?;
    let dir = read(place.directory("sub")?)?;
    sys!(SYS_fchdir, &dir).step("fchdir")?;
    read("../secret")?;
    Ok(())
}
