/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * File calls in the lsm and kprobe tiers: the functions that system calls, the 32-bit entry and io_uring have in common, at their begin
 * and end, and between them the security hook, which sees the objects. Nothing here is on the way of any other system call.
 */
#include "hook.h"

#define PF_IO_WORKER 0x00000010
#define NR_IO_URING_ENTER 426
#define FMODE_EXEC 0x20
#define O_LARGEFILE 0100000

static __always_inline u16 call_flags(struct task_struct *task)
{
	struct pt_regs *regs = (void *)bpf_task_pt_regs(task);
	u16 flags = 0;

	if ((LOAD(struct task_struct, task, flags) & PF_IO_WORKER) || LOAD(struct pt_regs, regs, orig_ax) == NR_IO_URING_ENTER)
		flags |= HEADER_ASYNC;
	if (is_compat(task))
		flags |= HEADER_COMPAT;
	return flags;
}

/* open, openat, openat2, creat, io_uring: all end here with the file or the error; also the kernel's own opens for a process. */
static __always_inline int opened(int dfd, struct filename *pathname, const struct open_flags *op, struct file *ret)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct filter *filter = wanted_here(KIND_OPEN);
	struct settings *s = get_settings();
	enum verdict verdict = APPROVE;
	struct dentry *dentry = 0;
	struct vfsmount *mnt = 0;
	struct call_body *body;
	struct buffer *b;
	long err = 0;
	u32 flags;

	if (!filter || !s)
		return 0;
	flags = LOAD(struct open_flags, op, open_flag);
	if (flags & FMODE_EXEC) /* execve opens its file here, too; that is an exec */
		return 0;
	flags &= ~O_LARGEFILE;
	if ((unsigned long)ret >= (unsigned long)-4095)
		err = (long)ret;
	if (!wanted_result(s, err))
		return 0;
	if (!err) {
		dentry = LOAD(struct file, ret, f_path.dentry);
		mnt = LOAD(struct file, ret, f_path.mnt);
		verdict = approve_typed(KIND_OPEN, dentry, mnt, flags);
		if (verdict == REJECT)
			return 0;
	}
	b = call_begin(KIND_OPEN, call_flags(task), task, &body);
	if (!b)
		return 0;
	body->retval = err;
	body->flags = flags;
	body->mode = LOAD(struct open_flags, op, mode) & 07777;
	body->dirfd = dfd;
	if (dentry) {
		put_file(b, SECTION_PATH, dentry, mnt);
		if (verdict == APPROVE_IF_PATH && !approve_path(b, KIND_OPEN, flags)) {
			buffer_release(b);
			return 0;
		}
	}
	if (pathname)
		put_string(b, SECTION_ARG, LOAD(struct filename, pathname, name), true);
	if (!dentry)
		put_base(b, SECTION_BASE, task, dfd);
	send(b, RING_BULK);
	return 0;
}

#define OPEN_FUNCTION(function) \
	FUNCTION_EXIT(open, function, opened(dfd, pathname, op, ret), int dfd, struct filename *pathname, const struct open_flags *op, struct file *ret)
OPEN_FUNCTION(do_filp_open)
/* Its name in 7.x; so with all of the pairs below, and nothing else of them has changed. */
OPEN_FUNCTION(do_file_open)
/* open_by_handle_at() goes another way, without a name. Others that do so open files for the kernel. */
static __always_inline int opened_by_handle(const struct open_flags *op, struct file *ret)
{
	struct call call;

	if (!wanted_here(KIND_OPEN) || current_call(bpf_get_current_task_btf(), &call) != KIND_OPEN || call.shape != SHAPE_OPEN_BY_HANDLE)
		return 0;
	return opened(AT_FDCWD, 0, op, ret);
}
FUNCTION_EXIT(open, do_file_open_root, opened_by_handle(op, ret), const struct path *root, const char *name, const struct open_flags *op, struct file *ret)

/*
 * What is kept of a name for the end of the call. Up to 6.18 the inner functions free the kernel's copy themselves, so it is the caller's
 * address; in 7.x it is the copy, which their callers free, and the caller's address is not in it any more. Before 5.15 some of them
 * were given no copy but the address itself, which is told from a kernel object by its upper half.
 */
