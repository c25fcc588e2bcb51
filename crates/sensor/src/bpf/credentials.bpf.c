/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* What a process may do, and how the kernel treats it. */
#include "hook.h"

#define PR_SET_NAME 15

static __always_inline int prctl_ended(const struct call *call)
{
	struct prctl_body *body;
	struct buffer *b;

	if (!approve_numbers(KIND_PRCTL, (u32)call->a[0], 0))
		return 0;
	body = EVENT_BEGIN(b, KIND_PRCTL, flags_of(call), call->ret, struct prctl_body);
	if (!body)
		return 0;
	body->option = call->a[0];
	if (body->option == PR_SET_NAME)
		put_string(b, SECTION_ARG, (void *)call->a[1], false);
	send(b, RING_BULK);
	return 0;
}
CALL_EXIT(prctl, KIND_PRCTL, prctl_ended)
SYSCALL_EXIT(prctl, KIND_PRCTL, prctl_ended, prctl)
