/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * Building a record: a buffer is taken, filled, sent, and given back.
 *
 * The buffers are shared by all programs of a CPU. Programs on trampolines may be preempted by another task's on the same CPU, and
 * interrupts may come between, so a buffer is taken by an atomic operation; when all are taken the record is lost and counted.
 */
#pragma once

#include "budget.h"

#define BUFFER_DATA (1 << 15)
#define BUFFER_SLACK (1 << 13)
#ifdef LEGACY
#define BUFFERS_PER_CPU 6 /* with perf buffers they are held until the program ends */
#else
#define BUFFERS_PER_CPU 3
#endif
#define MAX_CPUS 512 /* before load; see the map */
#define NO_BUFFER 0xffffffffu

struct buffer {
	u32 taken; /* by how many, for those that try for it; one means: by its owner alone */
	u32 index; /* its own key */
	u32 outgoing; /* perf buffers: 1 + the ring that it waits for */
	u32 flushing;
	u32 off; /* end of what is written */
	u32 section; /* where the section being written starts */
	/* State of the walk in progress; kept here because the verifier follows map values more cheaply than the stack. */
	struct dentry *dentry;
	struct mount *mnt;
	u64 path_hash;
	u32 path_start;
	u32 path_flags;
	char data[BUFFER_DATA + BUFFER_SLACK];
};
/* max_entries is set to BUFFERS_PER_CPU for each possible CPU before load. */
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, BUFFERS_PER_CPU * MAX_CPUS); __type(key, u32); __type(value, struct buffer); } buffers SEC(".maps");

/* How buffers are passed to subprograms. */
#ifdef LEGACY
typedef u32 buffer_ref;
static __always_inline struct buffer *buffer_of(buffer_ref ref) { return bpf_map_lookup_elem(&buffers, &ref); }
static __always_inline buffer_ref ref_of(struct buffer *b) { return b->index; }
#else
typedef struct buffer *buffer_ref;
static __always_inline struct buffer *buffer_of(buffer_ref ref) { return ref; }
static __always_inline buffer_ref ref_of(struct buffer *b) { return b; }
#endif

/*
 * Takes a lock or leaves it; never waits. Everybody who tries adds one and looks: who sees one has it, and until he takes his one away all
 * others see more and take theirs back. (An atomic addition alone has been there always; one that tells the old value, since 5.12.)
 */
static __always_inline bool try_lock(u32 *lock)
{
	__sync_fetch_and_add(lock, 1);
	if (*(volatile u32 *)lock == 1)
		return true;
	__sync_fetch_and_add(lock, -1);
	return false;
}

static __always_inline void unlock(u32 *lock)
{
	barrier(); /* the compiler must not move the last writes past it */
	__sync_fetch_and_add(lock, -1);
}

static __always_inline struct buffer *buffer_take(u32 *index)
{
	u32 first = bpf_get_smp_processor_id() * BUFFERS_PER_CPU;

	for (u32 i = 0; i < BUFFERS_PER_CPU; i++) {
		u32 key = first + i;
		struct buffer *b = bpf_map_lookup_elem(&buffers, &key);
		if (b && try_lock(&b->taken)) {
			b->off = sizeof(struct record_header);
			b->index = key;
			*index = key;
			return b;
		}
	}
	return 0;
}

static __always_inline void buffer_release(struct buffer *b)
{
	unlock(&b->taken);
}

/* `len` bytes at the end of the record, or null when it is full. */
static __always_inline void *reserve(struct buffer *b, u32 len)
{
	u32 off = b->off;

	barrier_var(off);
	if (off > BUFFER_DATA - 1 || len > BUFFER_SLACK)
		return 0;
	b->off = off + len;
	return &b->data[off];
}

/* Pads to eight with zeroes: nothing of an older record leaks, and path_hash() can read whole words. */
static __always_inline void align8(struct buffer *b)
{
	u32 off = b->off;

	barrier_var(off);
	if (off < BUFFER_DATA)
		*(u64 *)&b->data[off] = 0;
	b->off = (b->off + 7) & ~7u;
}

static __always_inline u64 capability_set(const struct cred *cred, bool effective)
{
	/* One u64 since 6.3, two u32 before: the same sixteen bytes of little-endian. */
	u64 v = 0;
	if (effective)
		bpf_probe_read_kernel(&v, sizeof(v), ADDR(struct cred, cred, cap_effective));
	else
		bpf_probe_read_kernel(&v, sizeof(v), ADDR(struct cred, cred, cap_permitted));
	return v;
}

static __always_inline u64 dfl_cgroup_id(struct task_struct *task)
{
	struct css_set *css = LOAD(struct task_struct, task, cgroups);
	struct cgroup *cg = LOAD(struct css_set, css, dfl_cgrp);
	struct kernfs_node *kn = LOAD(struct cgroup, cg, kn);
	return LOAD(struct kernfs_node, kn, id);
}

