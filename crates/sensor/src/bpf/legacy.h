/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* What kernels before 5.17 lack, done with what they have. Included by base.h in the object for those kernels. */
#pragma once

/* Whether records go through perf buffers, because this kernel has no ring buffer (5.8) or refuses it. Set before load. */
const volatile bool use_perf SEC(".rodata.perf") = false;

#define LOAD(type, ptr, field)                                                       \
	({                                                                           \
		const void *__p = (const void *)(ptr);                               \
		__typeof__(((type *)0)->field) __v;                                  \
		bpf_core_read(&__v, sizeof(__v), &((type *)__p)->field);             \
		__v;                                                                 \
	})

/* bpf_loop() came with 5.17. A loop with a constant bound is followed step by step by the verifier, so `most` must be modest, and the state should lie in a map. */
#define LOOP(count, most, step, state)                                               \
	({                                                                           \
		u32 __n = (count), __i = 0;                                          \
		_Pragma("clang loop unroll(disable)") for (; __i < (most); __i++) {  \
			if (__i >= __n)                                              \
				break;                                               \
			if (step(__i, state)) {                                      \
				__i++;                                               \
				break;                                               \
			}                                                            \
		}                                                                    \
		__i;                                                                 \
	})
#define STEP static __always_inline

/* Memory is an argument of global subprograms since 5.13: here they are checked again at each call. */
#define SUBPROGRAM_ON_MEMORY static __noinline

/* 5.11. The pointer has no type here, which LOAD() does not need. */
#define bpf_get_current_task_btf() ((struct task_struct *)bpf_get_current_task())

/* 5.15. The registers of the entry lie at the top of the task's kernel stack, which has four pages (no distribution builds with KASAN). */
#define KERNEL_STACK (4 << 12)
#define bpf_task_pt_regs(task) (LOAD(struct task_struct, task, stack) + KERNEL_STACK - bpf_core_type_size(struct pt_regs))
