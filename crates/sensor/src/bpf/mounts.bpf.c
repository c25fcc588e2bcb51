/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * Mounts: by mount(2), and by the calls that make one without a place (fsmount, open_tree) and move it there (move_mount).
 *
 * Told at the end of the call, in every tier, from the kernel's mount: that of the descriptor which the call gave or was given, or the one
 * that now lies on the directory which the security hook saw. Where no security hook can be hooked (tracepoint tier), what mount(2) has made
 * is the newest mount of the caller's namespace: another mount there in the same moment would be told instead. A mount that was there
 * before and is moved by its path is told by the caller's words in that tier, and the event says so.
 */
#include "hook.h"

#define MS_REMOUNT 32
#define MS_BIND 4096
#define MS_MOVE 8192
#define MS_PROPAGATION (0xf << 17) /* MS_UNBINDABLE, MS_PRIVATE, MS_SLAVE, MS_SHARED */
#define OPEN_TREE_CLONE 1
#define MOVE_MOUNT_F_EMPTY_PATH 4
#define MOVE_MOUNT_SET_GROUP 0x100

/* What the security hook has seen: the place, and for move_mount the mount. As long as the call. */
struct mount_place { struct dentry *dentry; struct vfsmount *mnt; struct vfsmount *moved; };
struct { __uint(type, BPF_MAP_TYPE_LRU_HASH); __uint(max_entries, 512); __type(key, u64); __type(value, struct mount_place); } mount_places SEC(".maps");

static __always_inline int mount_checked(const struct path *from, const struct path *place)
{
	u64 id = bpf_get_current_pid_tgid();
	struct mount_place seen = {
		.dentry = LOAD(struct path, place, dentry),
		.mnt = LOAD(struct path, place, mnt),
		.moved = from ? LOAD(struct path, from, mnt) : 0,
	};

	if (wanted_here(KIND_MOUNT))
		bpf_map_update_elem(&mount_places, &id, &seen, BPF_ANY);
	return 0;
}
SECURITY_HOOK(mount, sb_mount, security_sb_mount, mount_checked(0, path), const char *dev_name, const struct path *path)
SECURITY_HOOK(mount, move_mount, security_move_mount, mount_checked(from_path, to_path), const struct path *from_path, const struct path *to_path)

/* The mount on a directory; the newest are the last of its parent's. */
static __always_inline struct mount *mounted_on(struct mount *parent, struct dentry *dentry)
{
	struct list_head *head = ADDR(struct mount, parent, mnt_mounts);
	struct list_head *node = LOAD(struct list_head, head, prev);

	for (int i = 0; i < 8 && node != head; i++) {
		struct mount *child = (void *)node - bpf_core_field_offset(struct mount, mnt_child);
		if (LOAD(struct mount, child, mnt_mountpoint) == dentry)
			return child;
		node = LOAD(struct list_head, node, prev);
	}
	return 0;
}

static __always_inline struct mount *newest_of(struct mnt_namespace *ns)
{
	struct rb_node *node = 0;

	if (bpf_core_field_exists(struct mnt_namespace___tree, mnt_last_node)) { /* 6.14 */
		node = LOAD(struct mnt_namespace___tree, ns, mnt_last_node);
	} else if (bpf_core_field_exists(struct mnt_namespace___tree, mounts)) { /* 6.8: in the order of numbers that are never used again */
		node = LOAD(struct mnt_namespace___tree, ns, mounts.rb_node);
		for (int i = 0; i < 24 && node; i++) {
			struct rb_node *next = LOAD(struct rb_node, node, rb_right);
			if (!next)
				break;
			node = next;
		}
	} else if (bpf_core_field_exists(struct mnt_namespace___list, list)) {
		struct list_head *head = ADDR(struct mnt_namespace___list, ns, list);
		struct list_head *last = LOAD(struct list_head, head, prev);
		return last == head ? 0 : (void *)last - bpf_core_field_offset(struct mount, mnt_list);
	}
	return node ? (void *)node - bpf_core_field_offset(struct mount___tree, mnt_node) : 0;
}

static __always_inline struct mount *mount_of_fd(struct task_struct *task, u32 fd)
{
	struct file *file = file_of_fd(task, fd);

	return file ? real_mount(LOAD(struct file, file, f_path.mnt)) : 0;
}

static __always_inline struct mount *mount_made(const struct call *call, struct task_struct *task, const struct mount_place *place)
{
	struct mount *mnt;
	struct nsproxy *ns;

	if (call->ret < 0)
		return 0;
	switch (call->shape) {
	case SHAPE_MOVE_MOUNT:
		if (place && place->moved)
			return real_mount(place->moved);
		return (call->a[4] & MOVE_MOUNT_F_EMPTY_PATH) && is_empty_text((void *)call->a[1]) ? mount_of_fd(task, call->a[0]) : 0;
	case SHAPE_MOUNT:
		if (place) {
			mnt = mounted_on(real_mount(place->mnt), place->dentry);
			if (mnt)
				return mnt;
		}
		ns = LOAD(struct task_struct, task, nsproxy);
		return ns && !(call->a[3] & MS_MOVE) ? newest_of(LOAD(struct nsproxy, ns, mnt_ns)) : 0;
	}
	return mount_of_fd(task, call->ret);
}

