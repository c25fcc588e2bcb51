/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * Working directories, extended attributes, lengths: file calls that are told at the end of their system call, in every tier. After a
 * chdir the directory is the task's own; a descriptor leads to its file; the path that another call has looked up is kept when the
 * look-up ends, in the tiers that can hook it.
 */
#include "hook.h"

SUBPROGRAM_ON_MEMORY int exit_of_chdir(const struct call *call)
{
	struct task_struct *task = bpf_get_current_task_btf();
	const void *path = 0, *path2 = 0;
	struct dentry *dentry = 0;
	struct vfsmount *mnt = 0;
	struct call_body *body;
	struct buffer *b;
	s32 fd;

	if (!call)
		return 0;
	if (call->ret >= 0) {
		/* A thread that shares it (CLONE_FS) may have gone on already: then this tells where the task is, as its next open will. */
		struct fs_struct *fs = LOAD(struct task_struct, task, fs);
		if (!fs)
			return 0;
		dentry = LOAD(struct fs_struct, fs, pwd.dentry);
		mnt = LOAD(struct fs_struct, fs, pwd.mnt);
		if (approve(KIND_CHDIR, dentry, mnt, 0) == REJECT)
			return 0;
	}
	b = call_begin(KIND_CHDIR, flags_of(call), task, &body);
	if (!b)
		return 0;
	body->retval = call->ret;
	fd = change_arguments(call, body, &path, &path2);
	if (!dentry && fd >= 0) {
		struct file *file = file_of_fd(task, fd);
		if (file) {
			dentry = LOAD(struct file, file, f_path.dentry);
			mnt = LOAD(struct file, file, f_path.mnt);
		}
	}
	if (dentry)
		put_file(b, SECTION_PATH, dentry, mnt);
	put_string(b, SECTION_ARG, path, false);
	if (!dentry)
		put_base(b, SECTION_BASE, task, AT_FDCWD);
	send(b, RING_BULK);
	return 0;
}
static __always_inline int chdir_ended(const struct call *call) { return exit_of_chdir(call); }
CALL_EXIT(chdir, KIND_CHDIR, chdir_ended)
SYSCALL_EXIT(chdir, KIND_CHDIR, chdir_ended, chdir)
SYSCALL_EXIT(chdir, KIND_CHDIR, chdir_ended, fchdir)

static __always_inline int change_ended(const struct call *call) { return exit_of_change(call); }
CALL_EXIT(setxattr, KIND_SETXATTR, change_ended)
SYSCALL_EXIT(setxattr, KIND_SETXATTR, change_ended, setxattr)
SYSCALL_EXIT(setxattr, KIND_SETXATTR, change_ended, lsetxattr)
SYSCALL_EXIT(setxattr, KIND_SETXATTR, change_ended, fsetxattr)
SYSCALL_EXIT(setxattr, KIND_SETXATTR, change_ended, setxattrat)
CALL_EXIT(removexattr, KIND_REMOVEXATTR, change_ended)
SYSCALL_EXIT(removexattr, KIND_REMOVEXATTR, change_ended, removexattr)
SYSCALL_EXIT(removexattr, KIND_REMOVEXATTR, change_ended, lremovexattr)
SYSCALL_EXIT(removexattr, KIND_REMOVEXATTR, change_ended, fremovexattr)
SYSCALL_EXIT(removexattr, KIND_REMOVEXATTR, change_ended, removexattrat)

/*
 * The path of a call on extended attributes was looked up. This is on the way of all look-ups by path while a rule is about extended
 * attributes; the security hooks are not, but none of them knows the mount, and not every attribute has one (POSIX ACLs since 6.2).
 */
