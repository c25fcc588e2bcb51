/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * The life of processes: fork, exec, exit, in every tier by tracepoints with BTF (5.5), which no configuration leaves out and which
 * cost nothing elsewhere. All of it goes through the vital ring, which files and sockets cannot fill.
 */
#include "process.h"

#define SIGNAL_GROUP_EXIT 0x00000004
#define ARGS_CHUNK 8192

<<<<<<< HEAD
=======
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

>>>>>>> 4cdaee3 (sensor: the object is compiled a second time for kernels before 5.17)
SEC("tp_btf/sched_process_fork")
int BPF_PROG(fork, struct task_struct *parent, struct task_struct *child)
{
	struct task_struct *real_parent;
	struct fork_body *body;
	struct buffer *b;
	u32 flags;

	/* A thread is no new process. */
	if (LOAD(struct task_struct, child, pid) != LOAD(struct task_struct, child, tgid))
		return 0;
	b = record_begin(KIND_FORK, 0, parent);
	if (!b)
		return 0;
	body = reserve(b, sizeof(*body));
	if (body) {
		flags = LOAD(struct task_struct, child, flags);
		real_parent = LOAD(struct task_struct, child, real_parent);
		body->child_pid = LOAD(struct task_struct, child, tgid);
		body->parent_pid = LOAD(struct task_struct, real_parent, tgid);
		body->start_time_ns = LOAD(struct task_struct, child, start_boottime);
		body->cgroup_id = dfl_cgroup_id(child);
		body->ns_pid = ns_pid_of(LOAD(struct task_struct, child, thread_pid));
		body->is_kthread = !!(flags & PF_KTHREAD);
		body->reserved = 0;
		fill_namespaces(&body->ns, child);
	}
	put_cgroup(b, child);
	send(b, RING_VITAL);
	return 0;
}

/*
 * A process was moved to another cgroup, once for each hierarchy that it was moved in. A runtime puts a process into its container so,
 * after its fork, and not always before its exec. (5.0; a thread that is moved alone does not move its process.)
 */
SEC("tp_btf/cgroup_attach_task")
int BPF_PROG(cgroup_moved, struct cgroup *to, const char *path, struct task_struct *task)
{
	struct cgroup_body *body;
	struct buffer *b;

	if (LOAD(struct task_struct, task, pid) != LOAD(struct task_struct, task, tgid))
		return 0;
	b = record_begin(KIND_CGROUP, 0, task);
	if (!b)
		return 0;
	body = reserve(b, sizeof(*body));
	if (body)
		body->cgroup_id = dfl_cgroup_id(task);
	put_cgroup(b, task);
	send(b, RING_VITAL);
	return 0;
}

