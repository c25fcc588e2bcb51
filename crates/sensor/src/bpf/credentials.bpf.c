/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * What a process may do, and how the kernel treats it.
 *
 * A change of ids or capabilities is told with both: in the record's header the credentials that the change was made with, in the
 * event's struct those that it has made. Where hooks on functions work, one on the security hook, which every such call passes once it
 * is allowed, has the two: the new ones are not yet in force. In the tracepoint tier the hook comes when they are; then the header
 * says so (HEADER_CREDS_AFTER), and user space, which knows what the process had before, puts them right. That spares a second hook on all
 * system calls. A call that changes nothing may be told there and not in the other tiers, where newer kernels return before the hook.
 */
#include "hook.h"

#define PR_SET_NAME 15

static __always_inline u16 flags_of_hook(void)
{
	return is_compat(bpf_get_current_task_btf()) ? HEADER_COMPAT : 0;
}

static __always_inline const struct cred *own_cred(void)
{
	return LOAD(struct task_struct, bpf_get_current_task_btf(), cred);
}

static __always_inline int uids_set(const struct cred *cred, u16 flags)
{
	struct setuid_body *body;
	struct buffer *b;

	body = EVENT_BEGIN(b, KIND_SETUID, flags, 0, struct setuid_body);
	if (!body)
		return 0;
	body->uid = LOAD(struct cred, cred, uid.val);
	body->euid = LOAD(struct cred, cred, euid.val);
	body->fsuid = LOAD(struct cred, cred, fsuid.val);
	send(b, RING_VITAL);
	return 0;
}

static __always_inline int gids_set(const struct cred *cred, u16 flags)
{
	struct setgid_body *body;
	struct buffer *b;

	body = EVENT_BEGIN(b, KIND_SETGID, flags, 0, struct setgid_body);
	if (!body)
		return 0;
	body->gid = LOAD(struct cred, cred, gid.val);
	body->egid = LOAD(struct cred, cred, egid.val);
	body->fsgid = LOAD(struct cred, cred, fsgid.val);
	send(b, RING_VITAL);
	return 0;
}

static __always_inline int capabilities_set(u64 effective, u64 permitted, u16 flags)
{
	struct capset_body *body;
	struct buffer *b;

	body = EVENT_BEGIN(b, KIND_CAPSET, flags, 0, struct capset_body);
	if (!body)
		return 0;
	body->cap_effective = effective;
	body->cap_permitted = permitted;
	send(b, RING_VITAL);
	return 0;
}

/*
 * setfsuid(2) and setfsgid(2) return the old id, whether they did it or not; programs ask for it by setting an id that cannot be. In a
 * user namespace the ids of the call are not those of the kernel, and a refusal is told as a change to what was there before.
 */
static __always_inline bool has_set(const struct call *call, u32 now)
{
	const struct cred *cred = own_cred();
	struct user_namespace *ns = LOAD(struct cred, cred, user_ns);

	if (call->shape != SHAPE_SETFSUID && call->shape != SHAPE_SETFSGID)
		return call->ret == 0;
	if ((u32)call->a[0] == (u32)-1)
		return false;
	return !ns || LOAD(struct user_namespace, ns, level) > 0 || now == (u32)call->a[0];
}

static __always_inline int setuid_ended(const struct call *call)
{
	const struct cred *cred = own_cred();

	return has_set(call, LOAD(struct cred, cred, fsuid.val)) ? uids_set(cred, flags_of(call) | HEADER_CREDS_AFTER) : 0;
}
CALL_EXIT(setuid, KIND_SETUID, setuid_ended)
FUNCTION_EXIT(setuid, security_task_fix_setuid, if (!ret && wanted_here(KIND_SETUID)) uids_set(new, flags_of_hook()),
	      struct cred *new, const struct cred *old, int flags, int ret)

static __always_inline int setgid_ended(const struct call *call)
{
	const struct cred *cred = own_cred();

	return has_set(call, LOAD(struct cred, cred, fsgid.val)) ? gids_set(cred, flags_of(call) | HEADER_CREDS_AFTER) : 0;
}
CALL_EXIT(setgid, KIND_SETGID, setgid_ended)
FUNCTION_EXIT(setgid, security_task_fix_setgid, if (!ret && wanted_here(KIND_SETGID)) gids_set(new, flags_of_hook()),
	      struct cred *new, const struct cred *old, int flags, int ret)

static __always_inline int capset_ended(const struct call *call)
{
	const struct cred *cred = own_cred();

	if (call->ret)
		return 0;
	return capabilities_set(capability_set(cred, true), capability_set(cred, false), flags_of(call) | HEADER_CREDS_AFTER);
}
CALL_EXIT(capset, KIND_CAPSET, capset_ended)
FUNCTION_EXIT(capset, security_capset,
	      if (!ret && wanted_here(KIND_CAPSET)) capabilities_set(capability_set(new, true), capability_set(new, false), flags_of_hook()),
	      struct cred *new, const struct cred *old, const void *effective, const void *inheritable, const void *permitted, int ret)

static __always_inline int unshare_ended(const struct call *call)
{
	struct unshare_body *body;
	struct buffer *b;

	if (!approve_numbers(KIND_UNSHARE, call->a[0], 0))
		return 0;
	body = EVENT_BEGIN(b, KIND_UNSHARE, flags_of(call), call->ret, struct unshare_body);
	if (!body)
		return 0;
	body->flags = call->a[0];
	send(b, RING_BULK);
	return 0;
}
CALL_EXIT(unshare, KIND_UNSHARE, unshare_ended)
SYSCALL_EXIT(unshare, KIND_UNSHARE, unshare_ended, unshare)

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