static __always_inline int attributes_looked_up(const struct path *path, long ret)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct pending *p;
	struct call call;
	u8 kind;

	if (ret)
		return 0;
	kind = current_call(task, &call);
	if (kind == KIND_SETXATTR || kind == KIND_REMOVEXATTR) {
		struct settings *s = get_settings();
		if (!s || own_task(s))
			return 0;
		p = pending_new(bpf_get_current_pid_tgid());
		if (!p)
			return 0;
		p->kind = kind;
	} else { /* for io_uring, the request has begun the call */
		p = call_flags(task) & HEADER_ASYNC ? pending_of(KIND_SETXATTR) : 0;
		if (!p)
			return 0;
	}
	saw_object(p, ROLE_FILE, LOAD(struct path, path, dentry), LOAD(struct path, path, mnt), 0);
	return 0;
}
FUNCTION_EXIT(setxattr_and_removexattr, filename_lookup, attributes_looked_up(path, ret), int dfd, struct filename *name, unsigned int flags, struct path *path, struct path *root,
	      int ret)

/* io_uring, 5.19: only ever run where it may block, so once for each request. */
static __always_inline int uring_setxattr_begins(struct io_kiocb *req)
{
	struct pending *p;

	if (!wanted_here(KIND_SETXATTR))
		return 0;
	p = pending_new(bpf_get_current_pid_tgid());
	if (p)
		p->kind = KIND_SETXATTR;
	return submitted(number_of(req), true);
}

static __always_inline int uring_setxattr_ended(struct io_kiocb *req, int ret)
{
	struct pending *p = pending_of(KIND_SETXATTR);
	u64 id = bpf_get_current_pid_tgid();
	u64 number = p ? p->call : 0;
	bool rejected = p && p->seen && !p->approved;

	if (p)
		bpf_map_delete_elem(&pending, &id);
	if (ret == -EAGAIN || rejected)
		return 0;
	return completed(number_of(req), LOAD(struct io_kiocb, req, cqe.res), number);
}
FUNCTION_ENTRY(setxattr, io_setxattr, uring_setxattr_begins(req), struct io_kiocb *req)
FUNCTION_EXIT(setxattr, io_setxattr, uring_setxattr_ended(req, ret), struct io_kiocb *req, unsigned int issue_flags, int ret)
FUNCTION_ENTRY(setxattr, io_fsetxattr, uring_setxattr_begins(req), struct io_kiocb *req)
FUNCTION_EXIT(setxattr, io_fsetxattr, uring_setxattr_ended(req, ret), struct io_kiocb *req, unsigned int issue_flags, int ret)

/*
 * truncate and ftruncate are told as opens for writing with O_TRUNC: to a rule about who empties a file it is the same. (An open with
 * O_TRUNC does not come here.)
 */
static __always_inline int truncated(const struct path *path)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct pending *p;
	struct call call;

	if (!wanted_here(KIND_OPEN) || current_call(task, &call) != KIND_OPEN || call.shape != SHAPE_TRUNCATE)
		return 0;
	p = pending_new(bpf_get_current_pid_tgid());
	if (!p)
		return 0;
	p->kind = KIND_OPEN;
	saw_object(p, ROLE_FILE, LOAD(struct path, path, dentry), LOAD(struct path, path, mnt), TRUNCATE_FLAGS);
	return 0;
}
FUNCTION_ENTRY(open, vfs_truncate, truncated(path), const struct path *path)
SYSCALL_EXIT(open, KIND_OPEN, change_ended, truncate)
COMPAT_EXIT(open, KIND_OPEN, change_ended, truncate)
SYSCALL_EXIT(open, KIND_OPEN, change_ended, ia32_truncate64)
SYSCALL_EXIT(open, KIND_OPEN, change_ended, ftruncate)
COMPAT_EXIT(open, KIND_OPEN, change_ended, ftruncate)
SYSCALL_EXIT(open, KIND_OPEN, change_ended, ia32_ftruncate64)

static __always_inline int uring_truncated(struct io_kiocb *req)
{
	return wanted_here(KIND_OPEN) ? completed(number_of(req), LOAD(struct io_kiocb, req, cqe.res), 0) : 0;
}
FUNCTION_EXIT(open, io_ftruncate, uring_truncated(req), struct io_kiocb *req, unsigned int issue_flags, int ret)
