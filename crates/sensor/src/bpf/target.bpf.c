/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * What one process does to another: ptrace, signals, limits of resources.
 *
 * The caller names the other by a number of its own pid namespace, which two processes of two namespaces may share. So the number is
 * looked up where the kernel looks it up, in the id tree of the caller's namespace; that works in every tier, after the call as well as
 * in it, and gives the kernel's object. The race left: a process that ends and is reaped within the call (by its real parent, after
 * PTRACE_DETACH) is not found any more.
 */
#include "hook.h"
#include "process.h"

#define PTRACE_TRACEME 0
#define RLIM_NLIMITS 16
#define SIGNAL_OVERFLOW_FAIL 3 /* of signal_generate: the call fails with EAGAIN */
#define XA_LEVELS 6	       /* 64-way: more than ids of 32 bits need */

static __always_inline struct pid_namespace *pid_namespace_of(struct task_struct *task)
{
	struct pid *pid = LOAD(struct task_struct, task, thread_pid);
	struct pid_namespace *ns = 0;
	u32 level;

	if (!pid)
		return 0;
	level = LOAD(struct pid, pid, level);
	bpf_probe_read_kernel(&ns, sizeof(ns), ADDR(struct pid, pid, numbers) + (level & 31) * bpf_core_type_size(struct upid) +
						       bpf_core_field_offset(struct upid, ns));
	return ns;
}

/* The first task of a struct pid: the thread of that id. */
static __always_inline kptr task_of_pid(kptr pid)
{
	u64 node = 0;

	if (pid)
		bpf_probe_read_kernel(&node, sizeof(node), ADDR(struct pid, pid, tasks));
	return node ? node - bpf_core_field_offset(struct task_struct, pid_links) : 0;
}

/* The task that has this number in the pid namespace of the current one; 0 for none. */
SUBPROGRAM kptr task_of_number(u32 nr)
{
	struct pid_namespace *ns = pid_namespace_of(bpf_get_current_task_btf());
	u64 entry = 0;

	if (!ns || (s32)nr <= 0)
		return 0;
	bpf_probe_read_kernel(&entry, sizeof(entry), ADDR(struct pid_namespace, ns, idr.idr_rt.xa_head));
	for (u32 i = 0; i < XA_LEVELS; i++) {
		u64 node = entry & ~3ull;
		u8 shift = 0;

		if ((entry & 3) != 2) /* no inner node */
			break;
		bpf_probe_read_kernel(&shift, sizeof(shift), (void *)node + bpf_core_field_offset(struct xa_node, shift));
		if (shift > 30 || (i == 0 && (nr >> shift) > 63))
			return 0;
		entry = 0;
		bpf_probe_read_kernel(&entry, sizeof(entry),
				      (void *)node + bpf_core_field_offset(struct xa_node, slots) + ((nr >> shift) & 63) * sizeof(void *));
	}
	return entry & 3 ? 0 : task_of_pid(entry);
}

/* Where there is no such task any more, the number itself tells who it was, if the caller lives in the initial namespace. */
static __always_inline void fill_target(struct target *target, kptr task, s32 nr)
{
	target->pid = target->tid = 0;
	if (task) {
		target->pid = LOAD(struct task_struct, task, tgid);
		target->tid = LOAD(struct task_struct, task, pid);
	} else if (nr > 0) {
		struct pid_namespace *ns = pid_namespace_of(bpf_get_current_task_btf());
		if (ns && LOAD(struct pid_namespace, ns, level) == 0)
			target->pid = target->tid = nr;
	}
}

static __always_inline int ptrace_ended(const struct call *call)
{
	struct ptrace_body *body;
	struct buffer *b;
	kptr tracee;

	if (!approve_numbers(KIND_PTRACE, (u32)call->a[0], 0))
		return 0;
	if ((u32)call->a[0] == PTRACE_TRACEME) /* whoever calls is the one that is traced from now on */
		tracee = number_of(bpf_get_current_task_btf());
	else
		tracee = task_of_number(call->a[1]);
	body = EVENT_BEGIN(b, KIND_PTRACE, flags_of(call), call->ret, struct ptrace_body);
	if (!body)
		return 0;
	body->request = call->a[0];
	body->address = call->a[2];
	fill_target(&body->target, tracee, call->a[1]);
	send(b, RING_VITAL);
	return 0;
}
CALL_EXIT(ptrace, KIND_PTRACE, ptrace_ended)
SYSCALL_EXIT(ptrace, KIND_PTRACE, ptrace_ended, ptrace)
COMPAT_EXIT(ptrace, KIND_PTRACE, ptrace_ended, ptrace)

