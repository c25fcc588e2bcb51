//! One file under many names.

use std::ffi::OsStr;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;

use crate::place::{Done, Place, Step, c, inode, read, tell, write};
use crate::raw::{sys, sys_fd};
use crate::{Arm, place};

pub(crate) const ARMS: &[(&str, Arm)] = &[
    ("rename", rename),
    ("rename_directory", rename_directory),
    ("rename_exchange", rename_exchange),
    ("symlink", through_symlink),
    ("symlink_directory", symlink_directory),
    ("symlink_flip", symlink_flip),
    ("hardlink", hardlink),
    ("hardlink_first_name", hardlink),
    ("proc_self_root", proc_self_root),
    ("proc_self_root_unlink", proc_self_root_unlink),
    ("proc_self_cwd_rename", proc_self_cwd_rename),
    ("proc_self_cwd", proc_self_cwd),
    ("dot_segments", dot_segments),
    ("dirfd", dirfd),
    ("resolve_in_root", resolve_in_root),
    ("tmpfile_link", tmpfile_link),
    ("open_by_handle", open_by_handle),
    ("path_max", path_max),
    ("deeper_than_path_max", deeper_than_path_max),
    ("deeper_than_captured", deeper_than_captured),
    ("control_characters", control_characters),
    ("not_utf8", not_utf8),
];

fn rename(place: &Place) -> Done {
    let secret = place.secret("secret")?;
    std::fs::rename(secret, place.path("plain")).step("rename")?;
    read(place.path("plain"))?;
    Ok(())
}

fn rename_directory(place: &Place) -> Done {
    place.directory("a")?;
    place.secret("a/secret")?;
    read(place.path("a/secret"))?;
    std::fs::rename(place.path("a"), place.path("b")).step("rename")?;
    read(place.path("b/secret"))?;
    Ok(())
}

fn rename_exchange(place: &Place) -> Done {
    std::fs::write(place.path("decoy"), "decoy").step("the decoy")?;
    place.secret("secret")?;
    let (decoy, secret) = (place.c("decoy")?, place.c("secret")?);
    let cwd = libc::AT_FDCWD;
    sys!(
        SYS_renameat2,
        cwd,
        &decoy,
        cwd,
        &secret,
        libc::RENAME_EXCHANGE
    )
    .or_absent("RENAME_EXCHANGE")?;
    read(place.path("decoy"))?;
    Ok(())
}

fn through_symlink(place: &Place) -> Done {
    symlink(place.secret("secret")?, place.path("innocent")).step("symlink")?;
    read(place.path("innocent"))?;
    Ok(())
}

fn symlink_directory(place: &Place) -> Done {
    place.directory("real")?;
    place.secret("real/secret")?;
    symlink("real", place.path("other")).step("symlink")?;
    read(place.path("other/../other/secret"))?;
    Ok(())
}

/// A link that shows to one of two files, turned by renaming another over it before each look.
fn symlink_flip(place: &Place) -> Done {
    let files = [place.secret("a")?, place.path("b")];
    std::fs::write(&files[1], "b").step("b")?;
    let link = place.path("link");
    for file in files.iter().cycle().take(100) {
        let next = place.path("next");
        symlink(file, &next).step("symlink")?;
        std::fs::rename(&next, &link).step("rename")?;
        read(&link)?;
    }
    Ok(())
}

fn hardlink(place: &Place) -> Done {
    std::fs::hard_link(place.secret("secret")?, place.path("other")).step("link")?;
    read(place.path("other"))?;
    Ok(())
}

fn proc_self_root(place: &Place) -> Done {
    let secret = place.secret("secret")?;
    read(format!("/proc/self/root{}", secret.display()))?;
    Ok(())
}

fn proc_self_root_unlink(place: &Place) -> Done {
    let secret = place.secret("secret")?;
    std::fs::remove_file(format!("/proc/self/root{}", secret.display())).step("unlink")
}

fn proc_self_cwd_rename(place: &Place) -> Done {
    place.secret("secret")?;
    std::env::set_current_dir(place.dir()).step("chdir")?;
    let to = format!("/proc/self/root{}", place.path("plain").display());
    std::fs::rename("/proc/self/cwd/secret", to).step("rename")
}

fn proc_self_cwd(place: &Place) -> Done {
    place.secret("secret")?;
    std::env::set_current_dir(place.dir()).step("chdir")?;
    read("/proc/self/cwd/secret")?;
    Ok(())
}

fn dot_segments(place: &Place) -> Done {
    place.secret("secret")?;
    place.directory("x")?;
    read(place.path(".//x/./..///secret"))?;
    Ok(())
}

