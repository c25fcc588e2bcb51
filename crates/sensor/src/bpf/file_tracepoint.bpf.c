/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * File calls in the tracepoint tier: for kernels that refuse trampolines and have no kprobes.
 *
 * tp_btf/sys_exit sees every system call end. A table says in one load whether any rule wants the call; if not, it returns. The entry is
 * not hooked at all: the registers still hold the arguments at the exit, and a second hook on every system call would double the
 * price. What is reported of an opened file comes from the descriptor, that is from the kernel's objects.
 *
 * For calls that change names or attributes the objects come from the kernel's own time stamps: since 6.13 each change of an inode's
 * ctime passes one of three tracepoints, in the caller's context, whatever the file system. A hook there costs nothing on reads,
 * and about as much as a table look-up on a first write. Where they are missing, only the caller's string is left, and the
 * event says so.
 */
#include "hook.h"

static __always_inline void open_arguments(const struct call *args, struct call_body *body, const void **path)
{
	struct open_how { u64 flags, mode, resolve; } how = {};

	*path = 0;
	switch (args->shape) {
	case SHAPE_OPEN:
		*path = (void *)args->a[0];
		body->flags = args->a[1];
		body->mode = args->a[2];
		break;
	case SHAPE_CREAT:
		*path = (void *)args->a[0];
		body->flags = 01101; /* O_CREAT | O_WRONLY | O_TRUNC */
		body->mode = args->a[1];
		break;
	case SHAPE_OPENAT:
		body->dirfd = args->a[0];
		*path = (void *)args->a[1];
		body->flags = args->a[2];
		body->mode = args->a[3];
		break;
	case SHAPE_OPENAT2:
		body->dirfd = args->a[0];
		*path = (void *)args->a[1];
		bpf_probe_read_user(&how, sizeof(how), (void *)args->a[2]);
		body->flags = how.flags;
		body->mode = how.mode;
		break;
	case SHAPE_OPEN_BY_HANDLE:
		body->flags = args->a[2];
		break;
	}
	if (!(body->flags & 020000100)) /* O_CREAT | __O_TMPFILE: else the argument means nothing */
		body->mode = 0;
}

SUBPROGRAM_ON_MEMORY int exit_of_open(const struct call *call)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct filter *filter = get_filter(KIND_OPEN);
	enum verdict verdict = APPROVE;
	struct call_body *body, head = { .dirfd = AT_FDCWD };
	struct dentry *dentry = 0;
	struct vfsmount *mnt = 0;
	struct file *file;
	struct buffer *b;
	const void *path;

	if (!call || !filter || !filter->enabled)
		return 0;
	open_arguments(call, &head, &path);
	if (call->ret >= 0) {
		file = file_of_fd(task, call->ret);
		if (file) {
			dentry = LOAD(struct file, file, f_path.dentry);
			mnt = LOAD(struct file, file, f_path.mnt);
			/* The caller can change its struct open_how after the call; the access mode is the file's. */
			if (call->shape == SHAPE_OPENAT2)
				head.flags |= LOAD(struct file, file, f_flags) & 02003;
			/* O_RDONLY is 0 and so never an approver's flag by itself. */
			verdict = approve_typed(KIND_OPEN, dentry, mnt, head.flags);
			if (verdict == REJECT)
				return 0;
		}
	}
	b = call_begin(KIND_OPEN, call->compat ? HEADER_COMPAT : 0, task, &body);
	if (!b)
		return 0;
	body->retval = call->ret;
	body->flags = head.flags;
	body->mode = head.mode;
	body->dirfd = head.dirfd;
	if (dentry) {
		put_inode(b, LOAD(struct dentry, dentry, d_inode), mnt);
		put_path(b, SECTION_PATH, dentry, mnt);
		if (verdict == APPROVE_IF_PATH && !approve_path(b, KIND_OPEN, head.flags)) {
			buffer_release(b);
			return 0;
		}
	}
	put_string(b, SECTION_ARG, path, false);
	if (!dentry)
		put_base(b, SECTION_BASE, task, head.dirfd);
	send(b, RING_BULK);
	return 0;
}

/*
 * The mount of the caller's namespace through which `dentry` is seen: that of its root directory, where the file system is the same, else the
 * first whose root is above it. The first of all is not good enough: a container that has the host's root mounted has its own a second time.
 */
struct mount_search {
	struct dentry *dentry;
	struct mount *mnt, *found, *passed;
	struct mnt_namespace *ns;
	struct list_head *list;
	u32 skip;
};

