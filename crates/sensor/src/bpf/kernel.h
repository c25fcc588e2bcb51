/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * The few kernel types that the sensor reads, written by hand. CO-RE finds the real offsets at load time, so only the
 * names and types of the fields matter here, not their order. A `___x` flavour is the same kernel type as seen by
 * kernels whose field is called or typed differently; the code asks bpf_core_field_exists() before it uses one.
 */
#pragma once

typedef unsigned char __u8;
typedef short __s16;
typedef unsigned short __u16;
typedef int __s32;
typedef unsigned int __u32;
typedef long long __s64;
typedef unsigned long long __u64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u32 __wsum;
typedef __u8 u8;
typedef __u16 u16;
typedef __s32 s32;
typedef __u32 u32;
typedef __s64 s64;
typedef __u64 u64;
typedef _Bool bool;
#define true 1
#define false 0

enum { BPF_MAP_TYPE_HASH = 1, BPF_MAP_TYPE_ARRAY = 2, BPF_MAP_TYPE_PROG_ARRAY = 3, BPF_MAP_TYPE_PERF_EVENT_ARRAY = 4, BPF_MAP_TYPE_PERCPU_HASH = 5, BPF_MAP_TYPE_PERCPU_ARRAY = 6, BPF_MAP_TYPE_LRU_HASH = 9, BPF_MAP_TYPE_RINGBUF = 27 };
enum { BPF_ANY = 0, BPF_NOEXIST = 1 };
enum { BPF_F_NO_PREALLOC = 1 };
enum { BPF_RB_NO_WAKEUP = 1 };
#define BPF_F_CURRENT_CPU 0xffffffffull

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct list_head { struct list_head *next, *prev; };
struct hlist_node { struct hlist_node *next; };
struct hlist_head { struct hlist_node *first; };
typedef struct { int counter; } atomic_t;
typedef struct { u32 val; } kuid_t;
typedef struct { u32 val; } kgid_t;
typedef struct { u64 val; } kernel_cap_t;
/* Before 6.3 a capability set was two 32-bit words. */
struct kernel_cap_struct { u32 cap[2]; };

struct pt_regs {
	unsigned long r15, r14, r13, r12, bp, bx, r11, r10, r9, r8, ax, cx, dx, si, di;
	unsigned long orig_ax, ip, cs, flags, sp, ss;
};

struct thread_info { unsigned long flags; u32 status; };

struct qstr { u32 len; const unsigned char *name; };

struct file_system_type { const char *name; };
struct dentry;
struct mount;
struct super_block {
	u32 s_dev;
	struct file_system_type *s_type;
	int s_stack_depth;
	unsigned long s_magic;
	struct mount *s_mounts;
};
/* Before 6.18 the mounts of a file system were a plain list. */
struct super_block___list { struct list_head s_mounts; };

struct timespec64 { s64 tv_sec; long tv_nsec; };
struct inode {
	u16 i_mode;
	kuid_t i_uid;
	kgid_t i_gid;
	struct super_block *i_sb;
	unsigned long i_ino;
	unsigned int i_nlink;
	u32 i_generation;
	struct hlist_head i_dentry;
	void *i_private;
	s64 i_mtime_sec, i_ctime_sec;
	u32 i_mtime_nsec, i_ctime_nsec;
};
/* 6.7 to 6.10, and before 6.7. */
struct inode___mid { struct timespec64 __i_mtime, __i_ctime; };
struct inode___old { struct timespec64 i_mtime, i_ctime; };
struct inode___old_ctime { struct timespec64 __i_ctime; };

struct dentry {
	struct dentry *d_parent;
	struct qstr d_name;
	struct inode *d_inode;
	struct super_block *d_sb;
	union { struct hlist_node d_alias; } d_u;
};
/* From 7.0 on the union has no name. */
struct dentry___nameless {
	struct hlist_node d_alias;
};