/* Whether the call made a mount or moved one, or would have; others change what is there. */
static __always_inline bool makes_mount(const struct call *call)
{
	switch (call->shape) {
	case SHAPE_MOUNT: return !(call->a[3] & (MS_REMOUNT | MS_PROPAGATION));
	case SHAPE_MOVE_MOUNT: return !(call->a[4] & MOVE_MOUNT_SET_GROUP);
	case SHAPE_FSMOUNT: return true;
	}
	return call->a[2] & OPEN_TREE_CLONE;
}

/* One step outwards, within the file system. */
STEP long root_step(u32 i, void *ctx)
{
	struct buffer *b = ((struct walk *)ctx)->b;
	struct dentry *dentry = b->dentry, *parent = LOAD(struct dentry, dentry, d_parent);
	u32 off = b->off;
	long n;

	barrier_var(off);
	if (parent == dentry || off > BUFFER_DATA - 1 || off - b->path_start > PATH_BUDGET)
		return 1;
	n = bpf_probe_read_kernel_str(&b->data[off], NAME_MAX_LEN, LOAD(struct dentry, dentry, d_name.name));
	if (n < 0)
		return 1;
	b->off = off + n;
	b->dentry = parent;
	return 0;
}

/* The way to a directory from the root of its file system, as a path section has it. */
SUBPROGRAM int put_root_of(buffer_ref ref, kptr dentry)
{
	struct buffer *b = buffer_of(ref);
	struct walk w = { .b = b };

	if (!b)
		return 0;
	section_begin(b, SECTION_BYTES);
	b->path_start = b->off;
	b->dentry = (void *)dentry;
	LOOP(256, 48, root_step, &w);
	section_end(b, 0);
	return 0;
}

/* What is known of a mount; `clone`: it shows a directory that another mount shows, too. */
static __always_inline void put_mount(struct buffer *b, struct mount_body *body, struct mount *mnt, bool clone)
{
	struct dentry *root = LOAD(struct mount, mnt, mnt.mnt_root);
	struct vfsmount *vfsmnt = ADDR(struct mount, mnt, mnt);
	struct vfsmount *source;

	body->mount_id = LOAD(struct mount, mnt, mnt_id);
	body->parent_mount_id = LOAD(struct mount, LOAD(struct mount, mnt, mnt_parent), mnt_id);
	put_file(b, SECTION_PATH, root, vfsmnt);
	put_root_of(ref_of(b), number_of(root));
	if (!clone)
		return;
	source = (void *)mount_of(number_of(root), 0);
	if (source == vfsmnt)
		source = (void *)mount_of(number_of(root), 1);
	if (!source)
		return;
	body->source_mount_id = LOAD(struct mount, real_mount(source), mnt_id);
	put_path(b, SECTION_PATH2, root, source);
}

SUBPROGRAM_ON_MEMORY int exit_of_mount(const struct call *call)
{
	struct task_struct *task = bpf_get_current_task_btf();
	const void *source = 0, *place_text = 0;
	u64 id = bpf_get_current_pid_tgid();
	struct mount_place *place;
	struct mount_body *body;
	s32 dirfd = AT_FDCWD;
	struct mount *mnt;
	struct buffer *b;
	bool clone;

	if (!call || !makes_mount(call))
		return 0;
	b = 0;
	body = EVENT_BEGIN(b, KIND_MOUNT, flags_of(call), call->ret, struct mount_body);
	if (!body)
		return 0;
	place = call->shape == SHAPE_MOUNT || call->shape == SHAPE_MOVE_MOUNT ? bpf_map_lookup_elem(&mount_places, &id) : 0;
	clone = call->shape == SHAPE_OPEN_TREE || call->shape == SHAPE_OPEN_TREE_ATTR;
	switch (call->shape) {
	case SHAPE_MOUNT:
		source = (void *)call->a[0];
		place_text = (void *)call->a[1];
		clone = call->a[3] & MS_BIND;
		bpf_probe_read_user_str(body->fs_type, sizeof(body->fs_type), (void *)call->a[2]);
		break;
	case SHAPE_MOVE_MOUNT:
		source = (void *)call->a[1];
		dirfd = call->a[2];
		place_text = (void *)call->a[3];
		break;
	case SHAPE_OPEN_TREE: case SHAPE_OPEN_TREE_ATTR:
		source = (void *)call->a[1];
		break;
	}
	mnt = mount_made(call, task, place);
	if (mnt)
		put_mount(b, body, mnt, clone);
	else if (place)
		put_path(b, SECTION_PATH, place->dentry, place->mnt);
	put_string(b, SECTION_ARG, source, false);
	if (place_text) {
		put_string(b, SECTION_ARG2, place_text, false);
		if (!mnt && !place) {
			body->by_argument = 1;
			put_base(b, SECTION_PATH, task, dirfd);
		}
	}
	send(b, RING_BULK);
	if (place)
		bpf_map_delete_elem(&mount_places, &id);
	return 0;
}
static __always_inline int mount_ended(const struct call *call) { return exit_of_mount(call); }
CALL_EXIT(mount, KIND_MOUNT, mount_ended)
SYSCALL_EXIT(mount, KIND_MOUNT, mount_ended, mount)
SYSCALL_EXIT(mount, KIND_MOUNT, mount_ended, fsmount)
SYSCALL_EXIT(mount, KIND_MOUNT, mount_ended, open_tree)
SYSCALL_EXIT(mount, KIND_MOUNT, mount_ended, open_tree_attr)
SYSCALL_EXIT(mount, KIND_MOUNT, mount_ended, move_mount)