static __always_inline const void *kept_name(struct pending *p, struct filename *name)
{
	if ((s64)number_of(name) >= 0)
		return name;
	if (bpf_core_field_exists(struct filename, uptr))
		return LOAD(struct filename, name, uptr);
	p->kernel_names = 1;
	return LOAD(struct filename, name, name);
}

/* A call on names begins: remember its arguments for its end. */
static __always_inline struct pending *names_begin(u32 kind, s32 dirfd, struct filename *name, s32 dirfd2, struct filename *name2)
{
	u64 id = bpf_get_current_pid_tgid();
	struct pending *p;

	if (!wanted_here(kind))
		return 0;
	p = pending_new(id);
	if (!p)
		return 0;
	p->kind = kind;
	p->dirfd = dirfd;
	p->dirfd2 = dirfd2;
	p->user_name = kept_name(p, name);
	p->user_name2 = kept_name(p, name2);
	return p;
}

static __always_inline struct pending *pending_of(u32 kind)
{
	u64 id = bpf_get_current_pid_tgid();
	struct pending *p = bpf_map_lookup_elem(&pending, &id);

	return p && p->kind == kind ? p : 0;
}

/* The security hook of the call: what the kernel is about to change. */
static __always_inline void saw_object(struct pending *p, u32 role, struct dentry *dentry, struct vfsmount *mnt, u32 open_flags)
{
	struct filter *filter = get_filter(p->kind);
	bool always = p->kind == KIND_RENAME || p->kind == KIND_LINK;
	enum verdict v;

	if (!filter)
		return;
	v = approve(p->kind, dentry, mnt, open_flags);
	p->seen = 1;
	if (v != REJECT)
		p->approved = 1;
	if (v != REJECT || always)
		send_object(p->call, role, p->kind, number_of(dentry), number_of(mnt));
}

SUBPROGRAM int names_end(u32 kind, s64 ret)
{
	struct task_struct *task = bpf_get_current_task_btf();
	u64 id = bpf_get_current_pid_tgid();
	struct settings *s = get_settings();
	struct pending *p = pending_of(kind);
	struct call_body *body;
	struct buffer *b;

	if (!p || !s)
		return 0;
	if (!wanted_result(s, ret) || (p->seen && !p->approved))
		goto out;
	b = call_begin(kind, call_flags(task), task, &body);
	if (!b)
		goto out;
	body->retval = ret;
	body->call = p->call;
	body->flags = p->flags;
	body->mode = p->mode;
	body->dirfd = p->dirfd;
	body->dirfd2 = p->dirfd2;
	if (kind == KIND_MKDIR && p->dentry) /* by now the new directory has its inode */
		put_file(b, SECTION_PATH, p->dentry, p->mnt);
	put_string(b, SECTION_ARG, p->user_name, p->kernel_names);
	if (!p->seen)
		put_base(b, SECTION_BASE, task, p->dirfd);
	if (p->user_name2) {
		put_string(b, SECTION_ARG2, p->user_name2, p->kernel_names);
		if (!p->seen)
			put_base(b, SECTION_BASE2, task, p->dirfd2);
	}
	send(b, RING_BULK);
out:
	bpf_map_delete_elem(&pending, &id);
	return 0;
}

static __always_inline int mkdir_begins(int dfd, struct filename *name, u16 mode)
{
	struct pending *p = names_begin(KIND_MKDIR, dfd, name, AT_FDCWD, 0);
	if (p)
		p->mode = mode;
	return 0;
}

static __always_inline int pair_begins(u32 kind, int dfd, struct filename *name, int dfd2, struct filename *name2, u32 flags)
{
	struct pending *p = names_begin(kind, dfd, name, dfd2, name2);
	if (p)
		p->flags = flags;
	return 0;
}

#define NAME_FUNCTION(event, kind, function)                                                                               \
	FUNCTION_ENTRY(event, function, names_begin(kind, dfd, name, AT_FDCWD, 0), int dfd, struct filename *name)         \
	FUNCTION_EXIT(event, function, names_end(kind, ret), int dfd, struct filename *name, int ret)
NAME_FUNCTION(unlink, KIND_UNLINK, do_unlinkat)
NAME_FUNCTION(unlink, KIND_UNLINK, filename_unlinkat)
NAME_FUNCTION(rmdir, KIND_RMDIR, do_rmdir)
NAME_FUNCTION(rmdir, KIND_RMDIR, filename_rmdir)