struct vfsmount {
	struct dentry *mnt_root;
	struct super_block *mnt_sb;
};
struct ns_common { u32 inum; };
struct mnt_namespace { struct ns_common ns; };
struct mount {
	struct mount *mnt_parent;
	struct dentry *mnt_mountpoint;
	struct vfsmount mnt;
	struct mnt_namespace *mnt_ns;
	int mnt_id;
	struct mount *mnt_next_for_sb;
	struct list_head mnt_mounts, mnt_child;
	struct list_head mnt_list;
};
/* The mounts of a namespace: a tree since 6.8, its last node since 6.14, a list before. */
struct rb_node { struct rb_node *rb_right; };
struct rb_root { struct rb_node *rb_node; };
struct mnt_namespace___tree { struct rb_root mounts; struct rb_node *mnt_last_node; };
struct mnt_namespace___list { struct list_head list; };
struct mount___tree { struct rb_node mnt_node; };
struct mount___list { struct list_head mnt_instance; };
/* What only a namespace that is one's has: its number (6.18), a sequence number before. */
struct ns_common___id { u64 ns_id; };
struct mnt_namespace___seq { u64 seq; };

struct path { struct vfsmount *mnt; struct dentry *dentry; };
struct file {
	struct path f_path;
	struct inode *f_inode;
	u32 f_mode;
	u32 f_flags;
	void *private_data;
};

struct ns_common;
struct net;
typedef struct { struct net *net; } possible_net_t;
struct in6_addr { u32 in6_u[4]; };
struct sock_common {
	possible_net_t skc_net;
	struct { s64 counter; } skc_cookie;
	__be32 skc_daddr;
	__be16 skc_dport;
	u16 skc_num; /* the local port, of this machine's byte order */
	u16 skc_family;
	u32 skc_rcv_saddr;
	struct in6_addr skc_v6_daddr, skc_v6_rcv_saddr;
};
struct sock_filter;
struct bpf_prog;
struct sock_fprog_kern { u16 len; struct sock_filter *filter; };
struct bpf_prog___classic { struct sock_fprog_kern *orig_prog; };
struct sk_filter { struct bpf_prog *prog; };
struct sock {
	struct sock_common __sk_common;
	u16 sk_type, sk_protocol;
	u8 sk_userlocks : 4;
	struct sk_filter *sk_filter;
};
struct socket { struct sock *sk; };
struct net_device { possible_net_t nd_net; int ifindex; char name[16]; };
struct sk_buff {
	struct net_device *dev;
	struct sock *sk;
	unsigned char *head, *data;
	u16 network_header;
};
struct sockaddr;
struct filename { const char *name; const char *uptr; /* not in 7.x */ };
struct open_flags { int open_flag; u16 mode; };

struct fdtable { u32 max_fds; struct file **fd; };
struct files_struct { struct fdtable *fdt; };
struct fs_struct { struct path root, pwd; };

struct uts_namespace { struct ns_common ns; };
struct ipc_namespace { struct ns_common ns; };
struct net { struct ns_common ns; };
struct cgroup_namespace { struct ns_common ns; };
struct user_namespace { struct ns_common ns; int level; };
struct xarray { void *xa_head; };
struct xa_node { u8 shift; void *slots[64]; };
struct idr { struct xarray idr_rt; };
struct pid_namespace { struct ns_common ns; u32 level; struct idr idr; };
struct nsproxy {
	struct uts_namespace *uts_ns;
	struct ipc_namespace *ipc_ns;
	struct mnt_namespace *mnt_ns;
	struct pid_namespace *pid_ns_for_children;
	struct net *net_ns;
	struct cgroup_namespace *cgroup_ns;
};
struct upid { int nr; struct pid_namespace *ns; };
struct pid { u32 level; struct hlist_head tasks[4]; struct upid numbers[1]; };

struct cred {
	kuid_t uid, euid, fsuid;
	kgid_t gid, egid, fsgid;
	kernel_cap_t cap_effective, cap_permitted;
	struct user_namespace *user_ns;
};

