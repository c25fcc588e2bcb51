//! One file under many names.

use atalaya_e2e::{at, text};
use serde_json::Value;

use crate::{ALL, Check, Limit, Row, Seen, TRACEPOINT_OLD};

const BY_PATH: &str = r#"open.file.path == "{dir}/secret" && {old} && {me}"#;

/// The path that was told is the whole one, or what is left of it is its end and the event says that it is cut.
fn whole_or_marked(seen: &Seen<'_>, name: &str) -> Check {
    let event = seen.told("open", &[])?;
    let got = text(event, "/file/path");
    if got == seen.fact("path")? {
        return Ok(format!("the whole path of {} bytes", got.len()));
    }
    marked(event, name)
}

fn marked(event: &Value, name: &str) -> Check {
    if text(event, "/file/path_resolution_error").is_empty() {
        return Err("cut and not marked".to_owned());
    }
    if !text(event, "/file/name").starts_with(name) {
        return Err(format!("name {}", at(event, "/file/name")));
    }
    Ok(format!(
        "its last {} bytes, marked as cut",
        text(event, "/file/path").len()
    ))
}

pub(super) const ROWS: &[Row] = &[
    Row {
        id: "rename",
        attack: "renames a watched file, then reads it",
        expected: "the rename with both paths; the read under the new one",
        events: &["rename", "open"],
        rules: &[
            (
                "rename",
                r#"rename.file.path == "{dir}/secret" && rename.file.destination.path == "{dir}/plain""#,
            ),
            ("open", r#"open.file.path == "{dir}/plain" && {old}"#),
        ],
        check: |seen| {
            seen.told(
                "rename",
                &[("/file/destination/path", seen.path("plain").into())],
            )?;
            seen.file("open", "plain")
        },
        ..Row::NEW
    },
    Row {
        id: "rename_directory",
        attack: "reads a file, renames its directory, reads it again",
        expected: "each read under the path of its time",
        rules: &[
            ("before", r#"open.file.path == "{dir}/a/secret" && {old}"#),
            ("after", r#"open.file.path == "{dir}/b/secret" && {old}"#),
        ],
        check: |seen| {
            seen.file("before", "a/secret")?;
            seen.file("after", "b/secret")
        },
        ..Row::NEW
    },
    Row {
        id: "rename_exchange",
        attack: "swaps a decoy and a watched file in one call (RENAME_EXCHANGE), reads the decoy's name",
        expected: "the rename with both paths; the read with the watched file's inode",
        events: &["rename", "open"],
        rules: &[
            (
                "rename",
                r#"rename.file.destination.path == "{dir}/secret" || rename.file.path == "{dir}/secret""#,
            ),
            ("open", r#"open.file.path == "{dir}/decoy" && {old}"#),
        ],
        check: |seen| {
            let event = seen.told("rename", &[])?;
            let mut told = [
                text(event, "/file/path"),
                text(event, "/file/destination/path"),
            ];
            told.sort_unstable();
            if told != [seen.path("decoy"), seen.path("secret")] {
                return Err(format!("rename of {told:?}"));
            }
            seen.file("open", "decoy")
        },
        ..Row::NEW
    },
    Row {
        id: "symlink",
        attack: "reads a watched file through a symbolic link",
        expected: "the file's own path",
        rules: &[("open", BY_PATH)],
        check: |seen| seen.file("open", "secret"),
        ..Row::NEW
    },
    Row {
        id: "symlink_directory",
        attack: "the same with a link in the middle of the path, twice",
        expected: "the file's own path",
        rules: &[(
            "open",
            r#"open.file.path == "{dir}/real/secret" && {old} && {me}"#,
        )],
        check: |seen| seen.file("open", "real/secret"),
        ..Row::NEW
    },
    Row {
        id: "symlink_flip",
        attack: "turns a link between two files before each of 100 reads",
        expected: "50 reads of each, by their own paths",
        rules: &[
            ("a", r#"open.file.path == "{dir}/a" && {old} && {me}"#),
            ("b", r#"open.file.path == "{dir}/b" && {old} && {me}"#),
        ],
        check: |seen| match (seen.of("a").len(), seen.of("b").len()) {
            (50, 50) => Ok("50 and 50".to_owned()),
            (a, b) => Err(format!("{a} and {b}")),
        },
        ..Row::NEW
    },
    Row {
        id: "hardlink",
        attack: "links a watched file to another name, reads that",
        expected: "the link with both paths; the read with the file's inode",
        events: &["link", "open"],
        rules: &[
            (
                "link",
                r#"link.file.path == "{dir}/secret" && link.file.destination.path == "{dir}/other""#,
            ),
            ("open", r#"open.file.path == "{dir}/other" && {old}"#),
        ],
        check: |seen| {
            seen.told(
                "link",
                &[("/file/destination/path", seen.path("other").into())],
            )?;
            seen.file("open", "other")
        },
        ..Row::NEW
    },
    Row {
        id: "hardlink_first_name",
        attack: "the same",
        expected: "a rule on the first name tells the read",
        rules: &[("open", BY_PATH)],
        check: |seen| seen.simply("open", &[]),
        limits: &[Limit::new(
            ALL,
            "a path is the name that was used; a file does not know its others. Watch `link`, or compare `open.file.inode` (row `hardlink`)",
        )],
        ..Row::NEW
    },
    Row {
        id: "proc_self_root",
        attack: "reads through `/proc/self/root`",
        expected: "the file's own path",
        rules: &[("open", BY_PATH)],
        check: |seen| seen.file("open", "secret"),
        ..Row::NEW
    },
    Row {
        id: "proc_self_root_unlink",
        attack: "removes a file through `/proc/self/root`",
        expected: "the unlink by the file's own path",
        events: &["unlink"],
        rules: &[("unlink", r#"unlink.file.path == "{dir}/secret" && {me}"#)],
        check: |seen| seen.file("unlink", "secret"),
        limits: &[Limit::new(
            TRACEPOINT_OLD,
            "these hooks come when the call is over and find the caller's strings only; the event says so in `path_resolution_error`",
        )],
        ..Row::NEW
    },
    Row {
        id: "proc_self_cwd_rename",
        attack: "renames a file through `/proc/self/cwd` to `/proc/self/root`",
        expected: "the rename by both of the file's own paths",
        events: &["rename"],
        rules: &[(
            "rename",
            r#"rename.file.path == "{dir}/secret" && rename.file.destination.path == "{dir}/plain" && {me}"#,
        )],
        check: |seen| seen.file("rename", "secret"),
        limits: &[Limit::new(
            TRACEPOINT_OLD,
            "these hooks come when the call is over and find the caller's strings only; the event says so in `path_resolution_error`",
        )],
        ..Row::NEW
    },
    Row {
        id: "proc_self_cwd",
        attack: "reads through `/proc/self/cwd`",
        expected: "the file's own path",
        rules: &[("open", BY_PATH)],
        check: |seen| seen.file("open", "secret"),
        ..Row::NEW
    },
    Row {
        id: "dot_segments",
        attack: "reads `.//x/./..///secret`",
        expected: "the file's own path",
        rules: &[("open", BY_PATH)],
        check: |seen| seen.file("open", "secret"),
        ..Row::NEW
    },
    Row {
        id: "dirfd",
        attack: "reads `../secret` relative to the descriptor of a sibling directory",
        expected: "the file's own path",
        rules: &[("open", BY_PATH)],
        check: |seen| seen.file("open", "secret"),
        ..Row::NEW
    },
    Row {
        id: "resolve_in_root",
        attack: "reads `/../../secret` with `openat2` and RESOLVE_IN_ROOT",
        expected: "the file's own path",
        rules: &[("open", BY_PATH)],
        check: |seen| seen.file("open", "secret"),
        ..Row::NEW
    },
    Row {
        id: "tmpfile_link",
        attack: "makes a file without a name (O_TMPFILE), then gives it one through `/proc/self/fd`",
        expected: "the link with the new path and the file's inode",
        events: &["link"],
        rules: &[("link", r#"link.file.destination.path == "{dir}/appeared""#)],
        check: |seen| {
            let inode = seen.number("inode")?;
            seen.simply(
                "link",
                &[
                    ("/file/destination/path", seen.path("appeared").into()),
                    ("/file/destination/inode", inode.into()),
                ],
            )
        },
        limits: &[Limit::new(
            TRACEPOINT_OLD,
            "these hooks come when the call is over and find the caller's strings only; the event says so in `path_resolution_error`",
        )],
        ..Row::NEW
    },
    Row {
        id: "open_by_handle",
        attack: "reads by the file's handle (`open_by_handle_at`), without any path",
        expected: "the file's own path",
        rules: &[("open", BY_PATH)],
        check: |seen| seen.file("open", "secret"),
        ..Row::NEW
    },
    Row {
        id: "path_max",
        attack: "reads by an absolute path of 4095 bytes, the longest there is",
        expected: "the whole path, or its end and a mark",
        rules: &[(
            "open",
            r#"open.file.name == ~"evasion-xx*" && {old} && {me}"#,
        )],
        check: |seen| whole_or_marked(seen, "evasion-xx"),
        ..Row::NEW
    },
    Row {
        id: "deeper_than_path_max",
        attack: "descends to a path of over 5000 bytes by `chdir`, reads there",
        expected: "the whole path, or its end and a mark",
        rules: &[(
            "open",
            r#"open.file.name == "evasion-deep" && {old} && {me}"#,
        )],
        check: |seen| whole_or_marked(seen, "evasion-deep"),
        ..Row::NEW
    },
    Row {
        id: "deeper_than_captured",
        attack: "the same with over 15000 bytes",
        expected: "the file's name, and the mark that the path is cut",
        rules: &[(
            "open",
            r#"open.file.name == "evasion-deeper" && {old} && {me}"#,
        )],
        check: |seen| marked(seen.told("open", &[])?, "evasion-deeper"),
        ..Row::NEW
    },
    Row {
        id: "control_characters",
        attack: "reads a file whose name holds terminal escapes, line feeds, a bell",
        expected: "the name as it is, escaped in JSON, one line an event",
        rules: &[(
            "open",
            r#"open.file.path == ~"{dir}/evil*" && {old} && {me}"#,
        )],
        check: |seen| seen.file("open", "evil\u{1b}[2K\u{1b}[1A\n\r\u{7}name"),
        ..Row::NEW
    },
    Row {
        id: "not_utf8",
        attack: "writes to a file whose name is not UTF-8",
        expected: "told, each bad byte as U+FFFD, and the right inode",
        rules: &[(
            "open",
            r#"open.file.path == ~"{dir}/evil*" && {old} && {me}"#,
        )],
        check: |seen| seen.file("open", "evil\u{fffd}\u{fffd}\u{fffd}\u{fffd}name"),
        ..Row::NEW
    },
];
