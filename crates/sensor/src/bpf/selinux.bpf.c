/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * SELinux is told what to do through files of its own. What is written is read from the caller's memory after the kernel has read it: another
 * thread may have changed it in between. Which switch is set is known by the file.
 */
#include "hook.h"
#include "objects.h"

/* Which of the controls a file is. The others (contexts, decisions) are written to all the time and change nothing. */
static __always_inline u32 selinux_control(struct file *file)
{
	struct dentry *dentry = LOAD(struct file, file, f_path.dentry), *parent;
	char name[8] = {};

	if ((u32)LOAD(struct super_block___magic, LOAD(struct dentry, dentry, d_sb), s_magic) != MAGIC_SELINUX)
		return 0;
	bpf_probe_read_kernel(name, sizeof(name), LOAD(struct dentry, dentry, d_name.name));
	if (!__builtin_memcmp(name, "enforce", 8))
		return SELINUX_ENFORCE;
	if (!__builtin_memcmp(name, "disable", 8))
		return SELINUX_DISABLE;
	if (!__builtin_memcmp(name, "commit_p", 8))
		return SELINUX_COMMIT;
	parent = LOAD(struct dentry, dentry, d_parent);
	bpf_probe_read_kernel(name, sizeof(name), LOAD(struct dentry, parent, d_name.name));
	return __builtin_memcmp(name, "booleans", 8) ? 0 : SELINUX_BOOL;
}

SUBPROGRAM int selinux_written(kptr file, u64 text, u64 count, s64 ret, u32 record_flags)
{
	u32 control = selinux_control((void *)file), len = count;
	struct selinux_body *body;
	struct dentry *dentry;
	struct buffer *b;

	if (!control)
		return 0;
	body = EVENT_BEGIN(b, KIND_SELINUX, record_flags, ret, struct selinux_body);
	if (!body)
		return 0;
	body->control = control;
	barrier_var(len);
	if (len > sizeof(body->text) - 1)
		len = sizeof(body->text) - 1;
	bpf_probe_read_user(body->text, len, (void *)text);
	dentry = LOAD(struct file, (void *)file, f_path.dentry);
	put_file(b, SECTION_PATH, dentry, LOAD(struct file, (void *)file, f_path.mnt));
	send(b, RING_VITAL);
	return 0;
}

static __always_inline int selinux_told(struct file *file, const char *text, u64 count, s64 ret)
{
	struct settings *s = get_settings();

	if (s && wanted_here(KIND_SELINUX) && wanted_result(s, ret))
		selinux_written(number_of(file), number_of(text), count, ret, call_flags(bpf_get_current_task_btf()));
	return 0;
}
#define SELINUX_FILE(function)                                                                                    \
	FUNCTION_EXIT(selinux, function, selinux_told(file, text, count, ret), struct file *file, const char *text, \
		      unsigned long count, void *position, long ret)
SELINUX_FILE(sel_write_enforce)
SELINUX_FILE(sel_write_bool)
SELINUX_FILE(sel_commit_bools_write)
SELINUX_FILE(sel_write_disable) /* before 6.4 */

/* The tracepoint tier: every write in the system comes by while a rule wants this event. Of several buffers the first is looked at. */
static __always_inline int selinux_call_ended(const struct call *call)
{
	struct file *file = file_of_fd(bpf_get_current_task_btf(), call->a[0]);
	struct { u64 base, len; } buffer = { .base = call->a[1], .len = call->a[2] };
	struct { u32 base, len; } small = {};

	if (!file)
		return 0;
	if (call->shape == SHAPE_WRITEV && call->compat) {
		bpf_probe_read_user(&small, sizeof(small), (void *)call->a[1]);
		buffer.base = small.base;
		buffer.len = small.len;
	} else if (call->shape == SHAPE_WRITEV) {
		bpf_probe_read_user(&buffer, sizeof(buffer), (void *)call->a[1]);
	}
	return selinux_written(number_of(file), buffer.base, buffer.len, call->ret, flags_of(call));
}
CALL_EXIT(selinux, KIND_SELINUX, selinux_call_ended)
