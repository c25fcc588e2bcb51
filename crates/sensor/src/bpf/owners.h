/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * Whose a socket is. Packets are seen where no process runs that they could be charged to: on the way in always, on the way out often. So
 * who makes a socket, connects it, binds it or sends through it is kept by the socket's cookie, which is never given twice: an entry outlives
 * its socket for as long as the map has room, so that a process that has asked and gone is still found when the answer comes.
 */
#pragma once

#include "process.h"

struct { __uint(type, BPF_MAP_TYPE_LRU_HASH); __uint(max_entries, 32768); __type(key, u64); __type(value, struct socket_owner); } socket_owners SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_LRU_HASH); __uint(max_entries, 8192); __type(key, struct port_key); __type(value, struct socket_owner); } port_owners SEC(".maps");

static __always_inline u32 netns_of_sock(kptr sk)
{
	struct net *net = LOAD(struct sock, sk, __sk_common.skc_net.net);

	return net ? LOAD(struct net, net, ns.inum) : 0;
}

static __always_inline void owner_of_task(struct socket_owner *owner, struct task_struct *task)
{
	owner->pid = LOAD(struct task_struct, task, tgid);
	owner->cgroup_id = dfl_cgroup_id(task);
	owner->start_low = LOAD(struct task_struct, LOAD(struct task_struct, task, group_leader), start_boottime);
}

static __always_inline void own_socket(u64 cookie, struct task_struct *task)
{
	struct socket_owner owner = {}, *known;
	u32 pid = LOAD(struct task_struct, task, tgid);

	/* Most that send through a socket have done so before. */
	known = cookie ? bpf_map_lookup_elem(&socket_owners, &cookie) : 0;
	if (!cookie || (known && known->pid == pid))
		return;
	owner_of_task(&owner, task);
	bpf_map_update_elem(&socket_owners, &cookie, &owner, BPF_ANY);
}

static __always_inline void own_port(u32 netns, u16 port, u8 protocol, struct task_struct *task)
{
	struct port_key key = { .netns = netns, .port = port, .protocol = protocol };
	struct socket_owner owner = {};

	if (!port)
		return;
	owner_of_task(&owner, task);
	bpf_map_update_elem(&port_owners, &key, &owner, BPF_ANY);
}
