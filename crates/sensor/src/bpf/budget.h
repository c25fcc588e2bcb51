/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * A share of the bulk ring for each cgroup, so that a flood in one does not cost the others their events.
 *
 * While less than half of the ring waits to be read anybody may write. Beyond, each cgroup may write an eighth of the ring until the
 * reader has taken a quarter of it: the reader's progress makes room, not time, so that a reader that stands still leaves the second half
 * to those that are not the flood.
 */
#pragma once

#include "base.h"

enum { BPF_RB_AVAIL_DATA = 0, BPF_RB_RING_SIZE = 1, BPF_RB_CONS_POS = 2 };

struct share { u64 epoch; u64 bytes; };
/* A cgroup that is thrown out for others that are more recent starts anew. */
struct { __uint(type, BPF_MAP_TYPE_LRU_HASH); __uint(max_entries, 1024); __type(key, u64); __type(value, struct share); } shares SEC(".maps");

static __always_inline bool within_budget(u64 cgroup_id, u32 len)
{
	u64 size = bpf_ringbuf_query(&bulk, BPF_RB_RING_SIZE);
	struct share fresh = {}, *share;

	if (bpf_ringbuf_query(&bulk, BPF_RB_AVAIL_DATA) < size / 2 || size < 8)
		return true;
	fresh.epoch = bpf_ringbuf_query(&bulk, BPF_RB_CONS_POS) / (size / 4);
	fresh.bytes = len;
	share = bpf_map_lookup_elem(&shares, &cgroup_id);
	if (!share) {
		bpf_map_update_elem(&shares, &cgroup_id, &fresh, BPF_ANY);
		return true;
	}
	/* Two CPUs that do this at once may both begin the epoch: a few records more than its share, once in a quarter of the ring. */
	if (share->epoch != fresh.epoch) {
		share->epoch = fresh.epoch;
		share->bytes = 0;
	}
	if (share->bytes + len > size / 8)
		return false;
	__sync_fetch_and_add(&share->bytes, len);
	return true;
}
