/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* Files: their path across mounts, their inode, and whether any rule could want them. */
#pragma once

#include "record.h"

#define PATH_BUDGET 6144
#ifdef LEGACY
#define PATH_DEPTH 128
#else
#define PATH_DEPTH 1024
#endif
#define NAME_MAX_LEN 256

static __always_inline struct mount *real_mount(struct vfsmount *mnt)
{
	return (void *)mnt - bpf_core_field_offset(struct mount, mnt);
}

/*
 * Whether the topmost mount of a tree hangs nowhere: unmounted lazily, or made by open_tree() or fsmount() and not moved to a place yet.
 * Such a one is in an anonymous namespace of its own, which has no number.
 */
static __always_inline bool hangs_nowhere(struct mount *mnt)
{
	struct mnt_namespace *ns = LOAD(struct mount, mnt, mnt_ns);

	if (!ns)
		return true;
	if (bpf_core_field_exists(struct ns_common___id, ns_id)) {
		struct ns_common___id *common = ADDR(struct mnt_namespace, ns, ns);
		return !BPF_CORE_READ(common, ns_id);
	}
	if (bpf_core_field_exists(struct mnt_namespace___seq, seq)) {
		struct mnt_namespace___seq *old = (void *)ns;
		return !BPF_CORE_READ(old, seq);
	}
	return false;
}

struct walk { struct buffer *b; };

/* One step outwards. A mount's root is skipped: its name is that of the directory it is mounted on. */
STEP long walk_step(u32 i, void *ctx)
{
	struct buffer *b = ((struct walk *)ctx)->b;
	struct dentry *dentry = b->dentry, *parent;
	struct mount *mnt = b->mnt;
	const unsigned char *name;
	u32 off = b->off;
	long n;

	parent = LOAD(struct dentry, dentry, d_parent);
	if (dentry == LOAD(struct mount, mnt, mnt.mnt_root)) {
		struct mount *up = LOAD(struct mount, mnt, mnt_parent);
		if (up == mnt) {
			if (hangs_nowhere(mnt))
				b->path_flags |= PATH_DETACHED;
			return 1;
		}
		b->dentry = LOAD(struct mount, mnt, mnt_mountpoint);
		b->mnt = up;
		return 0;
	}
	barrier_var(off);
	if (off > BUFFER_DATA - 1 || off - b->path_start > PATH_BUDGET) {
		b->path_flags |= PATH_TRUNCATED;
		return 1;
	}
	name = LOAD(struct dentry, dentry, d_name.name);
	n = bpf_probe_read_kernel_str(&b->data[off], NAME_MAX_LEN, name);
	if (n < 0) {
		b->path_flags |= PATH_TRUNCATED;
		return 1;
	}
	b->off = off + n;
	if (parent == dentry) { /* a root that is not the mount's: a memfd, or a tree whose root was cut off */
		b->path_flags |= PATH_DETACHED;
		return 1;
	}
	b->dentry = parent;
	return 0;
}

/* Appends a path section. */
SUBPROGRAM int put_path_of(buffer_ref ref, u16 tag, kptr dentry, kptr mnt)
{
	struct buffer *b = buffer_of(ref);
	struct walk w = { .b = b };
	long steps;

	if (!b)
		return 0;
	section_begin(b, tag);
	b->path_start = b->off;
	b->path_flags = 0;
	b->dentry = (void *)dentry;
	b->mnt = real_mount((void *)mnt);
	steps = LOOP(PATH_DEPTH, PATH_DEPTH, walk_step, &w);
	if (steps == PATH_DEPTH)
		b->path_flags |= PATH_TRUNCATED;
	section_end(b, b->path_flags);
	return 0;
}

static __always_inline void put_path(struct buffer *b, u16 tag, struct dentry *dentry, struct vfsmount *mnt)
{
	put_path_of(ref_of(b), tag, number_of(dentry), number_of(mnt));
}

struct hash { struct buffer *b; u64 h; };

STEP long hash_step(u32 i, void *ctx)
{
	struct hash *s = ctx;
	u32 at = s->b->path_start + i * 8;
	u64 w;

	barrier_var(at);
	if (at > BUFFER_DATA - 1)
		return 1;
	w = *(u64 *)&s->b->data[at & ~7u];
	s->h = (s->h ^ w) * 0x9E3779B97F4A7C15ull;
	s->h ^= s->h >> 29;
	return 0;
}

