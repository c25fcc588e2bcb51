/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* One tiny program of each kind. Which of them the kernel takes decides the tier: a version number would not tell. */
#include "kernel.h"

SEC("tp_btf/sched_process_exit")
int BPF_PROG(probe_tracepoint, struct task_struct *task) { return 0; }

/* What the object for current kernels needs of them: the newest is bpf_loop() (5.17). */
static u64 probe_number;

static long probe_step(u32 i, void *state) { return 1; }

__noinline int probe_memory(u64 *memory) { return memory ? *memory != 0 : 0; }

SEC("tp_btf/sched_process_exit")
int BPF_PROG(probe_current, struct task_struct *task)
{
	struct pt_regs *regs = (void *)bpf_task_pt_regs(bpf_get_current_task_btf());
	u64 memory = __sync_fetch_and_add(&probe_number, 1);

	if (!regs)
		return 0;
	bpf_loop(1, probe_step, &memory, 0);
	return probe_memory(&memory);
}

SEC("fentry/security_file_open")
int BPF_PROG(probe_fentry, struct file *file) { return 0; }

SEC("lsm/file_open")
int BPF_PROG(probe_lsm, struct file *file) { return 0; }

/* These load everywhere; whether they attach is what tells. A function that is rarely called, so that the moment costs nobody anything. */
SEC("kprobe/security_path_chroot")
int probe_kprobe(struct pt_regs *regs) { return 0; }

SEC("kretprobe/security_path_chroot")
int probe_kretprobe(struct pt_regs *regs) { return 0; }

char LICENSE[] SEC("license") = "Dual BSD/GPL";
