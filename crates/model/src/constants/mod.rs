//! The names that rules may use for numbers, in groups, and the names of numbers for the output.
//!
//! Values are those of Linux's user-space headers. Capabilities are bit masks (`1 << CAP_…`), errors are negative.

mod agent;
mod bpf;
mod control;
mod dns;
mod errors;
mod helpers;
mod memory;
mod modes;
mod network;
mod open;
mod process;
mod sockopt;

use atalaya_secl::model::Constant;

pub use open::open_flag_names;

/// A group of constants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Group {
    /// Its title.
    pub name: &'static str,
    /// The constants.
    pub all: &'static [(&'static str, i64)],
}

/// All groups. Where two groups share a name they agree on its value.
pub const GROUPS: &[Group] = &[
    open::OPEN_FLAGS,
    modes::FILE_MODE,
    modes::INODE_MODE,
    modes::UNLINK_FLAGS,
    errors::ERROR,
    process::KERNEL_CAPABILITY,
    process::SIGNAL,
    process::EXIT_CAUSES,
    process::LOGIN_USERS,
    process::CLONE_FLAGS,
    process::RESOURCE_LIMIT_TYPES,
    control::PTRACE,
    control::PRCTL_OPTIONS,
    memory::MMAP_FLAGS,
    memory::PROTECTION,
    memory::VIRTUAL_MEMORY_FLAGS,
    memory::PIPE_BUFFER_FLAGS,
    bpf::BPF_COMMANDS,
    bpf::BPF_MAP_TYPES,
    bpf::BPF_PROGRAM_TYPES,
    bpf::BPF_ATTACH_TYPES,
    helpers::BPF_HELPER_FUNCTIONS,
    network::L3_PROTOCOLS,
    network::L4_PROTOCOLS,
    network::NETWORK_ADDRESS_FAMILY,
    network::SOCKET_DOMAINS,
    network::SOCKET_TYPES,
    network::SOCKET_PROTOCOLS,
    sockopt::SETSOCKOPT_LEVELS,
    sockopt::SETSOCKOPT_OPTIONS,
    dns::DNS_QTYPES,
    dns::DNS_QCLASSES,
    dns::DNS_RESPONSES,
    network::NETWORK_PROTOCOL_TYPES,
    network::NETWORK_DIRECTIONS,
    agent::SYSCTL_ACTIONS,
    agent::USER_SESSION_TYPES,
    agent::SSH_AUTH_METHOD,
    agent::FILE_TYPE,
    agent::ARCHITECTURE,
    agent::ABI,
    agent::COMPRESSION_TYPE,
    agent::LINKAGE_TYPE,
];

/// The constant with this name.
pub fn lookup(name: &str) -> Option<Constant> {
    match name {
        "true" => Some(Constant::Bool(true)),
        "false" => Some(Constant::Bool(false)),
        _ => GROUPS
            .iter()
            .flat_map(|group| group.all)
            .find(|(constant, _)| *constant == name)
            .map(|(_, value)| Constant::Int(*value)),
    }
}

/// All names.
pub fn names() -> impl Iterator<Item = &'static str> {
    ["true", "false"].into_iter().chain(
        GROUPS
            .iter()
            .flat_map(|group| group.all)
            .map(|(name, _)| *name),
    )
}

/// The names of the capabilities in a mask, in bit order.
pub fn capability_names(mask: u64) -> Vec<String> {
    bit_names(mask.cast_signed(), process::KERNEL_CAPABILITY.all)
}

/// The names of the unlink flags in a flags argument.
pub fn unlink_flag_names(flags: u32) -> Vec<String> {
    bit_names(i64::from(flags), modes::UNLINK_FLAGS.all)
}

/// The names of a group's flags, as JSON tells them; the name of zero where there are none.
pub(crate) fn names_of(group: &str, bits: u64) -> String {
    if bits == 0 {
        return name_of(group, 0);
    }
    let group = GROUPS.iter().find(|known| known.name == group);
    let all = group.map_or(&[][..], |group| group.all);
    bit_names(bits.cast_signed(), all).join(" | ")
}

/// The constant of a group that has this value, as JSON tells it; the number where there is none.
pub(crate) fn name_of(group: &str, value: i64) -> String {
    let group = GROUPS.iter().find(|known| known.name == group);
    let mut all = group.into_iter().flat_map(|group| group.all);
    all.find(|(_, known)| *known == value)
        .map_or_else(|| value.to_string(), |(name, _)| (*name).to_owned())
}

/// The names of the bits; what has none, as one hexadecimal number at the end.
pub(crate) fn bit_names(mut bits: i64, names: &[(&str, i64)]) -> Vec<String> {
    let mut found = Vec::new();
    for (name, bit) in names {
        if *bit != 0 && bits & bit == *bit {
            found.push((*name).to_owned());
            bits &= !bit;
        }
    }
    if bits != 0 {
        found.push(format!("{bits:#x}"));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn one_name_has_one_value() {
        let mut values = HashMap::new();
        for (name, value) in GROUPS.iter().flat_map(|group| group.all) {
            let former = values.insert(name, value);
            assert!(former.is_none_or(|former| former == value), "{name}");
        }
    }

    #[test]
    fn well_known_values() {
        for (name, value) in [
            ("EACCES", -13),
            ("EPERM", -1),
            ("O_CREAT", 0o100),
            ("S_ISUID", 0o4000),
            ("S_IFREG", 0o100_000),
            ("SIGKILL", 9),
            ("CAP_SYS_ADMIN", 1 << 21),
            ("CAP_CHOWN", 1),
            ("AT_REMOVEDIR", 0x200),
            ("AUDIT_AUID_UNSET", 0xffff_ffff),
            ("CLONE_NEWUSER", 0x1000_0000),
            ("BPF_PROG_LOAD", 5),
        ] {
            assert_eq!(lookup(name), Some(Constant::Int(value)), "{name}");
        }
        assert_eq!(lookup("true"), Some(Constant::Bool(true)));
        assert_eq!(lookup("O_NONSENSE"), None);
    }

    #[test]
    fn capabilities_by_name() {
        assert_eq!(
            capability_names(1 << 21 | 1),
            ["CAP_CHOWN", "CAP_SYS_ADMIN"]
        );
        assert_eq!(capability_names(1 << 63), ["0x8000000000000000"]);
        assert_eq!(capability_names(u64::MAX).len(), 42);
    }
}
