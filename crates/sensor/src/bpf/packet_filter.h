/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * Filters of packets. Those of all rules and actions are one generated program (crates/pcap), which is exchanged at once when the rules change:
 * classifier ─▶ packet_filters (generated) ─▶ packet_after ─▶ the next classifier, or nowhere if an action has the packet dropped.
 */
#pragma once

#include "base.h"

struct { __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY); __uint(max_entries, 1); __type(key, u32); __type(value, struct packet_verdict); } packet_verdict SEC(".maps");
/* By what a frame begins with: 0 is Ethernet, 1 is the network header. */
struct { __uint(type, BPF_MAP_TYPE_PROG_ARRAY); __uint(max_entries, 2); __type(key, u32); __type(value, u32); } packet_filters SEC(".maps");
/* By direction: 0 is egress, 1 is ingress. */
struct { __uint(type, BPF_MAP_TYPE_PROG_ARRAY); __uint(max_entries, 2); __type(key, u32); __type(value, u32); } packet_after SEC(".maps");
/* Not one that forgets: what an action has dropped stays dropped. Who writes it removes what is over. */
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(map_flags, BPF_F_NO_PREALLOC); __uint(max_entries, 8192); __type(key, struct packet_subject); __type(value, struct packet_orders); } packet_actions SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_LRU_HASH); __uint(max_entries, 8192); __type(key, struct packet_rate_key); __type(value, struct packet_rate); } packet_rates SEC(".maps");

/* Runs the filters; does not come back where there are any. */
static __always_inline void run_filters(struct __sk_buff *skb, u32 direction, bool ethernet)
{
	u32 zero = 0;
	struct packet_verdict *verdict = bpf_map_lookup_elem(&packet_verdict, &zero);

	if (!verdict)
		return;
	verdict->next = verdict->inbound = direction;
	bpf_tail_call(skb, &packet_filters, ethernet ? 0 : 1);
}

static __always_inline void add_orders(struct packet_orders *all, u64 id, u32 start_low, u32 scope)
{
	struct packet_subject subject = { .id = id, .start_low = start_low, .scope = scope };
	struct packet_orders *orders = bpf_map_lookup_elem(&packet_actions, &subject);

	if (orders) {
		all->drop |= orders->drop;
		all->accept |= orders->accept;
	}
}

/* Whether the actions in force for the owner have a packet dropped that passed these filters. */
static __always_inline bool is_dropped(u64 passed, const struct socket_owner *owner)
{
	struct packet_orders orders = {};

	if (!passed)
		return false;
	if (owner->pid)
		add_orders(&orders, owner->pid, owner->start_low, PACKET_SCOPE_PROCESS);
	if (owner->cgroup_id)
		add_orders(&orders, owner->cgroup_id, 0, PACKET_SCOPE_CGROUP);
	return (passed & orders.drop) && !(passed & orders.accept);
}

/* Whether one more packet of the filter and process is told in this second. */
static __always_inline bool within_rate(u32 filter, u32 pid, u32 rate)
{
	struct packet_rate_key key = { .filter = filter, .pid = pid };
	struct packet_rate *known, first = { .told = 1 };
	u64 now = bpf_ktime_get_ns();

	if (!rate)
		return true;
	known = bpf_map_lookup_elem(&packet_rates, &key);
	if (!known) {
		first.since_ns = now;
		bpf_map_update_elem(&packet_rates, &key, &first, BPF_ANY);
		return true;
	}
	/* Two CPUs that begin a second at once may tell a packet or two more. */
	if (now - known->since_ns >= 1000000000ull) {
		known->since_ns = now;
		known->told = 1;
		return true;
	}
	if (known->told >= rate)
		return false;
	__sync_fetch_and_add(&known->told, 1);
	return true;
}