struct ancestor_search { struct dentry *dentry, *root; bool found; };
STEP long ancestor_step(u32 i, void *ctx)
{
	struct ancestor_search *s = ctx;
	struct dentry *parent;

	if (s->dentry == s->root) {
		s->found = true;
		return 1;
	}
	parent = LOAD(struct dentry, s->dentry, d_parent);
	if (parent == s->dentry)
		return 1;
	s->dentry = parent;
	return 0;
}

/* The mounts of a file system: since 6.18 each leads to the next, before they are a list whose head is the file system's. */
static __always_inline struct mount *next_mount(struct mount *mnt, struct list_head *list)
{
	struct list_head *next;

	if (bpf_core_field_exists(struct mount, mnt_next_for_sb))
		return LOAD(struct mount, mnt, mnt_next_for_sb);
	next = LOAD(struct mount___list, mnt, mnt_instance.next);
	return next == list ? 0 : (void *)next - bpf_core_field_offset(struct mount___list, mnt_instance);
}

static __always_inline struct mount *first_mount(struct super_block *sb, struct list_head *list)
{
	struct list_head *first;

	if (bpf_core_field_exists(struct mount, mnt_next_for_sb))
		return LOAD(struct super_block, sb, s_mounts);
	first = LOAD(struct list_head, list, next);
	return first == list ? 0 : (void *)first - bpf_core_field_offset(struct mount___list, mnt_instance);
}

static __always_inline bool is_in_mount(struct dentry *dentry, struct mount *mnt)
{
	struct ancestor_search up = { .dentry = dentry, .root = LOAD(struct mount, mnt, mnt.mnt_root) };

	LOOP(512, 48, ancestor_step, &up);
	return up.found;
}

STEP long mount_step(u32 i, void *ctx)
{
	struct mount_search *s = ctx;

	if (!s->mnt)
		return 1;
	if (s->mnt != s->passed && LOAD(struct mount, s->mnt, mnt_ns) == s->ns) {
		if (is_in_mount(s->dentry, s->mnt)) {
			if (!s->skip) {
				s->found = s->mnt;
				return 1;
			}
			s->skip--;
		}
	}
	s->mnt = next_mount(s->mnt, s->list);
	return 0;
}

SUBPROGRAM u64 mount_of(kptr dentry_, u32 skip)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct dentry *dentry = (void *)dentry_;
	struct nsproxy *ns = LOAD(struct task_struct, task, nsproxy);
	struct super_block *sb = LOAD(struct dentry, dentry, d_sb);
	struct mount_search s = { .dentry = dentry, .skip = skip };
	struct fs_struct *fs = LOAD(struct task_struct, task, fs);
	struct vfsmount *root;

	if (!ns)
		return 0;
	root = fs ? LOAD(struct fs_struct, fs, root.mnt) : 0;
	if (root && LOAD(struct mount, real_mount(root), mnt.mnt_sb) == sb && is_in_mount(dentry, real_mount(root))) {
		if (!skip)
			return number_of(root);
		s.passed = real_mount(root);
		s.skip--;
	}
	s.ns = LOAD(struct nsproxy, ns, mnt_ns);
	if (!bpf_core_field_exists(struct mount, mnt_next_for_sb))
		s.list = ADDR(struct super_block___list, sb, s_mounts);
	s.mnt = first_mount(sb, s.list);
	LOOP(256, 16, mount_step, &s);
	return s.found ? number_of(ADDR(struct mount, s.found, mnt)) : 0;
}

static __always_inline bool has_two_names(u32 kind)
{
	return kind == KIND_RENAME || kind == KIND_LINK;
}

enum { STACKED_PERHAPS = 1, STACKED = 2 };
enum looked { LOOKED_APPROVED = 1, LOOKED_AT = 2, LOOKED_DIR = 4, LOOKED_STACKED = 8 };

/* Where a dentry has its place in the list of its inode's names. */
static __always_inline u32 alias_offset(void)
{
	if (bpf_core_field_exists(struct dentry, d_u.d_alias))
		return bpf_core_field_offset(struct dentry, d_u.d_alias);
	return bpf_core_field_offset(struct dentry___nameless, d_alias);
}