/* The header of a record about `task`; the ring, sequence number and size are written by `send()`. */
static __always_inline void fill_header(struct record_header *h, u16 kind, u16 flags, struct task_struct *task)
{
	const struct cred *cred = LOAD(struct task_struct, task, cred);
	struct nsproxy *ns = LOAD(struct task_struct, task, nsproxy);

	h->kind = kind;
	h->flags = flags;
	h->time_ns = bpf_ktime_get_boot_ns();
	h->pid = LOAD(struct task_struct, task, tgid);
	h->tid = LOAD(struct task_struct, task, pid);
	h->cgroup_id = dfl_cgroup_id(task);
	h->mntns = h->netns = 0;
	if (ns) { /* null for a task that is on its way out */
		struct mnt_namespace *mnt = LOAD(struct nsproxy, ns, mnt_ns);
		struct net *net = LOAD(struct nsproxy, ns, net_ns);
		if (mnt)
			h->mntns = LOAD(struct mnt_namespace, mnt, ns.inum);
		if (net)
			h->netns = LOAD(struct net, net, ns.inum);
	}
	h->uid = LOAD(struct cred, cred, uid.val);
	h->gid = LOAD(struct cred, cred, gid.val);
	h->euid = LOAD(struct cred, cred, euid.val);
	h->egid = LOAD(struct cred, cred, egid.val);
	h->fsuid = LOAD(struct cred, cred, fsuid.val);
	h->fsgid = LOAD(struct cred, cred, fsgid.val);
	h->auid = bpf_core_field_exists(struct task_struct, loginuid) ? LOAD(struct task_struct, task, loginuid.val) : (u32)-1;
	h->start_low = LOAD(struct task_struct, LOAD(struct task_struct, task, group_leader), start_boottime);
	h->ppid = LOAD(struct task_struct, LOAD(struct task_struct, task, real_parent), tgid);
	h->session = bpf_core_field_exists(struct task_struct, sessionid) ? LOAD(struct task_struct, task, sessionid) : (u32)-1;
	h->cap_effective = capability_set(cred, true);
	h->cap_permitted = capability_set(cred, false);
	bpf_probe_read_kernel(h->comm, sizeof(h->comm), ADDR(struct task_struct, task, comm));
}

static __always_inline void count_loss(u64 cgroup_id, u32 kind)
{
	struct loss_key key = { .cgroup_id = cgroup_id, .kind = kind };
	u64 one = 1;
	u64 *n = bpf_map_lookup_elem(&losses, &key);

	if (!n && bpf_map_update_elem(&losses, &key, &one, BPF_NOEXIST)) {
		/* Another CPU was first, or the map is full: then the loss is charged to no cgroup. */
		n = bpf_map_lookup_elem(&losses, &key);
		if (!n) {
			key.cgroup_id = 0;
			n = bpf_map_lookup_elem(&losses, &key);
		}
		if (!n)
			bpf_map_update_elem(&losses, &key, &one, BPF_NOEXIST);
	}
	if (n)
		__sync_fetch_and_add(n, 1);
	count(kind, COUNTER_LOST);
}

/* Takes a buffer and writes the header; null (an index that no map has), and a counted loss, when all buffers are taken. */
SUBPROGRAM u64 record_index(u16 kind, u16 flags, kptr task)
{
	u32 index = 0;
	struct buffer *b = buffer_take(&index);

	if (!b) {
		count(kind, COUNTER_BUSY);
		count_loss(dfl_cgroup_id((void *)task), kind);
		return NO_BUFFER;
	}
	fill_header((void *)b->data, kind, flags, (void *)task);
	return index;
}

static __always_inline struct buffer *record_begin(u16 kind, u16 flags, struct task_struct *task)
{
	u32 index = record_index(kind, flags, number_of(task));

	return bpf_map_lookup_elem(&buffers, &index);
}

/* The next number of a ring on this CPU. */
static __always_inline u64 next_number(u32 ring)
{
	u64 *seq = bpf_map_lookup_elem(&seqs, &ring);

	if (!seq)
		return 0;
#ifdef LEGACY
	/*
	 * Two that interrupt each other here may get the same number, but each adds one: the highest number is how many there were, and that is
	 * what losses are told by.
	 */
	__sync_fetch_and_add(seq, 1);
	return *(volatile u64 *)seq;
#else
	/* Atomic: a program on a trampoline may be preempted between its load and its store. */
	return __sync_fetch_and_add(seq, 1) + 1;
#endif
}

static __always_inline void sent(struct buffer *b, long err)
{
	struct record_header *h = (void *)b->data;

	if (err)
		count_loss(h->cgroup_id, h->kind);
	else
		count(h->kind, COUNTER_SENT);
	buffer_release(b);
}