fn dirfd(place: &Place) -> Done {
    place.secret("secret")?;
    let sub = read(place.directory("sub")?)?;
    std::env::set_current_dir("/").step("chdir")?;
    sys_fd!(SYS_openat, &sub, c"../secret", libc::O_RDONLY).step("openat")?;
    Ok(())
}

fn resolve_in_root(place: &Place) -> Done {
    const RESOLVE_IN_ROOT: u64 = 0x10;
    place.secret("secret")?;
    let root = read(place.dir())?;
    // struct open_how: flags, mode, resolve
    let how = [libc::O_RDONLY as u64, 0, RESOLVE_IN_ROOT];
    sys_fd!(
        SYS_openat2,
        &root,
        c"/../../secret",
        how.as_ptr(),
        size_of_val(&how)
    )
    .or_absent("openat2")?;
    Ok(())
}

fn tmpfile_link(place: &Place) -> Done {
    let dir = c(place.dir().as_os_str().as_bytes())?;
    let file = sys_fd!(
        SYS_openat,
        libc::AT_FDCWD,
        &dir,
        libc::O_TMPFILE | libc::O_RDWR,
        0o600_i32
    )
    .or_absent("O_TMPFILE")?;
    let from = c(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
    let to = place.c("appeared")?;
    sys!(
        SYS_linkat,
        libc::AT_FDCWD,
        &from,
        libc::AT_FDCWD,
        &to,
        libc::AT_SYMLINK_FOLLOW
    )
    .step("linkat")?;
    tell("inode", inode(&place.path("appeared"))?);
    Ok(())
}

fn open_by_handle(place: &Place) -> Done {
    place.secret("secret")?;
    let dir = read(place.dir())?;
    // struct file_handle: bytes, type, the handle
    let mut handle = [0_u32; 34];
    handle[0] = 128;
    let mut mount = 0_i32;
    let number = libc::SYS_name_to_handle_at;
    crate::raw::call(
        number,
        &[&&dir, &c"secret", &handle.as_mut_ptr(), &&raw mut mount, &0],
    )
    .or_absent("name_to_handle_at")?;
    sys_fd!(SYS_open_by_handle_at, &dir, handle.as_ptr(), libc::O_RDONLY)
        .or_absent("open_by_handle_at")?;
    Ok(())
}

/// Directories one in the other, each entered, so that the whole may be longer than an argument can be; then a file.
fn nested(place: &Place, depth: usize, name: &str) -> Result<usize, place::Stop> {
    let part = "n".repeat(250);
    std::env::set_current_dir(place.dir()).step("chdir")?;
    for _ in 0..depth {
        std::fs::create_dir(&part).step("mkdir")?;
        std::env::set_current_dir(&part).step("chdir")?;
    }
    std::fs::write(name, "secret").step("the file")?;
    Ok(place.dir().as_os_str().len() + depth * 251 + 1 + name.len())
}

fn path_max(place: &Place) -> Done {
    const LONGEST: usize = 4095;
    let base = place.dir().as_os_str().len();
    let depth = (LONGEST - base - 20) / 251;
    let name = format!(
        "evasion-{}",
        "x".repeat(LONGEST - base - depth * 251 - 1 - "evasion-".len())
    );
    let length = nested(place, depth, &name)?;
    let mut path = place.dir().to_owned();
    path.extend(std::iter::repeat_n("n".repeat(250), depth));
    path.push(name);
    assert_eq!(length, LONGEST);
    std::env::set_current_dir("/").step("chdir")?;
    read(&path)?;
    tell("path", path.display());
    Ok(())
}

fn deeper_than_path_max(place: &Place) -> Done {
    nested(place, 20, "evasion-deep")?;
    read("evasion-deep")?;
    let mut path = place.dir().to_owned();
    path.extend(std::iter::repeat_n("n".repeat(250), 20));
    tell("path", path.join("evasion-deep").display());
    Ok(())
}

fn deeper_than_captured(place: &Place) -> Done {
    nested(place, 60, "evasion-deeper")?;
    read("evasion-deeper")?;
    Ok(())
}

fn control_characters(place: &Place) -> Done {
    let path = place.path("evil\u{1b}[2K\u{1b}[1A\n\r\u{7}name");
    std::fs::write(&path, "").step("the file")?;
    tell("inode", inode(&path)?);
    read(&path)?;
    Ok(())
}

fn not_utf8(place: &Place) -> Done {
    let path = place
        .dir()
        .join(OsStr::from_bytes(b"evil\xff\xfe\xc0\xafname"));
    std::fs::write(&path, "").step("the file")?;
    tell("inode", inode(&path)?);
    write(&path)?;
    Ok(())
}