struct kernfs_node { struct kernfs_node *__parent; const char *name; u64 id; };
/* Before 6.15. */
struct kernfs_node___old { struct kernfs_node *parent; };
struct cgroup_root;
struct cgroup { struct kernfs_node *kn; struct cgroup_root *root; };
struct cgroup_subsys_state { struct cgroup *cgroup; };
struct css_set { struct cgroup_subsys_state *subsys[16]; struct cgroup *dfl_cgrp; };
enum cgroup_subsys_id { pids_cgrp_id = 1 };

struct tty_struct { char name[64]; };
struct signal_struct {
	atomic_t live;
	int group_exit_code;
	unsigned int flags;
	struct tty_struct *tty;
	struct pid *pids[4];
	struct rlimit { unsigned long rlim_cur, rlim_max; } rlim[16];
};
struct file;
struct mm_struct { struct file *exe_file; unsigned long arg_start, arg_end, env_start, env_end; };

struct task_struct {
	struct thread_info thread_info;
	void *stack;
	unsigned int flags;
	struct mm_struct *mm;
	int exit_code;
	int pid, tgid;
	struct task_struct *real_parent;
	struct task_struct *group_leader;
	struct pid *thread_pid;
	struct hlist_node pid_links[4];
	u64 start_boottime;
	u64 self_exec_id;
	const struct cred *cred;
	char comm[16];
	struct fs_struct *fs;
	struct files_struct *files;
	struct nsproxy *nsproxy;
	struct signal_struct *signal;
	kuid_t loginuid;
	unsigned int sessionid;
	struct css_set *cgroups;
};
/* Before 5.5 the field was real_start_time; the ring buffer needs 5.8, so it is not asked for. */

struct proc_inode { struct pid *pid; struct inode vfs_inode; };
struct kernel_siginfo { int si_signo; };

struct linux_binprm { struct file *file; const char *filename; const char *interp; char buf[256]; };

/* io_uring: the part of a request that its operation owns starts at the request itself. */
struct io_uring_cqe { u64 user_data; s32 res; u32 flags; };
struct io_uring_task { struct task_struct *task; };
struct io_cqe { u64 user_data; s32 res; };
struct io_ring_ctx;
struct io_kiocb { struct io_ring_ctx *ctx; u8 opcode; u64 flags; struct io_uring_task *tctx; struct file *file; struct io_cqe cqe; /* since 5.19 */ };
struct io_kiocb___task { struct task_struct *task; };
struct io_kiocb___flags32 { u32 flags; };
struct io_connect { void *addr; int addr_len; };
struct io_socket { int domain, type, protocol; };
struct io_uring_sqe { u32 level, optname; };
struct io_uring_cmd { struct file *file; const struct io_uring_sqe *sqe; u32 cmd_op; };
struct open_how { u64 flags, mode, resolve; };
struct io_open { int dfd; u32 file_slot; struct filename *filename; struct open_how how; };
struct io_unlink { int dfd; int flags; struct filename *filename; };
struct io_rename { int old_dfd, new_dfd; struct filename *oldpath, *newpath; int flags; };
struct io_mkdir { int dfd; u16 mode; struct filename *filename; };
struct io_link { int old_dfd, new_dfd; struct filename *oldpath, *newpath; int flags; };
struct xattr_name;
struct io_xattr_context { struct xattr_name *kname; };
struct io_xattr { struct file *file; struct io_xattr_context ctx; struct filename *filename; };
/* In 7.x the names are in a struct of their own. */
struct delayed_filename { struct filename *__incomplete_filename; };
struct io_open___delayed { struct delayed_filename filename; };
struct io_xattr___delayed { struct delayed_filename filename; };
struct io_unlink___delayed { struct delayed_filename filename; };
struct io_mkdir___delayed { struct delayed_filename filename; };
struct io_rename___delayed { struct delayed_filename oldpath, newpath; };
struct io_link___delayed { struct delayed_filename oldpath, newpath; };

#pragma clang attribute pop

#define __VMLINUX_H__ /* bpf_tracing.h: registers by the kernel's names */
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>
