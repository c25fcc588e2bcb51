/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* Modules: what goes into the kernel and comes out of it. The name is the module's own, whatever the file is called. */
#include "hook.h"
#include "objects.h"

/* What was seen of a call, by thread. The file is kept as its parts; its directory entry outlives the call unless it is removed meanwhile. */
struct module_seen { kptr dentry, mnt; char name[MODULE_NAME]; };
struct { __uint(type, BPF_MAP_TYPE_LRU_HASH); __uint(max_entries, 1024); __type(key, u64); __type(value, struct module_seen); } modules SEC(".maps");

static __always_inline struct module_seen *module_seen(void)
{
	u64 id = bpf_get_current_pid_tgid();

	return bpf_map_lookup_elem(&modules, &id);
}

/* The same, made when there is none. */
static __always_inline struct module_seen *module_begins(void)
{
	u64 id = bpf_get_current_pid_tgid();
	struct module_seen empty = {};

	bpf_map_update_elem(&modules, &id, &empty, BPF_NOEXIST);
	return bpf_map_lookup_elem(&modules, &id);
}

static __always_inline void module_ends(void)
{
	u64 id = bpf_get_current_pid_tgid();

	bpf_map_delete_elem(&modules, &id);
}

static __always_inline int module_read(struct file *file, u32 id)
{
	u64 thread = bpf_get_current_pid_tgid();
	struct module_seen seen = {};
	struct call call;

	if (!bpf_core_enum_value_exists(enum kernel_read_file_id___modules, READING_MODULE) ||
	    id != bpf_core_enum_value(enum kernel_read_file_id___modules, READING_MODULE))
		return 0;
	if (!call_of(&call, user_regs(), KIND_LOAD_MODULE))
		return 0;
	seen.dentry = number_of(LOAD(struct file, file, f_path.dentry));
	seen.mnt = number_of(LOAD(struct file, file, f_path.mnt));
	bpf_map_update_elem(&modules, &thread, &seen, BPF_ANY); /* whatever an earlier call has left */
	return 0;
}
SECURITY_HOOK(load_module, kernel_read_file, security_kernel_read_file, module_read(file, id), struct file *file, u32 id)

/* In every tier: the module is in its place, and its code has not run yet. */
SEC("tp_btf/module_load")
int load_module__all_module_load(u64 *ctx)
{
	struct module *module = (void *)ctx[0];
	struct module_seen *seen;
	struct call call;

	if (!call_of(&call, user_regs(), KIND_LOAD_MODULE))
		return 0;
	if (call.shape == SHAPE_INIT_MODULE)
		module_ends();
	seen = module_begins();
	if (!seen)
		return 0;
	bpf_probe_read_kernel(seen->name, sizeof(seen->name), ADDR(struct module, module, name));
	return 0;
}

static __always_inline int load_module_ended(const struct call *call)
{
	bool from_memory = call->shape == SHAPE_INIT_MODULE;
	struct module_seen *seen = module_seen();
	struct load_module_body *body;
	struct file *file = 0;
	struct buffer *b;

	body = EVENT_BEGIN(b, KIND_LOAD_MODULE, flags_of(call), call->ret, struct load_module_body);
	if (!body)
		goto out;
	body->from_memory = from_memory;
	if (seen)
		bpf_probe_read_kernel(body->name, sizeof(body->name), seen->name);
	if (seen && seen->dentry && !from_memory) {
		put_file(b, SECTION_PATH, (void *)seen->dentry, (void *)seen->mnt);
	} else if (!from_memory) {
		file = file_of_fd(bpf_get_current_task_btf(), call->a[0]);
		if (file)
			put_file(b, SECTION_PATH, LOAD(struct file, file, f_path.dentry), LOAD(struct file, file, f_path.mnt));
	}
	/*
	 * The caller's memory: the kernel takes its own copy of the parameters to pieces, with NULs in between, before anybody is told of the
	 * module. Another thread may have changed them since.
	 */
	put_string(b, SECTION_ARG, (void *)(from_memory ? call->a[2] : call->a[1]), false);
	send(b, RING_VITAL);
out:
	if (seen)
		module_ends();
	return 0;
}
CALL_EXIT(load_module, KIND_LOAD_MODULE, load_module_ended)
SYSCALL_EXIT(load_module, KIND_LOAD_MODULE, load_module_ended, init_module)
SYSCALL_EXIT(load_module, KIND_LOAD_MODULE, load_module_ended, finit_module)

/* In every tier: the module goes, and the kernel says which. */
SEC("tp_btf/module_free")
int unload_module__all_module_free(u64 *ctx)
{
	struct module *module = (void *)ctx[0];
	struct module_seen *seen;
	struct call call;

	if (!call_of(&call, user_regs(), KIND_UNLOAD_MODULE))
		return 0;
	seen = module_begins();
	if (seen)
		bpf_probe_read_kernel(seen->name, sizeof(seen->name), ADDR(struct module, module, name));
	return 0;
}

static __always_inline int unload_module_ended(const struct call *call)
{
	struct module_seen *seen = module_seen();
	struct unload_module_body *body;
	struct buffer *b;

	body = EVENT_BEGIN(b, KIND_UNLOAD_MODULE, flags_of(call), call->ret, struct unload_module_body);
	if (!body)
		goto out;
	if (seen && call->ret >= 0)
		bpf_probe_read_kernel(body->name, sizeof(body->name), seen->name);
	else /* refused: what the caller asked for */
		bpf_probe_read_user_str(body->name, sizeof(body->name), (void *)call->a[0]);
	send(b, RING_VITAL);
out:
	if (seen)
		module_ends();
	return 0;
}
CALL_EXIT(unload_module, KIND_UNLOAD_MODULE, unload_module_ended)
SYSCALL_EXIT(unload_module, KIND_UNLOAD_MODULE, unload_module_ended, delete_module)