#define MKDIR_FUNCTION(function)                                                                       \
	FUNCTION_ENTRY(mkdir, function, mkdir_begins(dfd, name, mode), int dfd, struct filename *name, u16 mode) \
	FUNCTION_EXIT(mkdir, function, names_end(KIND_MKDIR, ret), int dfd, struct filename *name, u16 mode, int ret)
MKDIR_FUNCTION(do_mkdirat)
MKDIR_FUNCTION(filename_mkdirat)

#define PAIR_FUNCTION(event, kind, function)                                                                                     \
	FUNCTION_ENTRY(event, function, pair_begins(kind, dfd, from, dfd2, to, flags), int dfd, struct filename *from, int dfd2, \
		       struct filename *to, u32 flags)                                                                           \
	FUNCTION_EXIT(event, function, names_end(kind, ret), int dfd, struct filename *from, int dfd2, struct filename *to, u32 flags, int ret)
PAIR_FUNCTION(rename, KIND_RENAME, do_renameat2)
PAIR_FUNCTION(rename, KIND_RENAME, filename_renameat2)
PAIR_FUNCTION(link, KIND_LINK, do_linkat)
PAIR_FUNCTION(link, KIND_LINK, filename_linkat)

static __always_inline int object_of_path(u32 kind, const struct path *dir, struct dentry *dentry)
{
	struct pending *p = pending_of(kind);

	if (p)
		saw_object(p, ROLE_FILE, dentry, LOAD(struct path, dir, mnt), 0);
	return 0;
}

static __always_inline int object_of_mkdir(const struct path *dir, struct dentry *dentry)
{
	struct vfsmount *mnt = LOAD(struct path, dir, mnt);
	struct filter *filter = get_filter(KIND_MKDIR);
	struct pending *p = pending_of(KIND_MKDIR);

	if (!p || !filter)
		return 0;
	p->seen = 1;
	p->approved = approve(KIND_MKDIR, dentry, mnt, 0) != REJECT;
	p->dentry = dentry;
	p->mnt = mnt;
	return 0;
}

static __always_inline int objects_of_rename(const struct path *old_dir, struct dentry *old, const struct path *new_dir, struct dentry *new)
{
	struct pending *p = pending_of(KIND_RENAME);

	if (!p)
		return 0;
	saw_object(p, ROLE_FILE, old, LOAD(struct path, old_dir, mnt), 0);
	saw_object(p, ROLE_DESTINATION, new, LOAD(struct path, new_dir, mnt), 0);
	return 0;
}

static __always_inline int objects_of_link(struct dentry *old, const struct path *new_dir, struct dentry *new)
{
	struct pending *p = pending_of(KIND_LINK);
	struct vfsmount *mnt = LOAD(struct path, new_dir, mnt);

	if (!p)
		return 0;
	saw_object(p, ROLE_FILE, old, mnt, 0); /* both names are on one mount, or the call fails */
	saw_object(p, ROLE_DESTINATION, new, mnt, 0);
	return 0;
}

/* chmod and chown: the call begins at its security hook, where the attributes are still the old ones. */
static __always_inline int object_of_change(u32 kind, const struct path *path)
{
	struct filter *filter = wanted_here(kind);
	struct pending *p;

	if (!filter)
		return 0;
	p = pending_new(bpf_get_current_pid_tgid());
	if (!p)
		return 0;
	p->kind = kind;
	saw_object(p, ROLE_FILE, LOAD(struct path, path, dentry), LOAD(struct path, path, mnt), 0);
	return 0;
}

SECURITY_HOOK(unlink, path_unlink, security_path_unlink, object_of_path(KIND_UNLINK, dir, dentry), const struct path *dir, struct dentry *dentry)
SECURITY_HOOK(rmdir, path_rmdir, security_path_rmdir, object_of_path(KIND_RMDIR, dir, dentry), const struct path *dir, struct dentry *dentry)
SECURITY_HOOK(mkdir, path_mkdir, security_path_mkdir, object_of_mkdir(dir, dentry), const struct path *dir, struct dentry *dentry)
SECURITY_HOOK(rename, path_rename, security_path_rename, objects_of_rename(old_dir, old, new_dir, new), const struct path *old_dir, struct dentry *old, const struct path *new_dir,
	      struct dentry *new)
