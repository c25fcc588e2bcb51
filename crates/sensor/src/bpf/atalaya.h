/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * The layout of what crosses the rings and the maps: the only definition. `crates/sensor/src/layout.rs` mirrors it and
 * a test holds the mirror against the BTF of the object.
 *
 * A record is a `struct record_header`, then one fixed struct of its kind, then sections: `struct section`, its bytes,
 * padding to eight. A reader skips sections that it does not know.
 */
#pragma once

/* Kinds of records. The first group goes through the vital ring, files through the bulk ring; of the rest each says where it is sent. */
enum record_kind {
	KIND_FORK = 1,
	KIND_EXEC = 2,
	KIND_EXIT = 3,
	KIND_HEARTBEAT = 4,
	KIND_SCRIPT = 5, /* the script of the exec that follows, from the same thread */
	KIND_CGROUP = 6, /* a process was moved to another cgroup; the header is the moved one's */
	KIND_TASK = 7,   /* a process that is there; the iterator's, in no ring */

	KIND_OPEN = 16,
	KIND_CHMOD = 17,
	KIND_CHOWN = 18,
	KIND_UNLINK = 19,
	KIND_RMDIR = 20,
	KIND_MKDIR = 21,
	KIND_RENAME = 22,
	KIND_LINK = 23,
	KIND_UTIMES = 24,
	KIND_URING = 30,  /* an io_uring request; its call follows with the same `request` */
	KIND_OBJECT = 31, /* a kernel object of the call that follows, from the same thread */

	/* From here on `struct event_head` follows the header, but for chdir, setxattr and removexattr, which are file calls. */
	KIND_ACCEPT = 32,
	KIND_BIND = 33,
	KIND_BPF = 34,
	KIND_CAPABILITIES = 35,
	KIND_CAPSET = 36,
	KIND_CGROUP_WRITE = 37,
	KIND_CHDIR = 38,
	KIND_CONNECT = 39,
	KIND_LOAD_MODULE = 40,
	KIND_MMAP = 41,
	KIND_MOUNT = 42,
	KIND_MPROTECT = 43,
	KIND_PRCTL = 44,
	KIND_PTRACE = 45,
	KIND_REMOVEXATTR = 46,
	KIND_SELINUX = 47,
	KIND_SETGID = 48,
	KIND_SETRLIMIT = 49,
	KIND_SETSOCKOPT = 50,
	KIND_SETUID = 51,
	KIND_SETXATTR = 52,
	KIND_SIGNAL = 53,
	KIND_SOCKET = 54,
	KIND_SPLICE = 55,
	KIND_SYSCTL = 56,
	KIND_UNLOAD_MODULE = 57,
	KIND_UNSHARE = 58,

	/* Packets: `struct packet_body`, and the bytes. The header has no credentials, since no task runs that they could be of. */
	KIND_DNS = 64,
	KIND_IMDS = 65,
	KIND_PACKET = 66,
	KIND_NETWORK_FLOW_MONITOR = 67, /* counted in a map, made into events by who reads it */
	KIND_FAILED_DNS = 68, /* what KIND_DNS becomes where its message makes no sense */
	KIND_MAX = 96,
};

enum ring { RING_VITAL = 0, RING_BULK = 1, RINGS = 2 };

enum header_flags {
	HEADER_ASYNC = 1 << 0,  /* through io_uring */
	HEADER_COMPAT = 1 << 1, /* through the 32-bit entry */
	HEADER_CREDS_AFTER = 1 << 2, /* the credentials are those that the event has made, not those that it was made with */
	HEADER_NO_TASK = 1 << 3, /* of the task no more is known than its ids */
};

struct record_header {
	__u16 kind;
	__u16 flags;
	__u32 size; /* of the whole record */
	__u32 cpu;
	__u32 ring;
	__u64 seq; /* counts per CPU and ring, from 1; lost records are counted too, so a gap is a loss */
	__u64 time_ns;
	__u32 pid;
	__u32 tid;
	__u64 cgroup_id;
	__u32 mntns;
	__u32 netns;
	__u32 uid, gid, euid, egid, fsuid, fsgid;
	__u32 auid;
	__u32 start_low; /* the lower half of the process's start time: with the pid it tells who has the pid now */
	__u64 cap_effective;
	__u64 cap_permitted;
	char comm[16];
	__u32 ppid;    /* the parent at this moment, which is another than the one that forked it once that has ended */
	__u32 session; /* the session that a login began, as the audit system numbers it; -1 for none */
};

struct namespaces { __u32 mnt, net, pid, user, uts, ipc, cgroup; };

