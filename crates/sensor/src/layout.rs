//! The Rust side of `bpf/atalaya.h`. A test holds every struct against the BTF of the object.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Records that do not leave this crate: parts of the capture that follows.
pub(crate) const KIND_SCRIPT: u16 = 5;
/// What the iterator over all processes writes; it is in no ring.
pub(crate) const KIND_TASK: u16 = 7;
/// See `KIND_SCRIPT`.
pub(crate) const KIND_URING: u16 = 30;
/// See `KIND_SCRIPT`.
pub(crate) const KIND_OBJECT: u16 = 31;

pub(crate) const HEADER_ASYNC: u16 = 1 << 0;
pub(crate) const HEADER_COMPAT: u16 = 1 << 1;
pub(crate) const HEADER_CREDS_AFTER: u16 = 1 << 2;
pub(crate) const HEADER_NO_TASK: u16 = 1 << 3;

pub(crate) const ROLE_BEFORE: u32 = 1;
pub(crate) const ROLE_AFTER: u32 = 2;
pub(crate) const ROLE_FILE: u32 = 3;
pub(crate) const ROLE_DESTINATION: u32 = 4;

pub(crate) const SECTION_FILE: u16 = 1;
pub(crate) const SECTION_PATH: u16 = 2;
pub(crate) const SECTION_ARG: u16 = 3;
pub(crate) const SECTION_ARG2: u16 = 4;
pub(crate) const SECTION_BASE: u16 = 5;
pub(crate) const SECTION_BASE2: u16 = 6;
pub(crate) const SECTION_ARGS: u16 = 7;
pub(crate) const SECTION_ENVS: u16 = 8;
pub(crate) const SECTION_CGROUP: u16 = 9;
pub(crate) const SECTION_TTY: u16 = 10;
pub(crate) const SECTION_FILENAME: u16 = 11;
pub(crate) const SECTION_CWD: u16 = 12;
pub(crate) const SECTION_INTERP: u16 = 13;
pub(crate) const SECTION_FILE2: u16 = 14;
pub(crate) const SECTION_PATH2: u16 = 15;
pub(crate) const SECTION_BYTES: u16 = 16;
pub(crate) const SECTION_CGROUP_V1: u16 = 20;

pub(crate) const PATH_TRUNCATED: u16 = 1 << 0;
pub(crate) const PATH_DETACHED: u16 = 1 << 1;
pub(crate) const STRING_KERNEL: u16 = 1 << 3;

pub(crate) const APPROVE_LEAF: u8 = 1;
pub(crate) const APPROVE_CHILD: u8 = 2;
pub(crate) const APPROVE_BELOW: u8 = 3;
pub(crate) const NAME_LEN: usize = 60;
pub(crate) const NAME_ANY_FLAGS: u32 = 1 << 0;
pub(crate) const NAME_CHECK_PATH: u32 = 1 << 1;
pub(crate) const BLOOM_WORDS: usize = 32;

pub(crate) const COUNTERS: usize = 4;

/// The table of interfaces has so many places, as a power of two, and one more.
pub(crate) const INTERFACE_BITS: u32 = 12;

/// How many `enum packet_counter` has.
pub(crate) const PACKET_COUNTERS: usize = 5;