/* The hash of the path that put_path() has just written; user space computes the same from a rule's path. */
static __always_inline u64 path_hash(struct buffer *b, u32 *len)
{
	struct hash s = { .b = b, .h = 0 };
	u32 at = b->section;
	struct section *sec;

	barrier_var(at);
	if (at > BUFFER_DATA - 1)
		return 0;
	sec = (void *)&b->data[at];
	*len = sec->len;
	LOOP((*len + 7) / 8, PATH_BUDGET / 8 + NAME_MAX_LEN / 8, hash_step, &s);
	return s.h;
}

static __always_inline u64 seconds_and_ns(s64 sec, u64 ns)
{
	return (u64)sec * 1000000000ull + ns;
}

static __always_inline void inode_times(struct inode *inode, u64 *mtime, u64 *ctime)
{
	if (bpf_core_field_exists(struct inode, i_mtime_sec)) {
		*mtime = seconds_and_ns(LOAD(struct inode, inode, i_mtime_sec), LOAD(struct inode, inode, i_mtime_nsec));
		/* Bit 31 says that somebody asked for the time since it changed (multigrain timestamps, 6.13). */
		*ctime = seconds_and_ns(LOAD(struct inode, inode, i_ctime_sec), LOAD(struct inode, inode, i_ctime_nsec) & 0x7fffffff);
	} else if (bpf_core_field_exists(struct inode___mid, __i_mtime)) {
		struct inode___mid *i = (void *)inode;
		*mtime = seconds_and_ns(BPF_CORE_READ(i, __i_mtime.tv_sec), BPF_CORE_READ(i, __i_mtime.tv_nsec));
		*ctime = seconds_and_ns(BPF_CORE_READ(i, __i_ctime.tv_sec), BPF_CORE_READ(i, __i_ctime.tv_nsec));
	} else if (bpf_core_field_exists(struct inode___old, i_mtime)) {
		struct inode___old *i = (void *)inode;
		struct inode___old_ctime *c = (void *)inode;
		*mtime = seconds_and_ns(BPF_CORE_READ(i, i_mtime.tv_sec), BPF_CORE_READ(i, i_mtime.tv_nsec));
		if (bpf_core_field_exists(struct inode___old, i_ctime))
			*ctime = seconds_and_ns(BPF_CORE_READ(i, i_ctime.tv_sec), BPF_CORE_READ(i, i_ctime.tv_nsec));
		else if (bpf_core_field_exists(struct inode___old_ctime, __i_ctime)) /* 6.6 */
			*ctime = seconds_and_ns(BPF_CORE_READ(c, __i_ctime.tv_sec), BPF_CORE_READ(c, __i_ctime.tv_nsec));
	}
}

/* Appends what is known of an inode; `mnt` may be null. */
SUBPROGRAM int put_inode_of(buffer_ref ref, kptr inode_, kptr mnt)
{
	struct buffer *b = buffer_of(ref);
	struct inode *inode = (void *)inode_;
	struct super_block *sb;
	struct file_info *f;
	u32 dev;

	if (!b)
		return 0;
	section_begin(b, SECTION_FILE);
	f = reserve(b, sizeof(*f));
	if (f) {
		__builtin_memset(f, 0, sizeof(*f));
		sb = LOAD(struct inode, inode, i_sb);
		f->inode = LOAD(struct inode, inode, i_ino);
		dev = LOAD(struct super_block, sb, s_dev);
		f->dev = dev;
		inode_times(inode, &f->mtime_ns, &f->ctime_ns);
		f->mount_id = mnt ? LOAD(struct mount, real_mount((void *)mnt), mnt_id) : 0;
		f->uid = LOAD(struct inode, inode, i_uid.val);
		f->gid = LOAD(struct inode, inode, i_gid.val);
		f->nlink = LOAD(struct inode, inode, i_nlink);
		f->mode = LOAD(struct inode, inode, i_mode);
		bpf_probe_read_kernel_str(f->filesystem, sizeof(f->filesystem),
					  LOAD(struct file_system_type, LOAD(struct super_block, sb, s_type), name));
	}
	section_end(b, 0);
	return 0;
}

static __always_inline void put_inode(struct buffer *b, struct inode *inode, struct vfsmount *mnt)
{
	put_inode_of(ref_of(b), number_of(inode), number_of(mnt));
}

static __always_inline void put_file(struct buffer *b, u16 tag, struct dentry *dentry, struct vfsmount *mnt)
{
	struct inode *inode = LOAD(struct dentry, dentry, d_inode);

	if (inode)
		put_inode(b, inode, mnt);
	put_path(b, tag, dentry, mnt);
}

