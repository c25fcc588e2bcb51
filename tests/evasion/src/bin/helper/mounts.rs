//! Files under mounts that others do not see. Each arm has a mount namespace of its own, which ends with it.

use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

use crate::Arm;
use crate::place::{Done, Place, Step, Stop, c, inode, read, tell, write};
use crate::programs::{run, tiny};
use crate::raw::{sys, sys_fd};

pub(crate) const ARMS: &[(&str, Arm)] = &[
    ("bind_mount", bind_mount),
    ("bind_mount_first_name", bind_mount),
    ("mount_over_program", mount_over_program),
    ("mount_namespace", mount_namespace),
    ("chroot", chroot),
    ("pivot_root", pivot_root),
    ("lazy_umount", lazy_umount),
    ("detached_tree", detached_tree),
    ("detached_tree_mount", detached_tree),
    ("detached_tree_first_name", detached_tree),
    ("fsmount", fsmount),
    ("fsmount_exec", fsmount_exec),
    ("move_mount", move_mount),
    ("overlay_copy_up", overlay_copy_up),
    ("overlay_unlink", overlay_unlink),
    ("overlay_rename", overlay_rename),
    ("overlay_mkdir", overlay_mkdir),
    ("overlay_chmod", overlay_chmod),
    ("overlay_exec", overlay_exec),
    ("overlay_below", overlay_below),
    ("user_namespace", user_namespace),
];

const NONE: Option<&str> = None;
const OPEN_TREE_CLONE: i32 = 1;
const MOVE_MOUNT_F_EMPTY_PATH: i32 = 4;
const FSCONFIG_CMD_CREATE: i32 = 6;

fn private() -> Done {
    unshare(CloneFlags::CLONE_NEWNS).or_absent("a mount namespace")?;
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE).step("private mounts")
}

fn bind(from: &Path, to: &Path) -> Done {
    mount(Some(from), to, NONE, MsFlags::MS_BIND, NONE).step("bind mount")
}

fn tmpfs(to: &Path) -> Done {
    mount(Some("none"), to, Some("tmpfs"), MsFlags::empty(), NONE).step("tmpfs")
}

fn bind_mount(place: &Place) -> Done {
    private()?;
    let (real, other) = (place.directory("real")?, place.directory("other")?);
    place.secret("real/secret")?;
    bind(&real, &other)?;
    read(other.join("secret"))?;
    Ok(())
}

fn mount_over_program(place: &Place) -> Done {
    private()?;
    let (program, evil) = (tiny(place, "program")?, tiny(place, "evil")?);
    bind(&evil, &program)?;
    tell("inode", inode(&program)?);
    run(&program, &[])
}

fn mount_namespace(place: &Place) -> Done {
    private()?;
    tmpfs(&place.directory("mnt")?)?;
    place.secret("mnt/secret")?;
    read(place.path("mnt/secret"))?;
    Ok(())
}

fn chroot(place: &Place) -> Done {
    place.secret("secret")?;
    nix::unistd::chroot(place.dir()).step("chroot")?;
    std::env::set_current_dir("/").step("chdir")?;
    read("/secret")?;
    Ok(())
}

fn pivot_root(place: &Place) -> Done {
    private()?;
    let root = place.directory("root")?;
    tmpfs(&root)?;
    place.secret("root/evasion-pivoted")?;
    std::env::set_current_dir(&root).step("chdir")?;
    sys!(SYS_pivot_root, c".", c".").step("pivot_root")?;
    umount2(".", MntFlags::MNT_DETACH).step("umount of the old root")?;
    std::env::set_current_dir("/").step("chdir")?;
    read("/evasion-pivoted")?;
    Ok(())
}

fn lazy_umount(place: &Place) -> Done {
    private()?;
    let mnt = place.directory("mnt")?;
    tmpfs(&mnt)?;
    place.secret("mnt/evasion-umounted")?;
    let dir = read(&mnt)?;
    umount2(&mnt, MntFlags::MNT_DETACH).step("umount")?;
    sys_fd!(SYS_openat, &dir, c"evasion-umounted", libc::O_RDONLY).step("openat")?;
    Ok(())
}

fn detached_tree(place: &Place) -> Done {
    let tree = place.directory("tree")?;
    place.secret("tree/evasion-detached")?;
    let path = place.c("tree")?;
    drop(tree);
    let tree =
        sys_fd!(SYS_open_tree, libc::AT_FDCWD, &path, OPEN_TREE_CLONE).or_absent("open_tree")?;
    sys_fd!(SYS_openat, &tree, c"evasion-detached", libc::O_RDONLY).step("openat")?;
    Ok(())
}

/// A new tmpfs that is mounted nowhere.
fn new_tmpfs() -> Result<OwnedFd, Stop> {
    let context = sys_fd!(SYS_fsopen, c"tmpfs", 0).or_absent("fsopen")?;
    let nothing: *const u8 = std::ptr::null();
    sys!(
        SYS_fsconfig,
        &context,
        FSCONFIG_CMD_CREATE,
        nothing,
        nothing,
        0
    )
    .step("fsconfig")?;
    sys_fd!(SYS_fsmount, &context, 0, 0).or_absent("fsmount")
}

