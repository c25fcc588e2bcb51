/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * File calls through io_uring in the tracepoint tier: no system call is made for them. The request is seen when it is submitted, with the
 * kernel's copies of the paths; its result when it completes, perhaps in another thread. User space joins the two by the request's
 * address. (In the lsm tier the inner functions are hooked, which io_uring calls as the system calls do.)
 */
#include "syscall.h"

enum { IO_OPENAT = 18, IO_OPENAT2 = 28, IO_RENAMEAT = 35, IO_UNLINKAT = 36, IO_MKDIRAT = 37, IO_LINKAT = 39, IO_FSETXATTR = 41, IO_SETXATTR = 42, IO_FTRUNCATE = 55 };
#define REQ_F_CQE_SKIP_BIT 6 /* IOSQE_CQE_SKIP_SUCCESS is the same bit of the submission flags, so part of the interface */

static __always_inline u32 uring_kind(void *req, u8 opcode)
{
	switch (opcode) {
	case IO_OPENAT: case IO_OPENAT2: case IO_FTRUNCATE: return KIND_OPEN;
	case IO_SETXATTR: case IO_FSETXATTR: return KIND_SETXATTR;
	case IO_RENAMEAT: return KIND_RENAME;
	case IO_UNLINKAT: return LOAD(struct io_unlink, req, flags) & AT_REMOVEDIR ? KIND_RMDIR : KIND_UNLINK;
	case IO_MKDIRAT: return KIND_MKDIR;
	case IO_LINKAT: return KIND_LINK;
	}
	return socket_operation(req, opcode);
}

static __always_inline bool uring_wanted(void *req, u32 *kind)
{
	struct settings *s = get_settings();
	struct filter *filter;

	*kind = uring_kind(req, LOAD(struct io_kiocb, req, opcode));
	if (!*kind || !s || own_task(s))
		return false;
	filter = get_filter(*kind);
	return filter && filter->enabled;
}

static __always_inline void put_filename(struct buffer *b, u16 tag, struct filename *name)
{
	if (name)
		put_string(b, tag, LOAD(struct filename, name, name), true);
}

