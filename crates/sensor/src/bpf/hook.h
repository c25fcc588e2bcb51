/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * Entries: how each tier comes to the one body of a capture.
 *
 * The loader finds programs by their names, `<event>__<how>` (`a_and_b__…` for one that serves two events), and by their section what
 * they hook and in which tier. A name that ends in `_opt` is one of several for different kernels: that it is missing is no loss.
 *
 * A body is `static __always_inline int body(const struct call *call)`, for system calls, or any expression that uses the arguments by
 * name, for functions of the kernel.
 */
#pragma once

#include "event.h"

/* Programs of the tracepoint tier, by kind: the one program on all system calls jumps to that of a call that a rule wants. */
struct { __uint(type, BPF_MAP_TYPE_PROG_ARRAY); __uint(max_entries, KIND_MAX); __type(key, u32); __type(value, u32); } exits SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_PROG_ARRAY); __uint(max_entries, KIND_MAX); __type(key, u32); __type(value, u32); } entries SEC(".maps");

/* Whether the system call that `regs` belong to is one of `kind` that a rule wants; then its arguments. */
static __always_inline bool call_of(struct call *call, struct pt_regs *regs, u32 kind)
{
	if (!wanted_here(kind))
		return false;
	call->kind = wanted_call(regs, &call->shape, &call->compat);
	if (call->kind != kind)
		return false;
	call->ret = 0;
	arguments(call, regs);
	return true;
}

/* The same for a call that has ended with a result that is an event. */
static __always_inline bool ended_call_of(struct call *call, struct pt_regs *regs, long ret, u32 kind)
{
	struct settings *s = get_settings();

	if (!s || !(wanted_result(s, ret) || goes_on(kind, ret)) || !call_of(call, regs, kind))
		return false;
	call->ret = ret;
	return true;
}

static __always_inline struct pt_regs *user_regs(void)
{
	return (void *)bpf_task_pt_regs(bpf_get_current_task_btf());
}

/*
 * The registers in a trampoline at a system call's own function. Some kernels of old (5.10 of Debian) know pt_regs there by its name only,
 * and refuse a program that reads the argument; the other way is as good there.
 */
#ifdef LEGACY
#define TRAMPOLINE_REGS(ctx) user_regs()
#else
#define TRAMPOLINE_REGS(ctx) ((void *)(ctx)[0])
#endif

/* The end of every program that is not made by BPF_PROG or BPF_KPROBE. */
#define ENDING(ctx, value)           \
	({                           \
		int __value = value; \
		flush(ctx);          \
		__value;             \
	})

/* System calls. CALL_EXIT once for each event; SYSCALL_EXIT for each of its calls by its 64-bit name, COMPAT_EXIT for those that 32-bit programs enter elsewhere. */
#define CALL_EXIT(event, kind, body)                                                   \
	SEC("tp_btf/sys_exit")                                                         \
	int event##__exit(u64 *ctx)                                                    \
	{                                                                              \
		struct call call;                                                      \
		return ENDING(ctx, ended_call_of(&call, (void *)ctx[0], ctx[1], kind) ? body(&call) : 0); \
	}

