/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * Capabilities: which ones a process asks for, and which of them it is granted.
 *
 * The kernel asks very often for the same ones, so what a program has used is kept by process, and only a bit that is new makes a
 * record: a few for each program that runs. An exec starts anew.
 */
#include "hook.h"
#include "process.h"

#define CAP_SYS_ADMIN 21
#define CAP_OPT_NOAUDIT (1 << 1)
#define CLONE_NEW_ANY 0x7e020080ul /* all of CLONE_NEW… */

struct capability_use { u64 started, image; u64 attempted, used; };
struct { __uint(type, BPF_MAP_TYPE_LRU_HASH); __uint(max_entries, 16384); __type(key, u32); __type(value, struct capability_use); } capability_uses SEC(".maps");

static __always_inline int send_use(const struct capability_use *use)
{
	struct capabilities_body *body;
	struct buffer *b;

	body = EVENT_BEGIN(b, KIND_CAPABILITIES, flags_of_hook(), 0, struct capabilities_body);
	if (!body)
		return 0;
	body->attempted = use->attempted;
	body->used = use->used;
	send(b, RING_BULK);
	return 0;
}

/* Two threads that use a capability for the first time at once may both be told of; the second record says no less than the first. */
static __always_inline int capability_checked(const struct cred *cred, int cap, int ret)
{
	struct task_struct *self = bpf_get_current_task_btf();
	struct capability_use fresh = {}, *use;
	u32 pid = bpf_get_current_pid_tgid() >> 32;
	u64 bit = 1ull << (cap & 63);

	fresh.image = LOAD(struct task_struct, self, self_exec_id);
	fresh.started = LOAD(struct task_struct, LOAD(struct task_struct, self, group_leader), start_boottime);
	use = bpf_map_lookup_elem(&capability_uses, &pid);
	if (use && use->started == fresh.started && use->image == fresh.image) {
		if ((use->attempted & bit) && (ret || (use->used & bit)))
			return 0;
		fresh = *use;
	}
	/* Of the others' credentials (the opener of a file, a traced process), of the kernel's own threads: not the process's use. */
	if (!wanted_here(KIND_CAPABILITIES) || LOAD(struct task_struct, self, flags) & PF_KTHREAD || number_of(cred) != number_of(own_cred()))
		return 0;
	fresh.attempted |= bit;
	if (!ret)
		fresh.used |= bit;
	bpf_map_update_elem(&capability_uses, &pid, &fresh, BPF_ANY);
	return send_use(&fresh);
}

/* Questions that the kernel asks without audit are no attempts: they decide how much memory is set aside, or what a file in /proc shows. */
FUNCTION_EXIT(capabilities, cap_capable, if (!(opts & CAP_OPT_NOAUDIT)) capability_checked(cred, cap, ret), const struct cred *cred,
	      struct user_namespace *ns, int cap, unsigned int opts, int ret)

/*
 * The tracepoint (6.13) does not say whether a question is without audit. The frequent one, CAP_SYS_ADMIN for each growth of memory, is
 * known by the calls that memory grows in, and by page faults, which are in no call.
 */
static __always_inline bool is_about_memory(void)
{
	struct pt_regs *regs = user_regs();
	long nr = LOAD(struct pt_regs, regs, orig_ax);

	if (nr < 0)
		return true;
	switch ((u32)nr) {
	case 1: case 18: case 20: case 40: case 275: case 285: case 296: case 326: case 328: /* write and its like, to a tmpfs */
	case 9: case 10: case 12: case 25: case 30: case 76: case 77: /* mmap, mprotect, brk, mremap, shmat, truncate, ftruncate */
	case 57: case 58: case 59: case 322: /* fork, vfork, execve, execveat */
		return true;
	case 56: /* clone */
		return !(LOAD(struct pt_regs, regs, di) & CLONE_NEW_ANY);
	case 435: { /* clone3 */
		u64 flags = 0;
		bpf_probe_read_user(&flags, sizeof(flags), (void *)LOAD(struct pt_regs, regs, di));
		return !(flags & CLONE_NEW_ANY);
	}
	}
	return false;
}

SEC("tp_btf/cap_capable")
int BPF_PROG(capabilities__checked, const struct cred *cred, struct user_namespace *target, const struct user_namespace *capable, int cap, int ret)
{
	if (cap == CAP_SYS_ADMIN && is_about_memory())
		return 0;
	return capability_checked(cred, cap, ret);
}