/*
 * Signals. The kernel tells of each one that it makes, to whom, and what became of it, by a tracepoint in the call: one call on a group
 * makes one event for each process of it. What makes no signal is told at the end of the call: a refusal, signal 0, and a call that
 * says it succeeded and made none, as a rootkit's hook of kill(2) does.
 *
 * What a process sends to its own threads is no event: runtimes talk to themselves so all the time (SIGURG, SIGCANCEL, SIGSETXID).
 */
struct { __uint(type, BPF_MAP_TYPE_LRU_HASH); __uint(max_entries, 4096); __type(key, u64); __type(value, u8); } signals_told SEC(".maps");

static __always_inline u32 signal_argument(const struct call *call)
{
	return call->shape == SHAPE_TGKILL || call->shape == SHAPE_RT_TGSIGQUEUEINFO ? call->a[2] : call->a[1];
}

static __always_inline bool is_to_a_thread(const struct call *call)
{
	return call->shape == SHAPE_TKILL || call->shape == SHAPE_TGKILL || call->shape == SHAPE_RT_TGSIGQUEUEINFO;
}

static __always_inline int send_signal_event(const struct call *call, kptr task, s32 nr, bool to_thread)
{
	struct signal_body *body;
	struct buffer *b;

	if (!approve_numbers(KIND_SIGNAL, signal_argument(call), 0))
		return 0;
	if (to_thread && task && LOAD(struct task_struct, task, tgid) == bpf_get_current_pid_tgid() >> 32)
		return 0;
	body = EVENT_BEGIN(b, KIND_SIGNAL, flags_of(call), call->ret, struct signal_body);
	if (!body)
		return 0;
	body->signal = signal_argument(call);
	fill_target(&body->target, task, nr);
	if (!to_thread)
		body->target.tid = body->target.pid;
	body->number = body->target.pid ? (s32)body->target.pid : nr;
	send(b, RING_BULK);
	return 0;
}

SEC("tp_btf/signal_generate")
int BPF_PROG(signal__all_generate, int sig, struct kernel_siginfo *info, struct task_struct *task, int group, int result)
{
	struct task_struct *self = bpf_get_current_task_btf();
	u64 thread = bpf_get_current_pid_tgid();
	struct call call = {};
	u8 one = 1;

	if (!wanted_here(KIND_SIGNAL) || LOAD(struct task_struct, self, flags) & PF_KTHREAD)
		return 0;
	/* Most signals are the kernel's own: the end of a child, a timer. */
	if (current_call(self, &call) != KIND_SIGNAL || sig != signal_argument(&call) || result == SIGNAL_OVERFLOW_FAIL)
		return 0;
	bpf_map_update_elem(&signals_told, &thread, &one, BPF_ANY);
	call.ret = 0;
	return send_signal_event(&call, number_of(task), 0, !group);
}

/* The process of a pidfd: since 6.9 a file system of their own has them; a directory of /proc serves as well. */
static __always_inline kptr task_of_pidfd(u32 fd)
{
	struct file *file = file_of_fd(bpf_get_current_task_btf(), fd);
	struct inode *inode;
	const char *name;
	char start[4] = {};
	u64 pid = 0;

	if (!file)
		return 0;
	inode = LOAD(struct file, file, f_inode);
	name = LOAD(struct file_system_type, LOAD(struct super_block, LOAD(struct inode, inode, i_sb), s_type), name);
	bpf_probe_read_kernel(start, sizeof(start), name);
	if (start[0] == 'p' && start[1] == 'i') /* pidfs */
		bpf_probe_read_kernel(&pid, sizeof(pid), ADDR(struct inode, inode, i_private));
	else if (start[0] == 'p' && start[1] == 'r') /* proc */
		bpf_probe_read_kernel(&pid, sizeof(pid), (void *)inode - bpf_core_field_offset(struct proc_inode, vfs_inode) +
								 bpf_core_field_offset(struct proc_inode, pid));
	else if (start[0] == 'a') /* anon_inodefs */
		bpf_probe_read_kernel(&pid, sizeof(pid), ADDR(struct file, file, private_data));
	return task_of_pid(pid);
}

