/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * A process is moved to another cgroup by writing its id to a file of that cgroup. The kernel says whom it moves, when it does, in the
 * writer's context; the id in the text would be one of the writer's own pid namespace, and 0 is the writer.
 */
#include "hook.h"
#include "objects.h"

/* The file that is being written to, by thread. */
struct cgroup_file { kptr dentry, mnt; };
struct { __uint(type, BPF_MAP_TYPE_LRU_HASH); __uint(max_entries, 1024); __type(key, u64); __type(value, struct cgroup_file); } cgroup_files SEC(".maps");

static __always_inline int cgroup_file_written(struct kernfs_open_file *of)
{
	struct file *file = LOAD(struct kernfs_open_file, of, file);
	u64 id = bpf_get_current_pid_tgid();
	struct cgroup_file written = {};

	if (!file || !wanted_here(KIND_CGROUP_WRITE))
		return 0;
	written.dentry = number_of(LOAD(struct file, file, f_path.dentry));
	written.mnt = number_of(LOAD(struct file, file, f_path.mnt));
	bpf_map_update_elem(&cgroup_files, &id, &written, BPF_ANY);
	return 0;
}
FUNCTION_ENTRY(cgroup_write, cgroup_procs_write, cgroup_file_written(of), struct kernfs_open_file *of)
FUNCTION_ENTRY(cgroup_write, cgroup_threads_write, cgroup_file_written(of), struct kernfs_open_file *of)
FUNCTION_ENTRY(cgroup_write, cgroup1_procs_write, cgroup_file_written(of), struct kernfs_open_file *of)
FUNCTION_ENTRY(cgroup_write, cgroup1_tasks_write, cgroup_file_written(of), struct kernfs_open_file *of)

static __always_inline bool is_write(u32 nr, bool compat)
{
	/* write, pwrite64, writev, pwritev, pwritev2 */
	if (compat)
		return nr == 4 || nr == 181 || nr == 146 || nr == 334 || nr == 379;
	return nr == 1 || nr == 18 || nr == 20 || nr == 296 || nr == 328;
}

/* Where the write itself was not seen: the file of the descriptor. */
static __always_inline bool written_by_call(struct cgroup_file *written)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct pt_regs *regs = user_regs();
	struct file *file;
	u32 magic;
	struct call call = { .compat = is_compat(task) };

	if (!is_write((u32)LOAD(struct pt_regs, regs, orig_ax) & ~0x40000000u, call.compat))
		return false;
	arguments(&call, regs);
	file = file_of_fd(task, call.a[0]);
	if (!file)
		return false;
	magic = LOAD(struct super_block___magic, LOAD(struct dentry, LOAD(struct file, file, f_path.dentry), d_sb), s_magic);
	if (magic != MAGIC_CGROUP1 && magic != MAGIC_CGROUP2)
		return false;
	written->dentry = number_of(LOAD(struct file, file, f_path.dentry));
	written->mnt = number_of(LOAD(struct file, file, f_path.mnt));
	return true;
}

SEC("tp_btf/cgroup_attach_task")
int cgroup_write__all_attach(u64 *ctx)
{
	struct task_struct *moved = (void *)ctx[2];
	u64 id = bpf_get_current_pid_tgid();
	struct cgroup_file *seen, written = {};
	struct cgroup_write_body *body;
	struct buffer *b;
	u16 flags;

	if (!wanted_here(KIND_CGROUP_WRITE))
		return 0;
	flags = call_flags(bpf_get_current_task_btf());
	seen = bpf_map_lookup_elem(&cgroup_files, &id);
	if (seen) {
		written = *seen;
		bpf_map_delete_elem(&cgroup_files, &id);
	} else if (!written_by_call(&written) && !(flags & HEADER_ASYNC)) {
		return 0; /* the kernel moves it on its own account, as when a CPU goes */
	}
	body = EVENT_BEGIN(b, KIND_CGROUP_WRITE, flags, 0, struct cgroup_write_body);
	if (!body)
		return 0;
	body->pid = LOAD(struct task_struct, moved, tgid);
	if (written.dentry)
		put_file(b, SECTION_PATH, (void *)written.dentry, (void *)written.mnt);
	send(b, RING_BULK);
	return 0;
}
