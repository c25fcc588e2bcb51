/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * The life of processes: fork, exec, exit, in every tier by tracepoints with BTF (5.5), which no configuration leaves out and which
 * cost nothing elsewhere. All of it goes through the vital ring, which files and sockets cannot fill.
 */
#include "process.h"

#define SIGNAL_GROUP_EXIT 0x00000004
#define ARGS_CHUNK 8192

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