SUBPROGRAM int put_string_of(buffer_ref ref, u16 tag, u64 ptr, bool kernel)
{
	struct buffer *b = buffer_of(ref);
	u16 flags = kernel ? STRING_KERNEL : 0;
	u32 off;
	long n;

	if (!b || !ptr)
		return 0;
	section_begin(b, tag);
	off = b->off;
	barrier_var(off);
	if (off > BUFFER_DATA - 1)
		return 0;
	if (kernel)
		n = bpf_probe_read_kernel_str(&b->data[off], 4096, (void *)ptr);
	else
		n = bpf_probe_read_user_str(&b->data[off], 4096, (void *)ptr);
	if (n < 0) {
		flags |= STRING_FAULTED;
		n = 0;
	}
	if (n == 4096) { /* full: it is cut unless it just fits */
		char last = 0;
		if (kernel)
			bpf_probe_read_kernel(&last, 1, (void *)ptr + 4095);
		else
			bpf_probe_read_user(&last, 1, (void *)ptr + 4095);
		if (last)
			flags |= PATH_TRUNCATED;
	}
	b->off = off + n;
	section_end(b, flags);
	return 0;
}

static __always_inline void put_string(struct buffer *b, u16 tag, const void *ptr, bool kernel)
{
	put_string_of(ref_of(b), tag, number_of(ptr), kernel);
}

/* Approving. */

static __always_inline u64 name_bloom_bit(u64 first, u32 len)
{
	return ((first ^ ((u64)len << 56)) * 0x9E3779B97F4A7C15ull) >> 53;
}

struct name_ref { kptr ptr; u32 len; u32 bit; };

static __always_inline void name_of(struct dentry *dentry, struct name_ref *name)
{
	u64 first;

	/* As a number from the beginning: number_of() would cost stack, of which old kernels have just enough. */
	name->ptr = LOAD_U64(ADDR(struct dentry, dentry, d_name.name));
	name->len = LOAD(struct dentry, dentry, d_name.len);
	first = LOAD_U64(name->ptr); /* may reach past the name's end; what is there is masked away */
	if (name->len < 8)
		first &= (1ull << (name->len * 8)) - 1;
	name->bit = name_bloom_bit(first, name->len) & (BLOOM_WORDS * 64 - 1);
}

static __always_inline bool in_bloom(const u64 *bloom, u32 bit)
{
	return bloom[(bit >> 6) & (BLOOM_WORDS - 1)] & (1ull << (bit & 63));
}

/* A name's approver as one number, so that the verifier need not follow it: its flags above its open flags, or 0. */
SUBPROGRAM u64 find_name_of(u32 kind, u32 role, u64 ptr, u32 len)
{
	struct name_value *v;
	struct name_key key;

	__builtin_memset(&key, 0, sizeof(key));
	key.kind = kind;
	key.role = role;
	key.len = len;
	bpf_probe_read_kernel_str(key.name, sizeof(key.name), (void *)ptr);
	v = bpf_map_lookup_elem(&names, &key);
	return v ? (u64)v->flags << 32 | v->open_flags : 0;
}

static __always_inline u64 find_name(u32 kind, u32 role, const struct name_ref *name)
{
	return find_name_of(kind, role, name->ptr, name->len);
}

static __always_inline bool flags_fit(u64 found, u32 open_flags)
{
	return (found >> 32 & NAME_ANY_FLAGS) || ((u32)found & open_flags);
}

/* Steps from a mount's root to the directory it is mounted on, so that the dentry has the name that the path has. */
static __always_inline void leave_mount_roots(struct dentry **dentry, struct mount **mnt)
{
	for (int i = 0; i < 4; i++) { /* mounts upon mounts */
		struct mount *up;
		if (*dentry != LOAD(struct mount, *mnt, mnt.mnt_root))
			return;
		up = LOAD(struct mount, *mnt, mnt_parent);
		if (up == *mnt)
			return;
		*dentry = LOAD(struct mount, *mnt, mnt_mountpoint);
		*mnt = up;
	}
}

struct below { struct dentry *dentry; struct mount *mnt; const struct filter *filter; u32 open_flags; u8 kind; bool found, done; };

static __always_inline bool is_below(u8 kind, const struct filter *filter, struct dentry *dir, u32 open_flags)
{
	struct name_ref name;

	name_of(dir, &name);
	if (!in_bloom(filter->bloom_below, name.bit))
		return false;
	return flags_fit(find_name(kind, APPROVE_BELOW, &name), open_flags);
}

/* Looks at one directory and goes to the next above, across mounts. */
STEP long below_step(u32 i, void *ctx)
{
	struct below *s = ctx;
	struct dentry *parent;

	leave_mount_roots(&s->dentry, &s->mnt);
	s->found = is_below(s->kind, s->filter, s->dentry, s->open_flags);
	parent = LOAD(struct dentry, s->dentry, d_parent);
	s->done = parent == s->dentry;
	s->dentry = parent;
	return s->found || s->done;
}