/* The names of `inode`, each through up to two mounts. Sends those that may matter and says what was seen. */
SUBPROGRAM int send_names(u64 call, u32 role, u32 kind, kptr inode)
{
	struct hlist_node *node = LOAD(struct inode, inode, i_dentry.first);
	struct super_block *sb = LOAD(struct inode, inode, i_sb);
	bool always = has_two_names(kind);
	int looked = 0;

	if ((LOAD(struct inode, inode, i_mode) & S_IFMT) == S_IFDIR)
		looked |= LOOKED_DIR;
	if (LOAD(struct super_block, sb, s_stack_depth) > 0)
		looked |= LOOKED_STACKED;

	for (int i = 0; i < 3 && node; i++) {
		struct dentry *dentry = (void *)node - alias_offset();

		for (int skip = 0; skip < 2; skip++) {
			struct vfsmount *mnt = (void *)mount_of(number_of(dentry), skip);
			enum verdict v;
			if (!mnt)
				break;
			v = approve(kind, dentry, mnt, 0);
			looked |= LOOKED_AT;
			if (v != REJECT)
				looked |= LOOKED_APPROVED;
			if (v != REJECT || always)
				send_object(call, role, kind, number_of(dentry), (kptr)mnt);
		}
		node = LOAD(struct hlist_node, node, next);
	}
	return looked;
}

static __always_inline void note_look(struct pending *p, int looked)
{
	if (looked & LOOKED_STACKED)
		p->stacked = STACKED;
	if (looked & LOOKED_APPROVED)
		p->approved = 1;
	if (looked & LOOKED_AT) {
		if (looked & LOOKED_DIR)
			p->dirs++;
		else
			p->files++;
	}
}

/*
 * Whether the objects that were looked at include the one that the call is about, so that what no approver wants may be dropped. The parent
 * directories change, too, and some file systems stamp only them. A stacked file system (overlay) changes what is below it, under
 * other names, and may leave its own inode as it is: then user space decides.
 */
static __always_inline bool saw_the_object(const struct pending *p, u32 kind)
{
	if (p->stacked)
		return false;
	switch (kind) {
	case KIND_UNLINK: case KIND_LINK: return p->files > 0;
	case KIND_RMDIR: return p->dirs > 1;
	case KIND_MKDIR: return p->dirs > 0; /* the one above is left out */
	case KIND_RENAME: return p->files > 0 || p->dirs > 1;
	default: return p->files + p->dirs > 0;
	}
}

#define PROC_SUPER_MAGIC 0x9fa0

/*
 * Whether a call of this kind is about such an inode. One that has no name yet is being made: by mkdir, which is about nothing else, or
 * because the way to the file leads through /proc, where each look-up may make inodes and set their times. There are so many of those
 * that no place would be left for the file.
 */
static __always_inline bool is_concerned(u32 kind, struct inode *inode)
{
	struct super_block *sb = LOAD(struct inode, inode, i_sb);
	bool has_name = LOAD(struct inode, inode, i_dentry.first) != 0;

	if (kind != KIND_MKDIR)
		return has_name;
	if (has_name) /* the directory above; if it is a stacked file system's, that has to be known */
		return LOAD(struct super_block, sb, s_stack_depth) > 0;
	return LOAD(struct super_block, sb, s_magic) != PROC_SUPER_MAGIC;
}

SUBPROGRAM int inode_changed_in(u32 kind, kptr inode)
{
	u64 id = bpf_get_current_pid_tgid();
	struct pending *p;

	if (!wanted_here(kind))
		return 0;
	if (!is_concerned(kind, (void *)inode))
		return 0;
	p = bpf_map_lookup_elem(&pending, &id);
	if (!p || p->kind != kind) {
		p = pending_new(id);
		if (!p)
			return 0;
		p->kind = kind;
	}
	for (int i = 0; i < PENDING_INODES; i++)
		if (i < p->inodes && p->inode[i] == inode)
			return 0;
	if (p->inodes >= PENDING_INODES) {
		if (!p->stacked)
			p->stacked = STACKED_PERHAPS; /* more than a call on a plain file system changes: decide nothing here */
		return 0;
	}
	p->inode[p->inodes & (PENDING_INODES - 1)] = inode;
	p->inodes++;
	if (kind == KIND_MKDIR) /* nothing has its name yet */
		return 0;
	note_look(p, send_names(p->call, ROLE_BEFORE, kind, inode));
	return 0;
}

/* An inode's ctime is being set: part of the system call that the caller is in, if a rule wants that. */
static __always_inline int inode_changed(struct inode *inode)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct pt_regs *regs = (void *)bpf_task_pt_regs(task);
	bool compat;
	u8 shape;
	u8 kind = wanted_call(regs, &shape, &compat);

	if (kind <= KIND_OPEN)
		return 0;
	return inode_changed_in(kind, number_of(inode));
}