#define EXIT_OF(event, kind, body, function)                                           \
	SEC("fexit/" #function)                                                        \
	int event##__fexit##function(u64 *ctx)                                         \
	{                                                                              \
		struct call call;                                                      \
		return ENDING(ctx, ended_call_of(&call, TRAMPOLINE_REGS(ctx), ctx[1], kind) ? body(&call) : 0); \
	}                                                                              \
	SEC("kretprobe/" #function)                                                    \
	int event##__kret##function(struct pt_regs *ctx)                               \
	{                                                                              \
		struct call call;                                                      \
		return ENDING(ctx, ended_call_of(&call, user_regs(), PT_REGS_RC(ctx), kind) ? body(&call) : 0); \
	}

#define SYSCALL_EXIT(event, kind, body, name)          \
	EXIT_OF(event, kind, body, __x64_sys_##name)   \
	EXIT_OF(event, kind, body, __ia32_sys_##name)
#define COMPAT_EXIT(event, kind, body, name) EXIT_OF(event, kind, body, __ia32_compat_sys_##name)

/* The same at the beginning of a call. In the tracepoint tier this puts a second hook on all system calls while a rule wants the event. */
#define CALL_ENTRY(event, kind, body)                                          \
	SEC("tp_btf/sys_enter")                                                \
	int event##__enter(u64 *ctx)                                           \
	{                                                                      \
		struct call call;                                              \
		return ENDING(ctx, call_of(&call, (void *)ctx[0], kind) ? body(&call) : 0); \
	}

#define ENTRY_OF(event, kind, body, function)                                  \
	SEC("fentry/" #function)                                               \
	int event##__fentry##function(u64 *ctx)                                \
	{                                                                      \
		struct call call;                                              \
		return ENDING(ctx, call_of(&call, TRAMPOLINE_REGS(ctx), kind) ? body(&call) : 0); \
	}                                                                      \
	SEC("kprobe/" #function)                                               \
	int event##__kprobe##function(struct pt_regs *ctx)                     \
	{                                                                      \
		struct call call;                                              \
		return ENDING(ctx, call_of(&call, user_regs(), kind) ? body(&call) : 0);    \
	}

#define SYSCALL_ENTRY(event, kind, body, name)          \
	ENTRY_OF(event, kind, body, __x64_sys_##name)   \
	ENTRY_OF(event, kind, body, __ia32_sys_##name)
#define COMPAT_ENTRY(event, kind, body, name) ENTRY_OF(event, kind, body, __ia32_compat_sys_##name)

/* Functions of the kernel. `call` is an expression of the arguments, which are declared after it, and of `ret` at a function's end. */
#define FUNCTION_ENTRY(event, function, call, ...)                                             \
	SEC("fentry/" #function)                                                               \
	int BPF_PROG(event##__fentry_##function, ##__VA_ARGS__) { call; return 0; }            \
	SEC("kprobe/" #function)                                                               \
	int BPF_KPROBE(event##__kprobe_##function, ##__VA_ARGS__) { call; return 0; }

/*
 * A kretprobe does not see the arguments any more: a kprobe keeps them, by thread and by hook. An entry of the map lives as long as the
 * function runs; where the map has thrown it out the end is not told.
 */
struct function_key { u64 thread; u64 hook; };
struct function_arguments { u64 a[6]; };
struct { __uint(type, BPF_MAP_TYPE_LRU_HASH); __uint(max_entries, 8192); __type(key, struct function_key); __type(value, struct function_arguments); } running SEC(".maps");

static __always_inline int function_begins(struct pt_regs *ctx, u64 hook)
{
	struct function_key key = { .thread = bpf_get_current_pid_tgid(), .hook = hook };
	struct function_arguments args = { .a = { PT_REGS_PARM1(ctx), PT_REGS_PARM2(ctx), PT_REGS_PARM3(ctx), PT_REGS_PARM4(ctx), PT_REGS_PARM5(ctx), PT_REGS_PARM6(ctx) } };

	bpf_map_update_elem(&running, &key, &args, BPF_ANY);
	return 0;
}

/* Puts the arguments and, as the one after the last of `count`, the result where an fexit program would find them. */
static __always_inline bool function_ends(struct pt_regs *ctx, u64 hook, u32 count, u64 *out)
{
	struct function_key key = { .thread = bpf_get_current_pid_tgid(), .hook = hook };
	struct function_arguments *args = bpf_map_lookup_elem(&running, &key);

	if (!args)
		return false;
	for (u32 i = 0; i < 6; i++)
		out[i] = args->a[i];
	out[count] = PT_REGS_RC(ctx);
	bpf_map_delete_elem(&running, &key);
	return true;
}

/* The last of the declared arguments is the result. */
#define FUNCTION_EXIT(event, function, call, ...) FUNCTION_EXIT_(event, function, __COUNTER__, call, ##__VA_ARGS__)
#define FUNCTION_EXIT_(event, function, hook, call, ...)                                       \
	SEC("fexit/" #function)                                                                \
	int BPF_PROG(event##__fexit_##function, ##__VA_ARGS__) { call; return 0; }             \
	static __always_inline int BPF_BODY(event##_end_of_##function, ##__VA_ARGS__) { call; return 0; } \
	SEC("kprobe/" #function)                                                               \
	int event##__kenter_##function(struct pt_regs *ctx) { return function_begins(ctx, hook); } \
	SEC("kretprobe/" #function)                                                            \
	int event##__kret_##function(struct pt_regs *ctx)                                      \
	{                                                                                      \
		u64 values[7] = {};                                                            \
		if (!function_ends(ctx, hook, ___bpf_narg(__VA_ARGS__) - 1, values))           \
			return 0;                                                              \
		return ENDING(ctx, event##_end_of_##function(values));                                      \
	}

/* A security hook: as an LSM program where BPF is an active LSM, else on the function that calls the LSMs. */
#define SECURITY_HOOK(event, hook, function, call, ...)                                        \
	SEC("lsm/" #hook)                                                                      \
	int BPF_PROG(event##__lsm_##hook, ##__VA_ARGS__) { call; return 0; }                   \
	FUNCTION_ENTRY(event, function, call, ##__VA_ARGS__)

