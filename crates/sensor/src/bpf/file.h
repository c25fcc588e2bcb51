/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * File calls, as every tier sends them.
 *
 * A call that changes names or attributes is told in two steps. While the kernel works on it, a hook sees the objects and sends each as
 * a KIND_OBJECT record (the path must be walked before it is gone or changed). When the call is over, its own record follows
 * with the result and the arguments. User space joins them by thread. `struct pending` is what must be remembered meanwhile.
 */
#pragma once

#include "path.h"

#define AT_FDCWD -100
#define PENDING_INODES 8

struct pending {
	u64 call; /* tells this call's objects from those of another of the same thread */
	u32 kind;
	u8 approved; /* some object is one that a rule wants */
	u8 seen;     /* lsm tier: the object was seen, so the approvers have decided */
	u8 inodes;
	u8 kernel_names; /* lsm tier: the names are the kernel's copies, which live to the end of the call */
	/* tracepoint tier: what the objects were whose names were looked at */
	u8 files, dirs, stacked;
	u64 inode[PENDING_INODES];
	/* lsm tier: the arguments, for the record at the end. */
	const void *user_name, *user_name2;
	struct dentry *dentry; /* mkdir: the dentry that gets the new inode */
	struct vfsmount *mnt;
	s32 dirfd, dirfd2;
	u32 flags, mode;
};
/* By thread. Bounded: where it is full the call is told without its objects. Entries live as long as one system call. */
struct { __uint(type, BPF_MAP_TYPE_LRU_HASH); __uint(max_entries, 4096); __type(key, u64); __type(value, struct pending); } pending SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY); __uint(max_entries, 1); __type(key, u32); __type(value, struct pending); } pending_zero SEC(".maps");

static __always_inline struct pending *pending_new(u64 id)
{
	u32 zero = 0;
	struct pending *empty = bpf_map_lookup_elem(&pending_zero, &zero);

	struct pending *p;

	if (!empty || bpf_map_update_elem(&pending, &id, empty, BPF_ANY))
		return 0;
	p = bpf_map_lookup_elem(&pending, &id);
	if (p)
		p->call = bpf_ktime_get_boot_ns();
	return p;
}

static __always_inline bool own_task(const struct settings *s)
{
	return bpf_get_current_pid_tgid() >> 32 == s->own_pid;
}

/* The filter of `kind`, if a rule wants the kind and the caller is not ourselves. */
static __always_inline struct filter *wanted_here(u32 kind)
{
	struct settings *s = get_settings();
	struct filter *filter = get_filter(kind);

	return filter && filter->enabled && s && !own_task(s) ? filter : 0;
}

static __always_inline struct file *file_of_fd(struct task_struct *task, u32 fd)
{
	struct files_struct *files = LOAD(struct task_struct, task, files);
	struct fdtable *fdt;
	struct file **array;

	if (!files)
		return 0;
	fdt = LOAD(struct files_struct, files, fdt);
	if (fd >= LOAD(struct fdtable, fdt, max_fds))
		return 0;
	array = LOAD(struct fdtable, fdt, fd);
	return LOAD_POINTER(array + fd);
}

/* The directory that the argument just put starts from: the root of an absolute path, which is not "/" in a chroot. */
SUBPROGRAM int put_base_of(buffer_ref ref, u16 tag, kptr task_, s32 dirfd)
{
	struct buffer *b = buffer_of(ref);
	struct task_struct *task = (void *)task_;
	bool absolute = false;
	u32 at;

	if (!b)
		return 0;
	at = b->section + sizeof(struct section);
	barrier_var(at);
	if (at < BUFFER_DATA)
		absolute = at < b->off && b->data[at] == '/';
	if (absolute) {
		struct fs_struct *fs = LOAD(struct task_struct, task, fs);
		if (fs)
			put_path(b, tag, LOAD(struct fs_struct, fs, root.dentry), LOAD(struct fs_struct, fs, root.mnt));
	} else if (dirfd == AT_FDCWD) {
		struct fs_struct *fs = LOAD(struct task_struct, task, fs);
		if (fs)
			put_path(b, tag, LOAD(struct fs_struct, fs, pwd.dentry), LOAD(struct fs_struct, fs, pwd.mnt));
	} else if (dirfd >= 0) {
		struct file *dir = file_of_fd(task, dirfd);
		if (dir)
			put_path(b, tag, LOAD(struct file, dir, f_path.dentry), LOAD(struct file, dir, f_path.mnt));
	}
	return 0;
}

static __always_inline void put_base(struct buffer *b, u16 tag, struct task_struct *task, s32 dirfd)
{
	put_base_of(ref_of(b), tag, number_of(task), dirfd);
}

/* Sends an object of the call that the current task is in. */
SUBPROGRAM int send_object(u64 call, u32 role, u32 call_kind, kptr dentry, kptr mnt)
{
	struct object_body *body;
	struct buffer *b = record_begin(KIND_OBJECT, 0, bpf_get_current_task_btf());

	if (!b)
		return 0;
	body = reserve(b, sizeof(*body));
	if (!body) {
		buffer_release(b);
		return 0;
	}
	body->call = call;
	body->role = role;
	body->call_kind = call_kind;
	put_file(b, SECTION_PATH, (void *)dentry, (void *)mnt);
	send(b, RING_BULK);
	return 0;
}

static __always_inline struct buffer *call_begin(u16 kind, u16 flags, struct task_struct *task, struct call_body **body)
{
	struct buffer *b = record_begin(kind, flags, task);

	if (!b)
		return 0;
	*body = reserve(b, sizeof(**body));
	if (!*body) {
		buffer_release(b);
		return 0;
	}
	__builtin_memset(*body, 0, sizeof(**body));
	(*body)->dirfd = (*body)->dirfd2 = AT_FDCWD;
	(*body)->uid = (*body)->gid = -1;
	return b;
}