SEC("tp_btf/inode_set_ctime_to_ts")
int BPF_PROG(ctime_set, struct inode *inode) { return inode_changed(inode); }
SEC("tp_btf/ctime_ns_xchg")
int BPF_PROG(ctime_exchanged, struct inode *inode) { return inode_changed(inode); }
SEC("tp_btf/ctime_xchg_skip")
int BPF_PROG(ctime_kept, struct inode *inode) { return inode_changed(inode); }

SUBPROGRAM_ON_MEMORY int exit_of_change(const struct call *call)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct filter *filter;
	u64 id = bpf_get_current_pid_tgid();
	const void *path = 0, *path2 = 0;
	struct call_body *body;
	struct file *file = 0;
	bool stacked = false;
	u64 number = 0;
	struct pending *p;
	struct buffer *b;
	s32 fd;
	u8 kind;

	if (!call)
		return 0;
	kind = call->kind;
	filter = get_filter(kind);
	if (!filter || !filter->enabled)
		return 0;
	p = bpf_map_lookup_elem(&pending, &id);
	if (p && p->kind != kind)
		p = 0;
	if (p && call->ret >= 0) {
		/* Now the new names are there. */
		if (kind == KIND_MKDIR || has_two_names(kind)) {
			for (int i = 0; i < PENDING_INODES; i++) {
				if (i >= p->inodes)
					break;
				note_look(p, send_names(p->call, ROLE_AFTER, kind, p->inode[i]));
			}
		}
	}
	/* Where the objects were seen for sure the approvers have decided, whatever came of the call. */
	if (p && !p->approved && (p->seen || (call->ret >= 0 && saw_the_object(p, kind)))) {
		bpf_map_delete_elem(&pending, &id);
		return 0;
	}
	if (p) {
		number = p->call;
		stacked = p->stacked == STACKED;
		bpf_map_delete_elem(&pending, &id);
	}
	b = call_begin(kind, call->compat ? HEADER_COMPAT : 0, task, &body);
	if (!b)
		return 0;
	body->retval = call->ret;
	body->call = number;
	body->stacked = stacked;
	fd = change_arguments(call, body, &path, &path2);
	if (fd >= 0)
		file = file_of_fd(task, fd);
	if (file) {
		struct dentry *dentry = LOAD(struct file, file, f_path.dentry);
		struct vfsmount *mnt = LOAD(struct file, file, f_path.mnt);
		if (approve(kind, dentry, mnt, body->flags) == REJECT) {
			buffer_release(b);
			return 0;
		}
		put_file(b, SECTION_PATH, dentry, mnt);
	} else {
		put_string(b, SECTION_ARG, path, false);
		put_base(b, SECTION_BASE, task, body->dirfd);
	}
	if (path2) {
		put_string(b, SECTION_ARG2, path2, false);
		if (has_two_names(kind))
			put_base(b, SECTION_BASE2, task, body->dirfd2);
	}
	send(b, RING_BULK);
	return 0;
}

/* All system calls end here; those that no rule wants at the table. The events of files are told at once, the others by their own programs. */
SEC("tp_btf/sys_exit")
int BPF_PROG(sys_exit, struct pt_regs *regs, long ret)
{
	struct settings *s;
	struct call call;

	call.kind = wanted_call(regs, &call.shape, &call.compat);
	if (!call.kind)
		return 0;
	s = get_settings();
	if (!s || own_task(s))
		return 0;
	call.ret = ret;
	if (!wanted_result(s, ret) && !goes_on(call.kind, ret)) {
		u64 id = bpf_get_current_pid_tgid();
		if (call.kind > KIND_OPEN)
			bpf_map_delete_elem(&pending, &id);
		return 0;
	}
	if (call.kind > KIND_OBJECT) {
		bpf_tail_call(ctx, &exits, call.kind);
		return 0;
	}
	arguments(&call, regs);
	if (call.kind == KIND_OPEN && call.shape != SHAPE_TRUNCATE && call.shape != SHAPE_FTRUNCATE)
		return exit_of_open(&call);
	return exit_of_change(&call);
}

/* Attached only while a rule wants an event that must be seen before the call. */
SEC("tp_btf/sys_enter")
int BPF_PROG(sys_enter, struct pt_regs *regs, long id)
{
	struct settings *s;
	bool compat;
	u8 shape;
	u8 kind = wanted_call(regs, &shape, &compat);

	if (kind <= KIND_OBJECT)
		return 0;
	s = get_settings();
	if (s && !own_task(s))
		bpf_tail_call(ctx, &entries, kind);
	return 0;
}