/* Puts the record into its ring and gives the buffer back. Readers wake by timer, never by us: a wake-up costs more than a record. */
SUBPROGRAM int send_buffer(buffer_ref ref, u32 ring)
{
	struct buffer *b = buffer_of(ref);
	struct record_header *h;
	u32 len;
	long err;

	if (!b)
		return 0;
	h = (void *)b->data;
	len = b->off;
	h->cpu = bpf_get_smp_processor_id();
	h->ring = ring;
	h->seq = next_number(ring);
	h->size = len;
#ifdef LEGACY
	if (use_perf) { /* it goes when the program ends: see flush() */
		b->outgoing = ring + 1;
		return 0;
	}
#endif
	barrier_var(len);
	if (len > BUFFER_DATA + BUFFER_SLACK)
		err = -1;
	else if (ring == RING_BULK && !within_budget(h->cgroup_id, len)) {
		err = -1;
		count(h->kind, COUNTER_OVER);
	} else if (ring == RING_VITAL)
		err = bpf_ringbuf_output(&vital, b->data, len, BPF_RB_NO_WAKEUP);
	else
		err = bpf_ringbuf_output(&bulk, b->data, len, BPF_RB_NO_WAKEUP);
	sent(b, err);
	return 0;
}

static __always_inline int send(struct buffer *b, u32 ring)
{
	return send_buffer(ref_of(b), ring);
}

#ifdef LEGACY
/*
 * A perf buffer takes records only together with the context that the program was called with, and subprograms cannot pass that on. So a
 * record that is sent waits in its buffer until the program is about to end: each program ends here, see BPF_PROG and BPF_KPROBE below.
 */
static __always_inline void flush(void *ctx)
{
	u32 first = bpf_get_smp_processor_id() * BUFFERS_PER_CPU;

	if (!use_perf)
		return;
	for (u32 i = 0; i < BUFFERS_PER_CPU; i++) {
		u32 key = first + i, len, outgoing;
		struct buffer *b = bpf_map_lookup_elem(&buffers, &key);
		long err = -1;

		/* A program that has interrupted another may find that one's records here: it sends them, and the other finds them gone. */
		if (!b || !b->outgoing || !try_lock(&b->flushing))
			continue;
		outgoing = b->outgoing;
		len = b->off;
		barrier_var(len);
		/* One comparison: of two the compiler makes one with `len - 1`, which says nothing of `len` to the verifier before 6.18. */
		if (len <= BUFFER_DATA + BUFFER_SLACK) {
			if (outgoing == RING_VITAL + 1)
				err = bpf_perf_event_output(ctx, &vital, BPF_F_CURRENT_CPU, b->data, len);
			else if (outgoing == RING_BULK + 1)
				err = bpf_perf_event_output(ctx, &bulk, BPF_F_CURRENT_CPU, b->data, len);
		}
		b->outgoing = 0;
		unlock(&b->flushing);
		if (outgoing)
			sent(b, err);
	}
}

#define UNPACKED(name, end, args...)                                                 \
name(unsigned long long *ctx);                                                       \
static __always_inline __typeof__(name(0)) ____##name(unsigned long long *ctx, ##args); \
__typeof__(name(0)) name(unsigned long long *ctx)                                    \
{                                                                                    \
	_Pragma("GCC diagnostic push")                                               \
	_Pragma("GCC diagnostic ignored \"-Wint-conversion\"")                       \
	__typeof__(name(0)) __ret = ____##name(___bpf_ctx_cast(args));               \
	_Pragma("GCC diagnostic pop")                                                \
	end;                                                                         \
	return __ret;                                                                \
}                                                                                    \
static __always_inline __typeof__(name(0)) ____##name(unsigned long long *ctx, ##args)

/* libbpf's macro, with the flush at the end. */
#undef BPF_PROG
#define BPF_PROG(name, args...) UNPACKED(name, flush(ctx), ##args)
/* The same for what is no program but called by one. */
#define BPF_BODY(name, args...) UNPACKED(name, , ##args)

#undef BPF_KPROBE
#define BPF_KPROBE(name, args...)                                                    \
name(struct pt_regs *ctx);                                                           \
static __always_inline __typeof__(name(0)) ____##name(struct pt_regs *ctx, ##args);  \
__typeof__(name(0)) name(struct pt_regs *ctx)                                        \
{                                                                                    \
	_Pragma("GCC diagnostic push")                                               \
	_Pragma("GCC diagnostic ignored \"-Wint-conversion\"")                       \
	__typeof__(name(0)) __ret = ____##name(___bpf_kprobe_args(args));            \
	_Pragma("GCC diagnostic pop")                                                \
	flush(ctx);                                                                  \
	return __ret;                                                                \
}                                                                                    \
static __always_inline __typeof__(name(0)) ____##name(struct pt_regs *ctx, ##args)
#else
static __always_inline void flush(void *ctx) {}
#define BPF_BODY BPF_PROG
#endif

/* Starts a section; `section_end()` writes its length and pads the record. */
static __always_inline void section_begin(struct buffer *b, u16 tag)
{
	struct section *s;

	align8(b);
	b->section = b->off;
	s = reserve(b, sizeof(*s));
	if (s) {
		s->tag = tag;
		s->flags = 0;
		s->len = 0;
	}
}

static __always_inline void section_end(struct buffer *b, u16 flags)
{
	u32 at = b->section;

	if (at < BUFFER_DATA) {
		struct section *s = (void *)&b->data[at];
		s->flags = flags;
		s->len = b->off - at - sizeof(*s);
	}
	align8(b);
}