/* argv or envp: the strings lie one after the other at the top of the new stack, which the exec has just written. */
static __always_inline u32 put_user_memory(struct buffer *b, u16 tag, unsigned long start, unsigned long end, u32 chunks)
{
	u64 left = end > start ? end - start : 0;

	section_begin(b, tag);
	for (u32 i = 0; i < chunks; i++) {
		u32 off = b->off, len = left < ARGS_CHUNK ? left : ARGS_CHUNK;

		barrier_var(off);
		barrier_var(len);
		if (!len || len > ARGS_CHUNK || off > BUFFER_DATA - 1)
			break;
		if (bpf_probe_read_user(&b->data[off], len, (void *)start))
			break;
		b->off = off + len;
		start += len;
		left -= len;
	}
	section_end(b, left ? PATH_TRUNCATED : 0);
	return left != 0;
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(exec, struct task_struct *task, int old_pid, struct linux_binprm *bprm)
{
	struct file *file = LOAD(struct linux_binprm, bprm, file);
	struct mm_struct *mm = LOAD(struct task_struct, task, mm);
	struct signal_struct *signal = LOAD(struct task_struct, task, signal);
	struct fs_struct *fs = LOAD(struct task_struct, task, fs);
	const char *filename = LOAD(struct linux_binprm, bprm, filename), *interp = LOAD(struct linux_binprm, bprm, interp);
	struct exec_body *body;
	struct tty_struct *tty;
	struct buffer *b;

	b = record_begin(KIND_EXEC, 0, task);
	if (!b)
		return 0;
	body = reserve(b, sizeof(*body));
	if (!body) {
		buffer_release(b);
		return 0;
	}
	body->start_time_ns = LOAD(struct task_struct, LOAD(struct task_struct, task, group_leader), start_boottime);
	body->ppid = LOAD(struct task_struct, LOAD(struct task_struct, task, real_parent), tgid);
	body->sid = session_of(signal);
	body->ns_pid = ns_pid_of(LOAD(struct task_struct, task, thread_pid));
	fill_namespaces(&body->ns, task);

	put_file(b, SECTION_PATH, LOAD(struct file, file, f_path.dentry), LOAD(struct file, file, f_path.mnt));
	put_cgroup(b, task);
	tty = LOAD(struct signal_struct, signal, tty);
	if (tty)
		put_string(b, SECTION_TTY, ADDR(struct tty_struct, tty, name), true);
	put_string(b, SECTION_FILENAME, filename, true);
	if (interp != filename) /* a script, or another format with an interpreter */
		put_string(b, SECTION_INTERP, interp, true);
	if (fs)
		put_path(b, SECTION_CWD, LOAD(struct fs_struct, fs, pwd.dentry), LOAD(struct fs_struct, fs, pwd.mnt));
	body->args_truncated = body->envs_truncated = 0;
	if (mm) {
		body->envs_truncated = put_user_memory(b, SECTION_ENVS, LOAD(struct mm_struct, mm, env_start), LOAD(struct mm_struct, mm, env_end), 1);
		body->args_truncated = put_user_memory(b, SECTION_ARGS, LOAD(struct mm_struct, mm, arg_start), LOAD(struct mm_struct, mm, arg_end), 2);
	}
	send(b, RING_VITAL);
	return 0;
}

/*
 * Called for each thread; the last one of the group has found `live` at zero. Two that leave at once can both find it so: user space
 * takes the first.
 */
SEC("tp_btf/sched_process_exit")
int BPF_PROG(exit_, struct task_struct *task)
{
	struct signal_struct *signal = LOAD(struct task_struct, task, signal);
	struct exit_body *body;
	struct buffer *b;

	if (LOAD(struct signal_struct, signal, live.counter) != 0)
		return 0;
	b = record_begin(KIND_EXIT, 0, task);
	if (!b)
		return 0;
	body = reserve(b, sizeof(*body));
	if (body) {
		if (LOAD(struct signal_struct, signal, flags) & SIGNAL_GROUP_EXIT)
			body->status = LOAD(struct signal_struct, signal, group_exit_code);
		else
			body->status = LOAD(struct task_struct, LOAD(struct task_struct, task, group_leader), exit_code);
		body->reserved = 0;
	}
	send(b, RING_VITAL);
	return 0;
}

/*
 * The heartbeat: system-probe renames a thread of its own to "<tag>NNNN", the kernel calls this hook, and the number comes back through
 * the vital ring. A hook, a ring and a reader that live are proved by it, at the price of one rename.
 */
SEC("tp_btf/task_rename")
int BPF_PROG(heartbeat, struct task_struct *task, const char *comm)
{
	struct settings *s = get_settings();
	struct heartbeat_body *body;
	struct buffer *b;
	char name[16] = {};
	u64 number = 0;

	if (!s || LOAD(struct task_struct, task, tgid) != s->own_pid)
		return 0;
	bpf_probe_read_kernel_str(name, sizeof(name), comm);
	if (*(u32 *)name != s->heartbeat_tag)
		return 0;
	for (int i = 4; i < 15; i++) {
		if (name[i] < '0' || name[i] > '9')
			break;
		number = number * 10 + (name[i] - '0');
	}
	b = record_begin(KIND_HEARTBEAT, 0, task);
	if (!b)
		return 0;
	body = reserve(b, sizeof(*body));
	if (body)
		body->number = number;
	send(b, RING_VITAL);
	return 0;
}