struct fork_body {
	__u32 child_pid;
	__u32 parent_pid;
	__u64 start_time_ns;
	__u64 cgroup_id;
	__u32 ns_pid;
	__u32 is_kthread;
	struct namespaces ns;
	__u32 reserved;
};

struct exec_body {
	__u64 start_time_ns;
	__u32 ppid;
	__u32 sid;
	__u32 ns_pid;
	__u32 args_truncated;
	__u32 envs_truncated;
	struct namespaces ns;
};

/* Sections: CGROUP, CGROUP_V1. */
struct cgroup_body { __u64 cgroup_id; };

/* Sections: FILE and PATH of the executable, CGROUP, CGROUP_V1, TTY. */
struct task_body {
	__u64 start_time_ns;
	__u32 sid;
	__u32 ns_pid;
	__u32 is_kthread;
	__u32 is_fork; /* it has executed nothing since it was forked */
	struct namespaces ns;
	__u32 reserved;
};

struct exit_body { __u32 status; __u32 reserved; };
struct heartbeat_body { __u64 number; };

struct call_body {
	__s64 retval;
	__u32 flags;
	__u32 mode;
	__s32 uid, gid;
	__s32 dirfd, dirfd2;
	__u64 atime_ns, mtime_ns;
	__u64 request; /* io_uring: the address of the request */
	__u64 call; /* the number that the objects of this call carry; 0 when there are none */
	__u32 stacked; /* a stacked file system (overlay) was changed: objects of others are what is below it, not what the caller named */
	__u32 reserved;
};

/* How the record of an event begins. `size` bytes of the kind's own struct follow, then sections. */
struct event_head { __s64 retval; __u32 size; __u32 reserved; };

struct socket_body { __u16 domain, socket_type, protocol, reserved; };
/* Section BYTES: the instructions of the filter that was attached, as far as they were captured. */
struct setsockopt_body { __u32 level, option; __u16 family, socket_type, protocol, filter_len; };

/* Where the address of a socket's call was read. */
enum address_origin {
	ADDRESS_NONE = 0,
	ADDRESS_KERNEL = 1, /* the kernel's copy of the argument */
	ADDRESS_SOCKET = 2, /* the socket, after the call */
	ADDRESS_CALLER = 3, /* the caller's memory, after the call: another thread may have changed it */
};
/* accept, bind, connect. The address as in a struct sockaddr: the family, then what the family makes of it. */
struct address_body { __u16 protocol; __u8 origin; __u8 len; __u8 address[28]; } __attribute__((aligned(4)));

/* `by_argument`: the path is the directory that the second text starts from, and not where the mount is. */
struct mount_body { __u32 mount_id, parent_mount_id, source_mount_id, by_argument; char fs_type[32]; };

struct prctl_body { __u32 option; __u32 reserved; };
/* Ids of the initial user namespace, as they are after the call. */
struct setuid_body { __u32 uid, euid, fsuid; __u32 reserved; };
struct setgid_body { __u32 gid, egid, fsgid; __u32 reserved; };
struct capset_body { __u64 cap_effective, cap_permitted; };
/* Of the program that the process runs, since it began. */
struct capabilities_body { __u64 attempted, used; };
struct unshare_body { __u64 flags; };

/* Whom something is done to: ids of the initial pid namespace, 0 for unknown; `tid` is another than `pid` for a thread. */
struct target { __u32 pid, tid; };
struct ptrace_body { struct target target; __u64 address; __u32 request; __u32 reserved; };
struct signal_body { struct target target; __u32 signal; __s32 number; /* the id told: of the target, else what the caller gave */ };
struct setrlimit_body { struct target target; __u64 cur, max; __u32 resource; __u32 reserved; };

struct mmap_body { __u64 address, length, offset, flags, protection; };
struct mprotect_body {
	__u64 start, end; /* of the segments that the call is about */
	__u64 before, requested;
};

#define BPF_HELPERS 256
enum bpf_has { BPF_HAS_MAP = 1 << 0, BPF_HAS_PROG = 1 << 1 };
struct bpf_body {
	__u32 cmd, has;
	__u32 map_type, prog_type, attach_type, map_id;
	__u8 tag[8];
	char map_name[16], prog_name[16];
	__u64 helpers[BPF_HELPERS / 64];
};

struct splice_body { __u32 entry_flag, exit_flag; };
struct sysctl_body { __u32 write, position, old_truncated, reserved; };
enum selinux_control { SELINUX_ENFORCE = 1, SELINUX_DISABLE = 2, SELINUX_COMMIT = 3, SELINUX_BOOL = 4 };
struct selinux_body { __u32 control, reserved; char text[32]; };
struct cgroup_write_body { __u32 pid, reserved; };

