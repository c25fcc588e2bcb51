//! Fields that policies written for the reference agent may name and that this build cannot fill. They are known by name
//! only, so that a rule which uses one is told why it is off instead of being offered a correction of its spelling.

/// Event types of the reference that no program here captures yet, and what belongs to them.
const EVENTS: [&str; 34] = [
    "accept",
    "bind",
    "bpf",
    "capabilities",
    "capset",
    "cgroup_write",
    "chdir",
    "connect",
    "dns",
    "failed_dns",
    "imds",
    "load_module",
    "mmap",
    "mount",
    "mprotect",
    "network",
    "network_flow_monitor",
    "ondemand",
    "packet",
    "prctl",
    "ptrace",
    "removexattr",
    "selinux",
    "setgid",
    "setrlimit",
    "setsockopt",
    "setuid",
    "setxattr",
    "signal",
    "socket",
    "splice",
    "sysctl",
    "unload_module",
    "unshare",
];

/// Parts of files and processes that need a resolver which is not there yet.
const PARTS: [(&str, &str); 9] = [
    (".hashes", "files are not hashed yet"),
    (".package.", "files are not looked up in packages yet"),
    (".file.metadata.", "files are not examined yet"),
    (".in_upper_layer", "overlay layers are not told apart yet"),
    (".user_session.", "user sessions are not followed yet"),
    (".caps_used", "uses of capabilities are not followed yet"),
    (
        ".caps_attempted",
        "uses of capabilities are not followed yet",
    ),
    (".container.tags", "container tags are not collected yet"),
    (
        ".cgroup.file.mount_id",
        "the mount of the cgroup file system is not looked up",
    ),
];

/// Why a field of this name, which is not in the table, cannot be used; `None` for a name that no agent knows.
pub(crate) fn reason(name: &str) -> Option<String> {
    let event = name.split('.').next()?;
    if name.contains('.') && EVENTS.contains(&event) {
        return Some(format!("`{event}` is not captured by this version"));
    }
    if name == "event.signature" {
        return Some("events are not signed by this version".to_owned());
    }
    PARTS
        .iter()
        .find(|(part, _)| name.contains(part))
        .map(|(_, why)| (*why).to_owned())
}

#[cfg(test)]
mod tests {
    use super::reason;

    #[test]
    fn known_names_have_a_reason() {
        let why = |name| reason(name).unwrap_or_default();
        assert_eq!(
            why("connect.addr.ip"),
            "`connect` is not captured by this version"
        );
        assert_eq!(
            why("process.parent.file.hashes"),
            "files are not hashed yet"
        );
        assert_eq!(why("opne.file.path"), "");
        assert_eq!(why("connect"), "");
    }
}