fn fsmount(_: &Place) -> Done {
    let mnt = new_tmpfs()?;
    let flags = libc::O_CREAT | libc::O_RDWR;
    sys_fd!(SYS_openat, &mnt, c"evasion-nowhere", flags, 0o600).step("openat")?;
    Ok(())
}

fn fsmount_exec(_: &Place) -> Done {
    let mnt = new_tmpfs()?;
    let flags = libc::O_CREAT | libc::O_RDWR;
    let file = sys_fd!(SYS_openat, &mnt, c"evasion-nowhere", flags, 0o700).step("openat")?;
    let mut file = std::fs::File::from(file);
    std::io::Write::write_all(&mut file, &crate::programs::tiny_elf()).step("the program")?;
    tell("inode", file.metadata().step("stat")?.ino());
    drop(file);
    crate::programs::forked(|| {
        let (argv, envp) = ([c"x".as_ptr(), std::ptr::null()], [std::ptr::null::<i8>()]);
        sys!(
            SYS_execveat,
            &mnt,
            c"evasion-nowhere",
            argv.as_ptr(),
            envp.as_ptr(),
            0
        )
        .step("execveat")?;
        Ok(())
    })
}

fn move_mount(place: &Place) -> Done {
    private()?;
    let mnt = new_tmpfs()?;
    let to: CString = c(place.directory("mnt")?.as_os_str().as_encoded_bytes())?;
    let empty: &std::ffi::CStr = c"";
    sys!(
        SYS_move_mount,
        &mnt,
        empty,
        libc::AT_FDCWD,
        &to,
        MOVE_MOUNT_F_EMPTY_PATH
    )
    .or_absent("move_mount")?;
    Ok(())
}

/// An overlay at `merged` of `lower` and `upper`; its file `secret` comes from `lower`.
fn overlay(place: &Place) -> Done {
    private()?;
    for name in ["lower", "upper", "work", "merged"] {
        place.directory(name)?;
    }
    // The layers on a file system of their own: where /tmp is an overlay itself it cannot be an upper layer.
    let layers = place.directory("layers")?;
    tmpfs(&layers)?;
    for name in ["layers/lower", "layers/upper", "layers/work"] {
        place.directory(name)?;
    }
    std::fs::write(place.path("layers/lower/secret"), "secret").step("the file")?;
    tiny(place, "layers/lower/program")?;
    let d = layers.display();
    let options = format!("lowerdir={d}/lower,upperdir={d}/upper,workdir={d}/work");
    let merged = place.path("merged");
    mount(
        Some("overlay"),
        &merged,
        Some("overlay"),
        MsFlags::empty(),
        Some(&*options),
    )
    .or_absent("overlay")
}

fn overlay_copy_up(place: &Place) -> Done {
    overlay(place)?;
    write(place.path("merged/secret"))?;
    Ok(())
}

fn overlay_unlink(place: &Place) -> Done {
    overlay(place)?;
    std::fs::remove_file(place.path("merged/secret")).step("unlink")
}

fn overlay_rename(place: &Place) -> Done {
    overlay(place)?;
    std::fs::rename(place.path("merged/secret"), place.path("merged/plain")).step("rename")
}

fn overlay_mkdir(place: &Place) -> Done {
    overlay(place)?;
    place.directory("merged/new")?;
    Ok(())
}

fn overlay_chmod(place: &Place) -> Done {
    overlay(place)?;
    let path = place.c("merged/secret")?;
    sys!(SYS_chmod, &path, 0o4755_i32).step("chmod")?;
    Ok(())
}

fn overlay_exec(place: &Place) -> Done {
    overlay(place)?;
    run(&place.path("merged/program"), &[])
}

fn overlay_below(place: &Place) -> Done {
    overlay(place)?;
    std::fs::write(place.path("layers/upper/planted"), "evil").step("the upper layer")?;
    read(place.path("merged/planted"))?;
    Ok(())
}

fn user_namespace(place: &Place) -> Done {
    let path = place.secret("secret")?;
    nix::unistd::setgroups(&[]).step("setgroups")?;
    let (uid, gid) = (
        nix::unistd::Uid::from_raw(1234),
        nix::unistd::Gid::from_raw(1234),
    );
    nix::unistd::setresgid(gid, gid, gid).step("setresgid")?;
    nix::unistd::setresuid(uid, uid, uid).step("setresuid")?;
    // Its own files in /proc belong to root after the change, until it is dumpable again.
    nix::sys::prctl::set_dumpable(true).step("dumpable")?;
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS).or_absent("a user namespace")?;
    std::fs::write("/proc/self/uid_map", "0 1234 1").step("uid_map")?;
    if !nix::unistd::geteuid().is_root() {
        return Err("not root in the namespace".into());
    }
    read(path)?;
    Ok(())
}