enum packet_direction { PACKET_EGRESS = 1, PACKET_INGRESS = 2 };
/*
 * dns, imds: section BYTES is what TCP or UDP carry, from its beginning. packet: the packet from its link layer on. Addresses of IPv4 fill
 * the first four bytes; ports are of this machine's byte order.
 */
struct packet_body {
	__u8 source[16], destination[16];
	__u16 source_port, destination_port;
	__u16 l3_protocol; /* as in the Ethernet header */
	__u16 l4_protocol;
	__u32 size; /* of the whole packet */
	__u32 netns, ifindex; /* the interface that it was seen at */
	__u32 filter; /* packet: which filter it passed */
	__u16 network; /* packet: where in the bytes its network layer begins */
	__u16 transport; /* … and what TCP or UDP carry; 0 where that is not there */
	__u8 direction;
	__u8 icmp_type;
	__u8 dropped; /* packet: a rule's action had it dropped */
	__u8 reserved;
	char ifname[16];
};

/* Who sends and receives through a socket: the last that was seen to. */
struct socket_owner { __u64 cgroup_id; __u32 pid; __u32 start_low; };
/* The owner of a port, for sockets that nobody was seen to make, as those that accept() gives. */
struct port_key { __u32 netns; __u16 port; __u8 protocol; __u8 reserved; };

/* What the classifiers do beside what the filters of kinds say. */
enum packets_without_owner { OWNERLESS_ALL = 0, OWNERLESS_SYN = 1, OWNERLESS_NONE = 2 };
struct packet_settings {
	__u32 imds_ipv4; /* network byte order; 0 for none */
	__u32 ownerless; /* packet: which of the packets that are nobody's are told */
	__u32 filters; /* packet: there are filters to be run */
	__u32 rate; /* packet: how many are told in a second, of each filter and process; 0 for all */
};
/*
 * What the filters of a packet found, on this CPU until it is through: set up before the program of the filters is jumped to
 * (`packet_filters`, by what the frames begin with), which fills it and jumps on to `packet_after`, by `next`. crates/pcap/src/router.rs
 * knows where each of it is.
 */
#define PACKET_FILTERS 256
struct packet_verdict {
	__u64 rules[PACKET_FILTERS / 64]; /* the filters of rules that the packet passed */
	__u64 actions; /* … and those of network_filter actions */
	__u32 next; /* the direction: 0 is egress, 1 is ingress */
	__u32 inbound;
};
/* Whose packets an action is about: a process (its id and the lower half of its start) or a cgroup. */
enum packet_scope { PACKET_SCOPE_PROCESS = 1, PACKET_SCOPE_CGROUP = 2 };
struct packet_subject { __u64 id; __u32 start_low; __u32 scope; };
/* The actions in force for it, as bits of `packet_verdict.actions`. A packet that passed one that accepts is not dropped. */
struct packet_orders { __u64 drop, accept; };
struct packet_rate_key { __u32 filter, pid; };
struct packet_rate { __u64 since_ns; __u32 told, reserved; };

enum packet_counter {
	PACKETS_FORWARDED = 0, /* of what rules want, what no process here sent or receives: it is seen where one does */
	PACKETS_UNATTRIBUTED = 1, /* of what was told, what no process is known of */
	PACKETS_REPEATED = 2, /* of what rules want, what was seen on its way through another interface before */
	PACKETS_LIMITED = 3, /* of what rules want, what was more than the rate of its filter and process */
	PACKETS_DROPPED = 4, /* by network_filter actions */
	PACKET_COUNTERS = 5,
};
struct interface_key { __u32 netns, ifindex; };
struct interface_packets { struct interface_key key; __u64 n[2]; /* egress, ingress */ };
#define INTERFACE_BITS 12

struct flow_key {
	__u8 source[16], destination[16];
	__u16 source_port, destination_port, l3_protocol, l4_protocol;
	__u32 netns, ifindex;
};
struct flow_value {
	struct socket_owner owner;
	__u64 bytes[2], packets[2]; /* egress, ingress */
	char ifname[16];
};

#define MODULE_NAME 56
struct load_module_body { char name[MODULE_NAME]; __u32 from_memory, reserved; };
struct unload_module_body { char name[MODULE_NAME]; };