macro_rules! mirror {
    ($($(#[$meta:meta])* struct $name:ident { $($field:ident: $type:ty,)* })*) => {
        $(
            $(#[$meta])*
            #[repr(C)]
            #[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable)]
            pub(crate) struct $name { $(pub(crate) $field: $type,)* }
        )*
        /// Name, size, and fields with offset and size of every mirrored struct; the names are those of the C side.
        #[cfg(test)]
        pub(crate) fn mirrored() -> Vec<(&'static str, usize, Vec<(&'static str, usize)>)> {
            vec![$((
                stringify!($name),
                size_of::<$name>(),
                vec![$((stringify!($field), std::mem::offset_of!($name, $field)),)*],
            ),)*]
        }
    };
}

mirror! {
    struct RecordHeader {
        kind: u16, flags: u16, size: u32, cpu: u32, ring: u32, seq: u64, time_ns: u64, pid: u32, tid: u32, cgroup_id: u64,
        mntns: u32, netns: u32, uid: u32, gid: u32, euid: u32, egid: u32, fsuid: u32, fsgid: u32, auid: u32, start_low: u32,
        cap_effective: u64, cap_permitted: u64, comm: [u8; 16], ppid: u32, session: u32,
    }
    struct Namespaces { mnt: u32, net: u32, pid: u32, user: u32, uts: u32, ipc: u32, cgroup: u32, }
    struct ForkBody {
        child_pid: u32, parent_pid: u32, start_time_ns: u64, cgroup_id: u64, ns_pid: u32, is_kthread: u32, ns: Namespaces,
        reserved: u32,
    }
    struct ExecBody {
        start_time_ns: u64, ppid: u32, sid: u32, ns_pid: u32, args_truncated: u32, envs_truncated: u32, ns: Namespaces,
    }
    struct CgroupBody { cgroup_id: u64, }
    struct TaskBody {
        start_time_ns: u64, sid: u32, ns_pid: u32, is_kthread: u32, is_fork: u32, ns: Namespaces, reserved: u32,
    }
    struct ExitBody { status: u32, reserved: u32, }
    struct HeartbeatBody { number: u64, }
    struct CallBody {
        retval: i64, flags: u32, mode: u32, uid: i32, gid: i32, dirfd: i32, dirfd2: i32, atime_ns: u64, mtime_ns: u64,
        request: u64, call: u64, stacked: u32, reserved: u32,
    }
    struct EventHead { retval: i64, size: u32, reserved: u32, }
    struct ObjectBody { call: u64, role: u32, call_kind: u32, }
    struct UringBody { request: u64, call_kind: u32, silent: u32, }
    struct Section { tag: u16, flags: u16, len: u32, }
    struct FileInfo {
        inode: u64, dev: u64, mtime_ns: u64, ctime_ns: u64, mount_id: u32, uid: u32, gid: u32, nlink: u32, mode: u16,
        reserved: [u16; 3], filesystem: [u8; 16],
    }
    struct NameKey { kind: u8, role: u8, len: u16, name: [u8; NAME_LEN], }
    struct NameValue { flags: u32, open_flags: u32, }
    struct PathKey { hash: u64, kind: u32, len: u32, }
    struct PathValue { any_flags: u32, open_flags: u32, }
    struct Filter {
        enabled: u32, all: u32, open_flags: u32, roles: u32, below_any: u32, below_open_flags: u32, bloom: [u64; BLOOM_WORDS],
        bloom_below: [u64; BLOOM_WORDS], number_masks: [i64; 2], number_slots: u32, reserved: u32,
    }
    struct NumberKey { kind: u32, slot: u32, value: i64, }
    struct Settings { own_pid: u32, all_errors: u32, heartbeat_tag: u32, reserved: u32, }
    struct LossKey { cgroup_id: u64, kind: u32, reserved: u32, }
    struct SocketOwner { cgroup_id: u64, pid: u32, start_low: u32, }
    struct PacketSettings { imds_ipv4: u32, ownerless: u32, filters: u32, rate: u32, }
    struct PacketSubject { id: u64, start_low: u32, scope: u32, }
    struct PacketOrders { drop: u64, accept: u64, }
    struct InterfaceKey { netns: u32, ifindex: u32, }
    struct InterfacePackets { key: InterfaceKey, n: [u64; 2], }
    struct FlowKey {
        source: [u8; 16], destination: [u8; 16], source_port: u16, destination_port: u16, l3_protocol: u16, l4_protocol: u16,
        netns: u32, ifindex: u32,
    }
    struct FlowValue { owner: SocketOwner, bytes: [u64; 2], packets: [u64; 2], ifname: [u8; 16], }
    struct SyscallShape { native: u8, compat: u8, native_kind: u8, compat_kind: u8, }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use libbpf_rs::btf::{Btf, HasSize, types::Struct};

    static LAYOUT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/layout.bpf.o"));

    fn snake(name: &str) -> String {
        let mut out = String::new();
        for c in name.chars() {
            if c.is_ascii_uppercase() && !out.is_empty() {
                out.push('_');
            }
            out.push(c.to_ascii_lowercase());
        }
        out
    }

    #[test]
    fn every_struct_lies_as_the_object_says() {
        let path = std::env::temp_dir().join(format!("atalaya-layout-{}.o", std::process::id()));
        std::fs::write(&path, LAYOUT).unwrap();
        let btf = Btf::from_path(&path);
        std::fs::remove_file(&path).unwrap();
        let btf = btf.unwrap();
        let bodies = atalaya_model::MIRRORS.iter();
        let bodies = bodies.map(|m| (m.name.to_owned(), m.size, m.fields.to_vec()));
        let own = super::mirrored().into_iter();
        let own = own.map(|(name, size, fields)| (snake(name), size, fields));
        for (name, size, fields) in own.chain(bodies) {
            let ty: Struct<'_> = btf
                .type_by_name(&name)
                .unwrap_or_else(|| panic!("struct {name} is not in the object"));
            assert_eq!(ty.size(), size, "size of {name}");
            let theirs: Vec<(String, usize)> = ty
                .iter()
                .map(|m| {
                    let libbpf_rs::btf::types::MemberAttr::Normal { offset } = m.attr else {
                        panic!("bit field in {name}")
                    };
                    (
                        m.name.unwrap().to_str().unwrap().to_owned(),
                        offset as usize / 8,
                    )
                })
                .collect();
            let ours: Vec<(String, usize)> =
                fields.into_iter().map(|(n, o)| (n.to_owned(), o)).collect();
            assert_eq!(theirs, ours, "fields of {name}");
        }
    }
}