#define NEAR_DIRECTORIES 6

/* Whether a directory above is one that a rule wants all of. */
static __always_inline bool approve_below(u8 kind, const struct filter *filter, struct dentry *dir, struct mount *mnt, u32 open_flags, bool near)
{
	struct dentry *root = LOAD(struct mount, mnt, mnt.mnt_root);

	/* Most files are a few directories below the root of their mount, and that mount is the root: a plain loop, half as dear as a callback. */
	for (int i = 0; near && i < NEAR_DIRECTORIES; i++) {
		if (dir == root)
			break;
		if (is_below(kind, filter, dir, open_flags))
			return true;
		dir = LOAD(struct dentry, dir, d_parent);
	}
	if (near && dir == root && LOAD(struct mount, mnt, mnt_parent) == mnt)
		return is_below(kind, filter, dir, open_flags); /* "/" */

	struct below s = { .dentry = dir, .mnt = mnt, .filter = filter, .open_flags = open_flags, .kind = kind };
	LOOP(64, 24, below_step, &s);
	return s.found || !s.done; /* found, or deeper than we look */
}

enum verdict { REJECT = 0, APPROVE = 1, APPROVE_IF_PATH = 2 };

/*
 * Whether any rule can match a call of this kind on this file. Cheapest first: the open flags, the last name, its directory's name, the
 * directories above. Names alone may approve too much, never too little.
 */
static __always_inline enum verdict approve_inline(u32 kind, struct dentry *dentry, struct vfsmount *vfsmnt, u32 open_flags, bool near)
{
	struct filter *filter = get_filter(kind);
	struct mount *mnt = real_mount(vfsmnt);
	enum verdict verdict = REJECT;
	struct name_ref name;
	bool below;
	u64 found;

	if (!filter)
		return REJECT;
	if (filter->all || (filter->open_flags & open_flags))
		return APPROVE;
	if (!filter->roles)
		return REJECT;
	leave_mount_roots(&dentry, &mnt);
	if (filter->roles & (1 << APPROVE_LEAF)) {
		name_of(dentry, &name);
		if (in_bloom(filter->bloom, name.bit)) {
			found = find_name(kind, APPROVE_LEAF, &name);
			if (flags_fit(found, open_flags))
				return APPROVE;
			if (found >> 32 & NAME_CHECK_PATH)
				verdict = APPROVE_IF_PATH;
		}
	}
	below = (filter->roles & (1 << APPROVE_BELOW)) && (filter->below_any || (filter->below_open_flags & open_flags));
	if (below || (filter->roles & (1 << APPROVE_CHILD))) {
		dentry = LOAD(struct dentry, dentry, d_parent);
		leave_mount_roots(&dentry, &mnt);
	}
	if (filter->roles & (1 << APPROVE_CHILD)) {
		name_of(dentry, &name);
		if (in_bloom(filter->bloom, name.bit)) {
			found = find_name(kind, APPROVE_CHILD, &name);
			if (flags_fit(found, open_flags))
				return APPROVE;
		}
	}
	if (below && approve_below(kind, filter, dentry, mnt, open_flags, near))
		return APPROVE;
	return verdict;
}

/* For opens, where each nanosecond is paid by everybody. */
static __noinline __attribute__((unused)) enum verdict approve_typed(u32 kind, struct dentry *dentry, struct vfsmount *mnt, u32 open_flags)
{
	return approve_inline(kind, dentry, mnt, open_flags, true);
}

/* The same for calls that are rare enough that two more reads and a callback do not matter. */
SUBPROGRAM int approve_object(u32 kind, kptr dentry, kptr mnt, u32 open_flags)
{
	return approve_inline(kind, (void *)dentry, (void *)mnt, open_flags, false);
}

static __always_inline enum verdict approve(u32 kind, struct dentry *dentry, struct vfsmount *mnt, u32 open_flags)
{
	return approve_object(kind, number_of(dentry), number_of(mnt), open_flags);
}

/* For APPROVE_IF_PATH, after put_path(). */
SUBPROGRAM int approve_path_of(buffer_ref ref, u32 kind, u32 open_flags)
{
	struct buffer *b = buffer_of(ref);
	struct path_key key = { .kind = kind };
	struct path_value *v;

	if (!b)
		return 0;
	key.hash = path_hash(b, &key.len);
	v = bpf_map_lookup_elem(&paths, &key);
	return v && (v->any_flags || (v->open_flags & open_flags));
}

static __always_inline bool approve_path(struct buffer *b, u32 kind, u32 open_flags)
{
	return approve_path_of(ref_of(b), kind, open_flags);
}