/* What an object record says its file is in the call. */
enum object_role {
	ROLE_BEFORE = 1, /* an inode the call changes, with a name it had before: candidate for the file */
	ROLE_AFTER = 2,  /* the same after the call: candidate for the new name */
	ROLE_FILE = 3,   /* the file of the call, for sure */
	ROLE_DESTINATION = 4, /* the new name, for sure */
};
struct object_body { __u64 call; __u32 role; __u32 call_kind; };

/* Followed by a struct call_body with the arguments. */
struct uring_body { __u64 request; __u32 call_kind; __u32 silent; /* no completion will follow unless it fails */ };

enum section_tag {
	SECTION_FILE = 1,      /* struct file_info of the file the next path section belongs to */
	SECTION_PATH = 2,      /* path elements, innermost first, each ended by NUL */
	SECTION_ARG = 3,       /* the path argument, in the caller's words */
	SECTION_ARG2 = 4,      /* the second path argument */
	SECTION_BASE = 5,      /* elements of the directory the argument is relative to */
	SECTION_BASE2 = 6,
	SECTION_ARGS = 7,      /* argv, each ended by NUL */
	SECTION_ENVS = 8,
	SECTION_CGROUP = 9,    /* elements of the cgroup path in the default hierarchy (v2), innermost first */
	SECTION_TTY = 10,
	SECTION_FILENAME = 11, /* the exec's path as the kernel copied it */
	SECTION_CWD = 12,
	SECTION_INTERP = 13,
	SECTION_FILE2 = 14,    /* as FILE and PATH, of a second file */
	SECTION_PATH2 = 15,
	SECTION_BYTES = 16,    /* bytes that the kind knows the meaning of */
	SECTION_CGROUP_V1 = 20, /* as CGROUP, in the hierarchy of the pids controller where that is one of v1 */
};

enum section_flags {
	PATH_TRUNCATED = 1 << 0,   /* the outermost elements are missing */
	PATH_DETACHED = 1 << 1,    /* ended at a mount of no namespace */
	STRING_FAULTED = 1 << 2,   /* could not be read */
	STRING_KERNEL = 1 << 3,    /* the kernel's own copy, not the caller's memory */
};

struct section { __u16 tag; __u16 flags; __u32 len; };

struct file_info {
	__u64 inode;
	__u64 dev;
	__u64 mtime_ns;
	__u64 ctime_ns;
	__u32 mount_id;
	__u32 uid, gid;
	__u32 nlink;
	__u16 mode;
	__u16 reserved[3];
	char filesystem[16];
};

/* Approvers: which files of a kind of call are sent. */
enum approver_role {
	APPROVE_LEAF = 1,  /* the last path element */
	APPROVE_CHILD = 2, /* the element before the last */
	APPROVE_BELOW = 3, /* any element but the last */
};
#define NAME_LEN 60
struct name_key { __u8 kind; __u8 role; __u16 len; char name[NAME_LEN]; };
enum name_flags {
	NAME_ANY_FLAGS = 1 << 0, /* approve whatever the open flags */
	NAME_CHECK_PATH = 1 << 1, /* approve only if the path's hash is known, too */
};
struct name_value { __u32 flags; __u32 open_flags; };
struct path_key { __u64 hash; __u32 kind; __u32 len; };
struct path_value { __u32 any_flags; __u32 open_flags; };

#define BLOOM_WORDS 32 /* a name that collides costs a look-up in a hash table: one in ten with two hundred names */
struct filter {
	__u32 enabled;
	__u32 all;
	__u32 open_flags; /* approve any file that is opened with one of these */
	__u32 roles;      /* which roles have names: bit per approver_role */
	__u32 below_any;  /* names below apply whatever the flags … */
	__u32 below_open_flags; /* … or to these */
	__u64 bloom[BLOOM_WORDS]; /* of leaf and child names; names below have their own */
	__u64 bloom_below[BLOOM_WORDS];
	/* Of the two numbers of an event: approved with any of these bits, or where a bit of number_slots says so with a value of the map. */
	__s64 number_masks[2];
	__u32 number_slots;
	__u32 reserved;
};
struct number_key { __u32 kind; __u32 slot; __s64 value; };

struct settings {
	__u32 own_pid; /* this process's calls are not events */
	__u32 all_errors; /* report every failed call, not only EACCES and EPERM */
	__u32 heartbeat_tag; /* the comm that asks for a heartbeat starts with this … */
	__u32 reserved;
};

struct loss_key { __u64 cgroup_id; __u32 kind; __u32 reserved; };

enum counter { COUNTER_SENT = 0, COUNTER_LOST = 1, COUNTER_BUSY = 2, COUNTER_OVER = 3, COUNTERS = 4 };
