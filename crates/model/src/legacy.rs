//! Names that fields had in former versions of the language, still in use in policies.

use std::borrow::Cow;

/// Names before 7.28, and the short names of cgroup and container.
const LEGACY: [(&str, &str); 17] = [
    ("async", "event.async"),
    ("chmod.mode", "chmod.file.destination.mode"),
    ("chown.uid", "chown.file.destination.uid"),
    ("chown.user", "chown.file.destination.user"),
    ("chown.gid", "chown.file.destination.gid"),
    ("chown.group", "chown.file.destination.group"),
    ("open.mode", "open.file.destination.mode"),
    ("mkdir.mode", "mkdir.file.destination.mode"),
    ("setxattr.name", "setxattr.file.destination.name"),
    ("setxattr.namespace", "setxattr.file.destination.namespace"),
    ("removexattr.name", "removexattr.file.destination.name"),
    (
        "removexattr.namespace",
        "removexattr.file.destination.namespace",
    ),
    ("exec.name", "exec.comm"),
    ("process.name", "process.comm"),
    ("process.ancestors.name", "process.ancestors.comm"),
    ("process.parent.name", "process.parent.comm"),
    ("exit.name", "exit.comm"),
];

/// How a prefix was called, and how it is called now.
const PREFIXES: [(&str, &str); 6] = [
    ("container.", "process.container."),
    ("cgroup.", "process.cgroup."),
    ("rename.old.", "rename.file."),
    ("rename.new.", "rename.file.destination."),
    ("link.source.", "link.file."),
    ("link.target.", "link.file.destination."),
];

/// Former names and present ones, as the documentation lists them; `*` stands for the rest of a name.
pub(crate) fn all() -> impl Iterator<Item = (String, String)> {
    let names = LEGACY
        .iter()
        .map(|(former, present)| ((*former).to_owned(), (*present).to_owned()));
    let prefixes = PREFIXES
        .iter()
        .map(|(former, present)| (format!("{former}*"), format!("{present}*")));
    let files = [("….filename", "….file.path"), ("….basename", "….file.name")]
        .map(|(former, present)| (former.to_owned(), present.to_owned()));
    files.into_iter().chain(names).chain(prefixes)
}

/// The present name of a field with a former name; `None` for a name that never was one.
pub(crate) fn canonical(name: &str) -> Option<Cow<'static, str>> {
    if let Some((_, present)) = LEGACY.iter().find(|(former, _)| *former == name) {
        return Some(Cow::Borrowed(present));
    }
    let prefixed = PREFIXES
        .iter()
        .find_map(|(former, present)| Some((*present, name.strip_prefix(former)?)));
    let (prefix, rest) = match prefixed {
        Some((prefix, rest)) => (prefix.trim_end_matches('.'), rest),
        None => name.rsplit_once('.')?,
    };
    let file = if prefixed.is_some() { "" } else { ".file" };
    match rest {
        "filename" => Some(Cow::Owned(format!("{prefix}{file}.path"))),
        "basename" => Some(Cow::Owned(format!("{prefix}{file}.name"))),
        rest if prefixed.is_some() => Some(Cow::Owned(format!("{prefix}.{rest}"))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::canonical;

    #[test]
    fn former_names() {
        for (former, present) in [
            ("open.filename", "open.file.path"),
            ("process.ancestors.basename", "process.ancestors.file.name"),
            ("rename.new.filename", "rename.file.destination.path"),
            ("link.source.basename", "link.file.name"),
            ("container.id", "process.container.id"),
            ("cgroup.file.inode", "process.cgroup.file.inode"),
            ("chown.user", "chown.file.destination.user"),
        ] {
            assert_eq!(canonical(former).as_deref(), Some(present), "{former}");
        }
        assert_eq!(canonical("open.file.path"), None);
        assert_eq!(canonical("nonsense"), None);
    }
}
