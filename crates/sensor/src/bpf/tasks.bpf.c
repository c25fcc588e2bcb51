/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * An iterator over all processes (5.8): what the process tree asks where it has lost its thread. An object of its own, loaded when first
 * asked for. It tells what /proc tells, in one pass, to the nanosecond, and reads nothing but kernel memory, so that no file system of
 * anybody's can make it wait.
 */
/* A small object, loaded once and alone, may leave it to libbpf. */
#define TYPE_ID(type) bpf_core_type_id_kernel(type)

#include "process.h"

#define PF_FORKNOEXEC 0x00000040

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct bpf_iter_meta { struct seq_file *seq; };
struct bpf_iter__task { struct bpf_iter_meta *meta; struct task_struct *task; };
#pragma clang attribute pop

SEC("iter/task")
int tasks(struct bpf_iter__task *ctx)
{
	struct seq_file *seq = ctx->meta->seq;
	struct task_struct *task = ctx->task, *leader;
	struct signal_struct *signal;
	struct task_body *body;
	struct tty_struct *tty;
	struct mm_struct *mm;
	struct buffer *b;
	u32 flags, len;

	if (!task)
		return 0;
	/* One record a process: its first thread's, but for one whose first thread has ended: then each that is left tells what it knows. */
	leader = LOAD(struct task_struct, task, group_leader);
	if (number_of(leader) != number_of(task) && LOAD(struct task_struct, leader, mm))
		return 0;
	signal = LOAD(struct task_struct, task, signal);
	if (!signal || LOAD(struct signal_struct, signal, live.counter) <= 0)
		return 0; /* nobody has waited for it yet */
	b = record_begin(KIND_TASK, 0, task);
	if (!b)
		return 0;
	body = reserve(b, sizeof(*body));
	if (!body) {
		buffer_release(b);
		return 0;
	}
	flags = LOAD(struct task_struct, task, flags);
	body->start_time_ns = LOAD(struct task_struct, leader, start_boottime);
	body->sid = session_of(signal);
	body->ns_pid = ns_pid_of(LOAD(struct task_struct, leader, thread_pid));
	body->is_kthread = !!(flags & PF_KTHREAD);
	body->is_fork = !!(flags & PF_FORKNOEXEC);
	body->reserved = 0;
	fill_namespaces(&body->ns, task);
	mm = LOAD(struct task_struct, task, mm);
	if (mm && !body->is_kthread) {
		struct file *exe = LOAD(struct mm_struct, mm, exe_file);
		if (exe)
			put_file(b, SECTION_PATH, LOAD(struct file, exe, f_path.dentry), LOAD(struct file, exe, f_path.mnt));
	}
	put_cgroup(b, task);
	tty = LOAD(struct signal_struct, signal, tty);
	if (tty)
		put_string(b, SECTION_TTY, ADDR(struct tty_struct, tty, name), true);
	len = b->off;
	((struct record_header *)b->data)->size = len;
	((struct record_header *)b->data)->seq = 0;
	barrier_var(len);
	if (len <= BUFFER_DATA)
		bpf_seq_write(seq, b->data, len); /* what does not fit is asked for again, with more room */
	buffer_release(b);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
