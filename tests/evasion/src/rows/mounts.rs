//! Files under mounts that others do not see.

use atalaya_e2e::{at, text};

use crate::{ALL, Check, Limit, Row, Seen};

const FIRST_NAME: &str = "a path is that of the mount that was used. Watch `mount`, which tells both places, or compare `open.file.inode`";
const DETACHED: &str = "a mount that hangs nowhere has no path above its root: the path ends there, and `open.file.mount_detached` is true. \
                        Match `open.file.name`, or watch `mount`";

/// A file in no tree: its name, its inode, and that it hangs nowhere.
fn nowhere(seen: &Seen<'_>, name: &str) -> Check {
    let event = seen.told("open", &[("/file/name", name.into())])?;
    if let Ok(inode) = seen.number("inode")
        && at(event, "/file/inode") != inode
    {
        return Err(format!("inode {}, not {inode}", at(event, "/file/inode")));
    }
    if at(event, "/file/mount_detached") != true {
        return Err(format!(
            "mount_detached is {}",
            at(event, "/file/mount_detached")
        ));
    }
    Ok(format!("open of {}, detached", text(event, "/file/path")))
}

pub(super) const ROWS: &[Row] = &[
    Row {
        id: "bind_mount",
        attack: "bind-mounts a directory elsewhere, in a mount namespace of its own, reads a file through that",
        expected: "the mount with both places; the read with the file's inode",
        events: &["mount", "open"],
        rules: &[
            (
                "mount",
                r#"mount.mountpoint.path == "{dir}/other" && mount.source.path == "{dir}/real""#,
            ),
            ("open", r#"open.file.path == "{dir}/other/secret" && {old}"#),
        ],
        check: |seen| {
            seen.told("mount", &[])?;
            seen.file("open", "other/secret")
        },
        ..Row::NEW
    },
    Row {
        id: "bind_mount_first_name",
        attack: "the same",
        expected: "a rule on the first path tells the read",
        rules: &[("open", r#"open.file.path == "{dir}/real/secret" && {old}"#)],
        check: |seen| seen.simply("open", &[]),
        limits: &[Limit::new(ALL, FIRST_NAME)],
        ..Row::NEW
    },
    Row {
        id: "mount_over_program",
        attack: "bind-mounts an evil program over an innocent one, runs it by that path",
        expected: "the exec by the path, with the inode of what has run",
        events: &["exec"],
        rules: &[("exec", r#"exec.file.path == "{dir}/program""#)],
        check: |seen| {
            let inode = seen.number("inode")?;
            seen.simply("exec", &[("/process/executable/inode", inode.into())])
        },
        ..Row::NEW
    },
    Row {
        id: "mount_namespace",
        attack: "mounts a tmpfs where only it sees it, reads a file there",
        expected: "the path as the process sees it",
        rules: &[("open", r#"open.file.path == "{dir}/mnt/secret" && {old}"#)],
        check: |seen| seen.file("open", "mnt/secret"),
        ..Row::NEW
    },
    Row {
        id: "chroot",
        attack: "makes the directory its root (chroot), reads `/secret`",
        expected: "the path in the whole tree",
        rules: &[("open", r#"open.file.path == "{dir}/secret" && {old}"#)],
        check: |seen| seen.file("open", "secret"),
        ..Row::NEW
    },
    Row {
        id: "pivot_root",
        attack: "makes a tmpfs its root, as containers do, and drops the old one",
        expected: "the path from the new root",
        rules: &[("open", r#"open.file.path == "/evasion-pivoted" && {old}"#)],
        check: |seen| {
            let inode = seen.number("inode")?;
            seen.simply("open", &[("/file/inode", inode.into())])
        },
        ..Row::NEW
    },
    Row {
        id: "lazy_umount",
        attack: "unmounts a tmpfs lazily, reads there by a descriptor that it has kept",
        expected: "the file's name and inode, and that it hangs nowhere",
        rules: &[(
            "open",
            r#"open.file.name == "evasion-umounted" && {old} && {me}"#,
        )],
        check: |seen| nowhere(seen, "evasion-umounted"),
        ..Row::NEW
    },
    Row {
        id: "detached_tree",
        attack: "copies a directory's mount (`open_tree`) without mounting the copy, reads a file through its descriptor",
        expected: "the file's name and inode, and that it hangs nowhere",
        rules: &[(
            "open",
            r#"open.file.name == "evasion-detached" && {old} && {me} && open.file.mount_detached"#,
        )],
        check: |seen| nowhere(seen, "evasion-detached"),
        ..Row::NEW
    },
    Row {
        id: "detached_tree_mount",
        attack: "the same",
        expected: "a mount event with `detached`",
        events: &["mount"],
        rules: &[("mount", r#"mount.detached && {me}"#)],
        check: |seen| seen.simply("mount", &[("/mount/detached", true.into())]),
        ..Row::NEW
    },
    Row {
        id: "detached_tree_first_name",
        attack: "the same",
        expected: "a rule on the first path tells the read",
        rules: &[(
            "open",
            r#"open.file.path == "{dir}/tree/evasion-detached" && {old}"#,
        )],
        check: |seen| seen.simply("open", &[]),
        limits: &[Limit::new(ALL, DETACHED)],
        ..Row::NEW
    },
    Row {
        id: "fsmount",
        attack: "makes a tmpfs that is mounted nowhere (`fsmount`), creates a file in it",
        expected: "the file's name, and that it hangs nowhere",
        rules: &[("open", r#"open.file.name == "evasion-nowhere" && {me}"#)],
        check: |seen| nowhere(seen, "evasion-nowhere"),
        ..Row::NEW
    },
    Row {
        id: "fsmount_exec",
        attack: "the same, and runs a program in it",
        expected: "the exec with the program's name and inode",
        events: &["exec"],
        rules: &[("exec", r#"exec.file.name == "evasion-nowhere""#)],
        check: |seen| {
            let inode = seen.number("inode")?;
            seen.simply("exec", &[("/process/executable/inode", inode.into())])
        },
        ..Row::NEW
    },
    Row {
        id: "move_mount",
        attack: "mounts a tmpfs with the new calls (`fsopen`, `fsmount`, `move_mount`)",
        expected: "a mount event with its place",
        events: &["mount"],
        rules: &[("mount", r#"mount.mountpoint.path == "{dir}/mnt""#)],
        check: |seen| seen.simply("mount", &[("/mount/fs_type", "tmpfs".into())]),
        ..Row::NEW
    },
    Row {
        id: "overlay_copy_up",
        attack: "opens a file of an overlay's lower layer to write, which copies it up",
        expected: "the open by the overlay's path",
        rules: &[(
            "open",
            r#"open.file.path == "{dir}/merged/secret" && open.flags & O_WRONLY > 0"#,
        )],
        check: |seen| seen.file("open", "merged/secret"),
        ..Row::NEW
    },
    Row {
        id: "overlay_unlink",
        attack: "removes a file of the lower layer",
        expected: "the unlink by the overlay's path",
        events: &["unlink"],
        rules: &[("unlink", r#"unlink.file.path == "{dir}/merged/secret""#)],
        check: |seen| seen.file("unlink", "merged/secret"),
        ..Row::NEW
    },
    Row {
        id: "overlay_rename",
        attack: "renames a file of the lower layer",
        expected: "the rename with both of the overlay's paths",
        events: &["rename"],
        rules: &[("rename", r#"rename.file.path == "{dir}/merged/secret""#)],
        check: |seen| {
            let plain = seen.path("merged/plain");
            seen.simply("rename", &[("/file/destination/path", plain.into())])
        },
        ..Row::NEW
    },
    Row {
        id: "overlay_mkdir",
        attack: "makes a directory in the overlay",
        expected: "the mkdir by the overlay's path",
        events: &["mkdir"],
        rules: &[("mkdir", r#"mkdir.file.path == "{dir}/merged/new""#)],
        check: |seen| seen.file("mkdir", "merged/new"),
        ..Row::NEW
    },
    Row {
        id: "overlay_chmod",
        attack: "makes a file of the lower layer setuid",
        expected: "the chmod by the overlay's path",
        events: &["chmod"],
        rules: &[(
            "chmod",
            r#"chmod.file.path == "{dir}/merged/secret" && chmod.file.destination.rights & S_ISUID > 0"#,
        )],
        check: |seen| seen.file("chmod", "merged/secret"),
        ..Row::NEW
    },
    Row {
        id: "overlay_exec",
        attack: "runs a program of the lower layer",
        expected: "the exec by the overlay's path",
        events: &["exec"],
        rules: &[("exec", r#"exec.file.path == "{dir}/merged/program""#)],
        check: |seen| seen.simply("exec", &[]),
        ..Row::NEW
    },
    Row {
        id: "overlay_below",
        attack: "plants a file in the upper layer's directory, beside the overlay",
        expected: "the write by the layer's path, the read by the overlay's",
        rules: &[
            (
                "plant",
                r#"open.file.path == "{dir}/layers/upper/planted" && open.flags & O_CREAT > 0"#,
            ),
            (
                "read",
                r#"open.file.path == "{dir}/merged/planted" && {old}"#,
            ),
        ],
        check: |seen| {
            seen.told("plant", &[])?;
            seen.simply("read", &[])
        },
        ..Row::NEW
    },
    Row {
        id: "user_namespace",
        attack: "user 1234 becomes root of a user namespace, reads a file",
        expected: "the read by user 1234, not by root",
        rules: &[(
            "open",
            r#"open.file.path == "{dir}/secret" && {old} && {me} && process.uid == 1234"#,
        )],
        check: |seen| seen.file("open", "secret"),
        ..Row::NEW
    },
];