static __always_inline int signal_ended(const struct call *call)
{
	u64 thread = bpf_get_current_pid_tgid();
	bool told = bpf_map_lookup_elem(&signals_told, &thread);
	s32 nr = call->shape == SHAPE_TGKILL || call->shape == SHAPE_RT_TGSIGQUEUEINFO ? call->a[1] : call->a[0];

	if (told) {
		bpf_map_delete_elem(&signals_told, &thread);
		if (call->ret >= 0)
			return 0;
	}
	if (call->shape == SHAPE_PIDFD_SEND_SIGNAL)
		return send_signal_event(call, task_of_pidfd(nr), 0, false);
	return send_signal_event(call, task_of_number(nr), nr, is_to_a_thread(call));
}
CALL_EXIT(signal, KIND_SIGNAL, signal_ended)
SYSCALL_EXIT(signal, KIND_SIGNAL, signal_ended, kill)
SYSCALL_EXIT(signal, KIND_SIGNAL, signal_ended, tkill)
SYSCALL_EXIT(signal, KIND_SIGNAL, signal_ended, tgkill)
SYSCALL_EXIT(signal, KIND_SIGNAL, signal_ended, rt_sigqueueinfo)
COMPAT_EXIT(signal, KIND_SIGNAL, signal_ended, rt_sigqueueinfo)
SYSCALL_EXIT(signal, KIND_SIGNAL, signal_ended, rt_tgsigqueueinfo)
COMPAT_EXIT(signal, KIND_SIGNAL, signal_ended, rt_tgsigqueueinfo)
SYSCALL_EXIT(signal, KIND_SIGNAL, signal_ended, pidfd_send_signal)

/* Limits. After a success the kernel's own are read; what was refused is only in the caller's memory. */
static __always_inline void fill_limits(struct setrlimit_body *body, const struct call *call, kptr task, const void *user)
{
	struct { u64 cur, max; } limits = {};

	if (call->ret >= 0 && task && body->resource < RLIM_NLIMITS) {
		struct signal_struct *signal = LOAD(struct task_struct, task, signal);
		bpf_probe_read_kernel(&limits, sizeof(limits), ADDR(struct signal_struct, signal, rlim) + body->resource * sizeof(limits));
	} else if (call->compat && call->shape == SHAPE_SETRLIMIT) {
		struct { u32 cur, max; } narrow = {};
		bpf_probe_read_user(&narrow, sizeof(narrow), user);
		limits.cur = narrow.cur == (u32)-1 ? -1ull : narrow.cur;
		limits.max = narrow.max == (u32)-1 ? -1ull : narrow.max;
	} else {
		bpf_probe_read_user(&limits, sizeof(limits), user);
	}
	body->cur = limits.cur;
	body->max = limits.max;
}

static __always_inline int setrlimit_ended(const struct call *call)
{
	bool named = call->shape == SHAPE_PRLIMIT64;
	s32 nr = named ? call->a[0] : 0;
	const void *user = (void *)(named ? call->a[2] : call->a[1]);
	struct setrlimit_body *body;
	struct buffer *b;
	kptr task;

	if (!user || !approve_numbers(KIND_SETRLIMIT, (u32)(named ? call->a[1] : call->a[0]), 0)) /* null: only asked for */
		return 0;
	task = nr ? task_of_number(nr) : number_of(bpf_get_current_task_btf());
	body = EVENT_BEGIN(b, KIND_SETRLIMIT, flags_of(call), call->ret, struct setrlimit_body);
	if (!body)
		return 0;
	body->resource = named ? call->a[1] : call->a[0];
	fill_target(&body->target, task, nr);
	fill_limits(body, call, task, user);
	send(b, RING_BULK);
	return 0;
}
CALL_EXIT(setrlimit, KIND_SETRLIMIT, setrlimit_ended)
SYSCALL_EXIT(setrlimit, KIND_SETRLIMIT, setrlimit_ended, setrlimit)
COMPAT_EXIT(setrlimit, KIND_SETRLIMIT, setrlimit_ended, setrlimit)
SYSCALL_EXIT(setrlimit, KIND_SETRLIMIT, setrlimit_ended, prlimit64)