#define REQUEST_NAME(type, req, field)                                                       \
	(bpf_core_type_exists(struct delayed_filename)                                        \
		 ? LOAD(struct type##___delayed, req, field.__incomplete_filename)            \
		 : LOAD(struct type, req, field))

/* `sees_end`: a completion comes whatever the caller asked for. */
SUBPROGRAM int submitted(kptr req_, bool sees_end)
{
	void *req = (void *)req_;
	struct task_struct *task = bpf_get_current_task_btf();
	struct filename *name = 0, *name2 = 0;
	struct uring_body *u;
	struct call_body *body;
	struct buffer *b;
	u8 opcode;
	u32 kind;

	if (!uring_wanted(req, &kind))
		return 0;
	if (is_socket_call(kind))
		return request_begins(req, kind, LOAD(struct io_kiocb, req, flags) & (1u << REQ_F_CQE_SKIP_BIT));
	opcode = LOAD(struct io_kiocb, req, opcode);
	b = record_begin(KIND_URING, HEADER_ASYNC, task);
	if (!b)
		return 0;
	u = reserve(b, sizeof(*u));
	body = reserve(b, sizeof(*body));
	if (!u || !body) {
		buffer_release(b);
		return 0;
	}
	__builtin_memset(body, 0, sizeof(*body));
	body->uid = body->gid = -1;
	body->dirfd2 = AT_FDCWD;
	u->call_kind = kind;
	u->silent = !sees_end && (LOAD(struct io_kiocb, req, flags) & (1u << REQ_F_CQE_SKIP_BIT));
	u->request = (u64)req;
	switch (kind) {
	case KIND_OPEN:
		if (opcode == IO_FTRUNCATE) {
			body->flags = TRUNCATE_FLAGS;
			break;
		}
		body->dirfd = LOAD(struct io_open, req, dfd);
		body->flags = LOAD(struct io_open, req, how.flags);
		body->mode = LOAD(struct io_open, req, how.mode);
		name = REQUEST_NAME(io_open, req, filename);
		break;
	case KIND_UNLINK: case KIND_RMDIR:
		body->dirfd = LOAD(struct io_unlink, req, dfd);
		body->flags = LOAD(struct io_unlink, req, flags);
		name = REQUEST_NAME(io_unlink, req, filename);
		break;
	case KIND_MKDIR:
		body->dirfd = LOAD(struct io_mkdir, req, dfd);
		body->mode = LOAD(struct io_mkdir, req, mode);
		name = REQUEST_NAME(io_mkdir, req, filename);
		break;
	case KIND_RENAME:
		body->dirfd = LOAD(struct io_rename, req, old_dfd);
		body->dirfd2 = LOAD(struct io_rename, req, new_dfd);
		body->flags = LOAD(struct io_rename, req, flags);
		name = REQUEST_NAME(io_rename, req, oldpath);
		name2 = REQUEST_NAME(io_rename, req, newpath);
		break;
	case KIND_LINK:
		body->dirfd = LOAD(struct io_link, req, old_dfd);
		body->dirfd2 = LOAD(struct io_link, req, new_dfd);
		body->flags = LOAD(struct io_link, req, flags);
		name = REQUEST_NAME(io_link, req, oldpath);
		name2 = REQUEST_NAME(io_link, req, newpath);
		break;
	case KIND_SETXATTR:
		if (opcode == IO_SETXATTR)
			name = REQUEST_NAME(io_xattr, req, filename);
		put_string(b, SECTION_ARG2, LOAD(struct io_xattr, req, ctx.kname), true);
		break;
	}
	put_filename(b, SECTION_ARG, name);
	if (name)
		put_base(b, SECTION_BASE, task, body->dirfd);
	if (name2) {
		put_filename(b, SECTION_ARG2, name2);
		put_base(b, SECTION_BASE2, task, body->dirfd2);
	}
	send(b, RING_BULK);
	return 0;
}

/* Since 6.4; before, the same under the name io_uring_submit_sqe. */
SEC("tp_btf/io_uring_submit_req")
int BPF_PROG(uring_submit, void *req) { return submitted(number_of(req), false); }
SEC("tp_btf/io_uring_submit_sqe")
int BPF_PROG(uring_submit_old, void *req) { return submitted(number_of(req), false); }

/* `call`: the number of the objects that were seen of it, or 0. */
SUBPROGRAM int completed(kptr req_, s64 res, u64 call)
{
	void *req = (void *)req_;
	struct task_struct *task = bpf_get_current_task_btf();
	struct settings *s = get_settings();
	struct call_body *body;
	struct buffer *b;
	struct file *file = 0;
	u8 opcode;
	u32 kind;

	if (!uring_wanted(req, &kind) || !s)
		return 0;
	if (is_socket_call(kind))
		return request_ended(req, res, kind);
	if (!wanted_result(s, res))
		return 0;
	opcode = LOAD(struct io_kiocb, req, opcode);
	b = call_begin(kind, HEADER_ASYNC, task, &body);
	if (!b)
		return 0;
	body->retval = res;
	body->request = (u64)req;
	body->call = call;
	/* With a fixed file slot the result is 0 and there is no descriptor: then only the path is told. */
	if (opcode == IO_FTRUNCATE || opcode == IO_FSETXATTR)
		file = LOAD(struct io_kiocb, req, file);
	else if (kind == KIND_OPEN && res >= 0 && !LOAD(struct io_open, req, file_slot))
		file = file_of_fd(task, res);
	if (opcode == IO_FTRUNCATE)
		body->flags = TRUNCATE_FLAGS;
	if (file)
		put_file(b, SECTION_PATH, LOAD(struct file, file, f_path.dentry), LOAD(struct file, file, f_path.mnt));
	send(b, RING_BULK);
	return 0;
}

/* The result is in the completion entry since 6.14, an argument of its own before. */
SEC("tp_btf/io_uring_complete")
int BPF_PROG(uring_complete, void *ctx_, void *req, struct io_uring_cqe *cqe)
{
	s32 res = LOAD(struct io_uring_cqe, cqe, res);

	return req ? completed(number_of(req), res, 0) : more_accepted(number_of(ctx_), LOAD(struct io_uring_cqe, cqe, user_data), res);
}
SEC("tp_btf/io_uring_complete")
int BPF_PROG(uring_complete_old, void *ctx_, void *req, u64 user_data, int res)
{
	return req ? completed(number_of(req), res, 0) : more_accepted(number_of(ctx_), user_data, res);
}
