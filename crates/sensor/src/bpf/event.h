/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* The record of an event that is no file call: the head, a struct of the event's own, sections. */
#pragma once

#include "syscall.h"

struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 4096); __type(key, struct number_key); __type(value, u8); } numbers SEC(".maps");

static __always_inline bool known_number(const struct filter *filter, u32 kind, u32 slot, s64 value)
{
	struct number_key key = { .kind = kind, .slot = slot, .value = value };

	return (filter->number_slots & (1u << slot)) && bpf_map_lookup_elem(&numbers, &key);
}

/*
 * Whether any rule can match an event of this kind with these numbers, which are those that KERNEL_NUMBERS of the rule language names; to be
 * asked before EVENT_BEGIN. 0 stands for the second where there is one only.
 */
SUBPROGRAM int approve_numbers(u32 kind, s64 first, s64 second)
{
	struct filter *filter = get_filter(kind);

	if (!filter)
		return 0;
	return filter->all || (filter->number_masks[0] & first) || (filter->number_masks[1] & second) ||
	       known_number(filter, kind, 0, first) || known_number(filter, kind, 1, second);
}

static __always_inline void *event_begin_of(struct buffer **b, u16 kind, u16 flags, s64 ret, u32 size)
{
	struct event_head *head;
	void *body;

	*b = record_begin(kind, flags, bpf_get_current_task_btf());
	if (!*b)
		return 0;
	head = reserve(*b, sizeof(*head));
	body = reserve(*b, size);
	if (!head || !body) {
		buffer_release(*b);
		return 0;
	}
	head->retval = ret;
	head->size = size;
	head->reserved = 0;
	__builtin_memset(body, 0, size);
	return body;
}

/*
 * Begins the record of an event of the current task: sets `b` to its buffer and gives the struct of the event, all zeroes, to be filled;
 * null, and a counted loss, when there is no buffer. Sections may follow (put_file, put_string, put_bytes); `send()` ends it.
 */
#define EVENT_BEGIN(b, kind, flags, ret, type) ((type *)event_begin_of(&(b), kind, flags, ret, sizeof(type)))

static __always_inline u16 flags_of(const struct call *call)
{
	return call->compat ? HEADER_COMPAT : 0;
}

/* `len` bytes of kernel memory, 256 at most. */
static __always_inline void put_bytes(struct buffer *b, u16 tag, const void *ptr, u32 len)
{
	u32 off;

	section_begin(b, tag);
	off = b->off;
	barrier_var(off);
	barrier_var(len);
	if (len > 256)
		len = 256;
	if (off <= BUFFER_DATA - 1 && len && !bpf_probe_read_kernel(&b->data[off], len, ptr))
		b->off = off + len;
	section_end(b, 0);
}
