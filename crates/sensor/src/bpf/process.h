/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* What is read of a process, by the hooks on its life and by the iterator over all processes. */
#pragma once

#include "path.h"

#define PF_KTHREAD 0x00200000
#define PIDTYPE_SID 3

static __always_inline u32 ns_pid_of(struct pid *pid)
{
	u32 level;
	int nr = 0;

	if (!pid)
		return 0;
	level = LOAD(struct pid, pid, level);
	/* numbers[] is an array of one in the type and of level + 1 in memory. */
	bpf_probe_read_kernel(&nr, sizeof(nr), ADDR(struct pid, pid, numbers) + (level & 31) * bpf_core_type_size(struct upid) +
						       bpf_core_field_offset(struct upid, nr));
	return nr;
}

static __always_inline u32 pid_ns_of(struct pid *pid)
{
	struct pid_namespace *ns = 0;
	u32 level;

	if (!pid)
		return 0;
	level = LOAD(struct pid, pid, level);
	bpf_probe_read_kernel(&ns, sizeof(ns), ADDR(struct pid, pid, numbers) + (level & 31) * bpf_core_type_size(struct upid) +
						       bpf_core_field_offset(struct upid, ns));
	return ns ? LOAD(struct pid_namespace, ns, ns.inum) : 0;
}

#define NS_INUM(proxy, type, field)                                        \
	({                                                                 \
		struct type *__ns = LOAD(struct nsproxy, proxy, field);    \
		__ns ? LOAD(struct type, __ns, ns.inum) : 0;               \
	})

static __always_inline void fill_namespaces(struct namespaces *out, struct task_struct *task)
{
	struct nsproxy *ns = LOAD(struct task_struct, task, nsproxy);
	const struct cred *cred = LOAD(struct task_struct, task, cred);
	struct user_namespace *user = LOAD(struct cred, cred, user_ns);

	__builtin_memset(out, 0, sizeof(*out));
	if (user)
		out->user = LOAD(struct user_namespace, user, ns.inum);
	out->pid = pid_ns_of(LOAD(struct task_struct, task, thread_pid));
	if (!ns)
		return;
	out->mnt = NS_INUM(ns, mnt_namespace, mnt_ns);
	out->net = NS_INUM(ns, net, net_ns);
	out->uts = NS_INUM(ns, uts_namespace, uts_ns);
	out->ipc = NS_INUM(ns, ipc_namespace, ipc_ns);
	out->cgroup = NS_INUM(ns, cgroup_namespace, cgroup_ns);
}

struct cgroup_walk { struct buffer *b; struct kernfs_node *kn; };

STEP long cgroup_step(u32 i, void *ctx)
{
	struct cgroup_walk *s = ctx;
	struct kernfs_node *parent, *kn = s->kn;
	u32 off = s->b->off;
	long n;

	if (bpf_core_field_exists(struct kernfs_node, __parent)) {
		parent = LOAD(struct kernfs_node, kn, __parent);
	} else {
		struct kernfs_node___old *old = (void *)kn;
		parent = BPF_CORE_READ(old, parent);
	}
	if (!parent)
		return 1;
	barrier_var(off);
	if (off > BUFFER_DATA - 1)
		return 1;
	n = bpf_probe_read_kernel_str(&s->b->data[off], NAME_MAX_LEN, LOAD(struct kernfs_node, kn, name));
	if (n < 0)
		return 1;
	s->b->off = off + n;
	s->kn = parent;
	return 0;
}

/* One path. */
SUBPROGRAM int put_cgroup_path(buffer_ref ref, u32 tag, kptr cgroup)
{
	struct buffer *b = buffer_of(ref);
	struct cgroup_walk s = { .b = b };

	if (!b)
		return 0;
	section_begin(b, tag);
	s.kn = LOAD(struct cgroup, cgroup, kn);
	LOOP(32, 32, cgroup_step, &s);
	section_end(b, 0);
	return 0;
}

/*
 * The path in the default hierarchy (v2), and that of the pids controller where it is in a hierarchy of its own: on hosts with v1
 * hierarchies that is where container runtimes put their containers, and not all of them do it in the default one as well.
 */
static __always_inline void put_cgroup(struct buffer *b, struct task_struct *task)
{
	struct css_set *css = LOAD(struct task_struct, task, cgroups);
	struct cgroup *unified = LOAD(struct css_set, css, dfl_cgrp);
	struct cgroup_subsys_state *state = 0;
	struct cgroup *v1;

	put_cgroup_path(ref_of(b), SECTION_CGROUP, number_of(unified));
	if (!bpf_core_enum_value_exists(enum cgroup_subsys_id, pids_cgrp_id))
		return;
	bpf_probe_read_kernel(&state, sizeof(state),
			      ADDR(struct css_set, css, subsys) +
				      (bpf_core_enum_value(enum cgroup_subsys_id, pids_cgrp_id) & 15) * sizeof(void *));
	if (!state)
		return;
	v1 = LOAD(struct cgroup_subsys_state, state, cgroup);
	if (number_of(LOAD(struct cgroup, v1, root)) != number_of(LOAD(struct cgroup, unified, root)))
		put_cgroup_path(ref_of(b), SECTION_CGROUP_V1, number_of(v1));
}

/* The session's number in the initial pid namespace. */
static __always_inline u32 session_of(struct signal_struct *signal)
{
	struct pid *sid = 0;
	u32 nr = 0;

	bpf_probe_read_kernel(&sid, sizeof(sid), ADDR(struct signal_struct, signal, pids) + PIDTYPE_SID * sizeof(void *));
	if (sid)
		bpf_probe_read_kernel(&nr, sizeof(nr), ADDR(struct pid, sid, numbers) + bpf_core_field_offset(struct upid, nr));
	return nr;
}