SECURITY_HOOK(link, path_link, security_path_link, objects_of_link(old, new_dir, new), struct dentry *old, const struct path *new_dir, struct dentry *new)
SECURITY_HOOK(chmod, path_chmod, security_path_chmod, object_of_change(KIND_CHMOD, path), const struct path *path)
SECURITY_HOOK(chown, path_chown, security_path_chown, object_of_change(KIND_CHOWN, path), const struct path *path)

/*
 * The end of a change of attributes. The arguments in the caller's words are in the registers of the system call (no io_uring operation
 * changes attributes).
 */
SUBPROGRAM int change_end(u32 kind, kptr path, s64 ret)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct filter *filter = wanted_here(kind);
	u64 id = bpf_get_current_pid_tgid();
	struct settings *s = get_settings();
	struct pending *p = pending_of(kind);
	const void *arg = 0, *arg2 = 0;
	struct call_body *body;
	struct buffer *b;
	struct call call = {}; /* it may be left as it is, and not every verifier sees that nobody looks then */

	if (!filter || !s)
		return 0;
	if (!wanted_result(s, ret) || (p && p->seen && !p->approved))
		goto out;
	if (!p && path && approve(kind, LOAD(struct path, path, dentry), LOAD(struct path, path, mnt), 0) == REJECT)
		goto out;
	b = call_begin(kind, call_flags(task), task, &body);
	if (!b)
		goto out;
	body->retval = ret;
	body->call = p ? p->call : 0;
	if (current_call(task, &call) == kind)
		change_arguments(&call, body, &arg, &arg2);
	if (!p && path)
		put_file(b, SECTION_PATH, LOAD(struct path, path, dentry), LOAD(struct path, path, mnt));
	put_string(b, SECTION_ARG, arg, false);
	if (!path)
		put_base(b, SECTION_BASE, task, body->dirfd);
	send(b, RING_BULK);
out:
	if (p)
		bpf_map_delete_elem(&pending, &id);
	return 0;
}

FUNCTION_EXIT(chmod, chmod_common, change_end(KIND_CHMOD, number_of(path), ret), const struct path *path, u16 mode, int ret)
FUNCTION_EXIT(chown, chown_common, change_end(KIND_CHOWN, number_of(path), ret), const struct path *path, u32 user, u32 group, int ret)
FUNCTION_EXIT(utimes, vfs_utimes, change_end(KIND_UTIMES, number_of(path), ret), const struct path *path, void *times, int ret)

/* A change of attributes that ended at its path: no object, but the attempt is an event when it was refused. */
static __always_inline int lookup_failed(long ret)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct call call = {};
	u8 kind;

	if (ret >= 0)
		return 0;
	kind = current_call(task, &call);
	if (kind != KIND_CHMOD && kind != KIND_CHOWN && kind != KIND_UTIMES)
		return 0;
	return change_end(kind, 0, ret);
}

FUNCTION_EXIT(chmod_and_chown_and_utimes, user_path_at, lookup_failed(ret), int dfd, const char *name, unsigned int flags, struct path *path, int ret)
/* Before 6.12. */
FUNCTION_EXIT(chmod_and_chown_and_utimes, user_path_at_empty, lookup_failed(ret), int dfd, const char *name, unsigned int flags, struct path *path, int *empty, int ret)

/*
 * The script of an exec: the security hook is called for the script first and then for its interpreter; at sched_process_exec only the
 * interpreter is left. It is sent ahead and joined by thread.
 */
static __always_inline int exec_checked(struct linux_binprm *bprm)
{
	struct task_struct *task = bpf_get_current_task_btf();
	const char *filename = LOAD(struct linux_binprm, bprm, filename), *interp = LOAD(struct linux_binprm, bprm, interp);
	struct file *file = LOAD(struct linux_binprm, bprm, file);
	struct buffer *b;
	char head[2] = {};

	/* Only a file that begins with "#!" will be followed by its interpreter; binfmt_misc is told by its interpreter alone. */
	bpf_probe_read_kernel(head, sizeof(head), ADDR(struct linux_binprm, bprm, buf));
	if (interp != filename || head[0] != '#' || head[1] != '!')
		return 0;
	b = record_begin(KIND_SCRIPT, 0, task);
	if (!b)
		return 0;
	put_file(b, SECTION_PATH, LOAD(struct file, file, f_path.dentry), LOAD(struct file, file, f_path.mnt));
	send(b, RING_VITAL);
	return 0;
}
SECURITY_HOOK(exec, bprm_check_security, security_bprm_check, exec_checked(bprm), struct linux_binprm *bprm)
