/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* Maps, settings, and reading kernel memory: what every topic uses. */
#pragma once

#include "kernel.h"
#include "atalaya.h"

/*
 * The object is compiled twice out of the same sources: once for current kernels, once with LEGACY for those before 5.17. What differs is
 * here, in record.h and in path.h, behind macros and small functions; no capture knows of it.
 */
#ifdef LEGACY
#include "legacy.h"
#else
/*
 * bpf_rdonly_cast() (6.2) turns a pointer into one that is loaded from directly, which costs a sixth of a
 * bpf_probe_read_kernel(). Where it is missing the verifier drops the branch that uses it.
 */
extern void *bpf_rdonly_cast(const void *obj, __u32 btf_id) __ksym __weak;

#ifndef TYPE_ID
#include "types.h"
#endif

#define LOAD(type, ptr, field)                                                                          \
	({                                                                                              \
		const void *__p = (const void *)(ptr);                                                  \
		__typeof__(((type *)0)->field) __v;                                                     \
		if (bpf_ksym_exists(bpf_rdonly_cast))                                                   \
			__v = ((type *)bpf_rdonly_cast(__p, TYPE_ID(type)))->field;                     \
		else                                                                                    \
			bpf_core_read(&__v, sizeof(__v), &((type *)__p)->field);                        \
		__v;                                                                                    \
	})
/* Calls `step(number, state)` up to `count` times, until it gives 1; gives the number of calls. `most` is what kernels get whose verifier follows each. */
#define LOOP(count, most, step, state) bpf_loop(count, step, state, 0)
#define STEP static
#define SUBPROGRAM_ON_MEMORY __noinline
#endif
/*
 * A subprogram that the verifier checks once and on its own, instead of again at each call: what keeps the whole object at a few ten thousand
 * instructions to verify and not a million. The price: it takes numbers only (memory: since 5.13, see SUBPROGRAM_ON_MEMORY). So kernel
 * objects travel as numbers, which LOAD() takes as well, and buffers as a `buffer_ref`.
 */
#define SUBPROGRAM __noinline
typedef u64 kptr;

/* The number of a pointer: the verifier lets no pointer pass for one, so it is read back from the stack. */
static __always_inline kptr number_of(const void *ptr)
{
	const void *slot = ptr;
	kptr number = 0;

	bpf_probe_read_kernel(&number, sizeof(number), &slot);
	return number;
}

/* Eight bytes, or a pointer, at an address: a load needs a kernel struct that begins with such a thing. */
#define LOAD_U64(ptr) ((u64)LOAD(struct timespec64, ptr, tv_sec))
#define LOAD_POINTER(ptr) ((void *)LOAD(struct hlist_node, ptr, next))

/* The address of an embedded struct; nothing is loaded. */
#define ADDR(type, ptr, field)                                                       \
	({                                                                           \
		const void *__p = (const void *)(ptr);                               \
		(void *)__builtin_preserve_access_index(&((type *)__p)->field);      \
	})

struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 2 << 20); } vital SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 4 << 20); } bulk SEC(".maps");

/* Next sequence number per ring. */
struct { __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY); __uint(max_entries, RINGS); __type(key, u32); __type(value, u64); } seqs SEC(".maps");
/* Per kind: COUNTERS numbers. */
struct counters { u64 n[COUNTERS]; };
struct { __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY); __uint(max_entries, KIND_MAX); __type(key, u32); __type(value, struct counters); } counts SEC(".maps");
/* Who lost what since user space last looked. */
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 4096); __type(key, struct loss_key); __type(value, u64); } losses SEC(".maps");

struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, u32); __type(value, struct settings); } settings SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, KIND_MAX); __type(key, u32); __type(value, struct filter); } filters SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 16384); __type(key, struct name_key); __type(value, struct name_value); } names SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 16384); __type(key, struct path_key); __type(value, struct path_value); } paths SEC(".maps");

/* Types of files, in i_mode. */
#define S_IFMT 0170000
#define S_IFIFO 0010000
#define S_IFCHR 0020000
#define S_IFDIR 0040000
#define S_IFSOCK 0140000

#define EPERM 1
#define EACCES 13
#define EAGAIN 11

static __always_inline struct settings *get_settings(void)
{
	u32 zero = 0;
	return bpf_map_lookup_elem(&settings, &zero);
}

static __always_inline struct filter *get_filter(u32 kind)
{
	return bpf_map_lookup_elem(&filters, &kind);
}

static __always_inline void count(u32 kind, u32 counter)
{
	struct counters *c = bpf_map_lookup_elem(&counts, &kind);
	if (c && counter < COUNTERS)
		c->n[counter]++;
}

#define EINPROGRESS 115
#define ERESTARTSYS 512

/* A connect that goes on without its caller: the socket does not block, or a signal came between. */
static __always_inline bool goes_on(u32 kind, long ret)
{
	return kind == KIND_CONNECT && (ret == -EINPROGRESS || ret == -ERESTARTSYS);
}

/* Whether a call with this result is an event at all. */
static __always_inline bool wanted_result(const struct settings *s, long ret)
{
	return ret >= 0 || ret == -EACCES || ret == -EPERM || s->all_errors;
}
