/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* System calls by number: which of them a rule wants, and where their arguments are. */
#pragma once

#include "file.h"
#include "shapes.h" /* enum shape: where the arguments of a system call are; made of syscalls.tbl */

#define AT_REMOVEDIR 0x200
#define SYSCALLS 576 /* x32 has some of its own above 512 */
#define TS_COMPAT 0x0002

/* Two tables in one: the low half for 64-bit calls, the high half for those of the 32-bit entry. Filled by user space. */
struct syscall_shape { u8 native, compat; u8 native_kind, compat_kind; };
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, SYSCALLS); __type(key, u32); __type(value, struct syscall_shape); } syscalls SEC(".maps");

/* Told by a `struct call_body` and the objects of the call, as the names and attributes of files are. */
static __always_inline bool is_file_call(u32 kind)
{
	return kind <= KIND_OBJECT || kind == KIND_CHDIR || kind == KIND_SETXATTR || kind == KIND_REMOVEXATTR;
}

/* A system call. */
struct call { u64 a[6]; long ret; u8 kind, shape; bool compat; };

static __always_inline void arguments(struct call *out, struct pt_regs *regs)
{
	if (out->compat) { /* int 0x80 and sysenter: ebx ecx edx esi edi ebp */
		out->a[0] = (u32)LOAD(struct pt_regs, regs, bx);
		out->a[1] = (u32)LOAD(struct pt_regs, regs, cx);
		out->a[2] = (u32)LOAD(struct pt_regs, regs, dx);
		out->a[3] = (u32)LOAD(struct pt_regs, regs, si);
		out->a[4] = (u32)LOAD(struct pt_regs, regs, di);
		out->a[5] = (u32)LOAD(struct pt_regs, regs, bp);
	} else {
		out->a[0] = LOAD(struct pt_regs, regs, di);
		out->a[1] = LOAD(struct pt_regs, regs, si);
		out->a[2] = LOAD(struct pt_regs, regs, dx);
		out->a[3] = LOAD(struct pt_regs, regs, r10);
		out->a[4] = LOAD(struct pt_regs, regs, r8);
		out->a[5] = LOAD(struct pt_regs, regs, r9);
	}
}

static __always_inline bool is_compat(struct task_struct *task)
{
	return LOAD(struct task_struct, task, thread_info.status) & TS_COMPAT;
}

static __always_inline u8 socketcall_kind(u32 number)
{
	switch (number) {
	case 1: return KIND_SOCKET;
	case 2: return KIND_BIND;
	case 3: return KIND_CONNECT;
	case 5: case 18: return KIND_ACCEPT;
	case 14: return KIND_SETSOCKOPT;
	}
	return 0;
}

/* The kind of call that `regs` belong to if a rule wants it, and where its arguments are. */
static __always_inline u8 wanted_call(struct pt_regs *regs, u8 *shape, bool *compat)
{
	/* The x32 bit is dropped: its numbers below 512 are the native ones, and those above belong to no other. */
	u32 nr = (u32)LOAD(struct pt_regs, regs, orig_ax) & ~0x40000000u;
	struct syscall_shape *s;

	if (nr >= SYSCALLS)
		return 0;
	s = bpf_map_lookup_elem(&syscalls, &nr);
	if (!s || !(s->native | s->compat)) /* most system calls end here */
		return 0;
	*compat = is_compat(bpf_get_current_task_btf());
	*shape = *compat ? s->compat : s->native;
	if (!*shape)
		return 0;
	if (*shape == SHAPE_UNLINKAT) /* one call, two events; the third argument is in edx either way */
		return LOAD(struct pt_regs, regs, dx) & AT_REMOVEDIR ? KIND_RMDIR : KIND_UNLINK;
	if (*shape == SHAPE_SOCKETCALL)
		return socketcall_kind(LOAD(struct pt_regs, regs, bx));
	return *compat ? s->compat_kind : s->native_kind;
}

/* The wanted call that `task` is in, by its registers; 0 for none. */
static __always_inline u8 current_call(struct task_struct *task, struct call *call)
{
	struct pt_regs *regs = (void *)bpf_task_pt_regs(task);

	call->kind = wanted_call(regs, &call->shape, &call->compat);
	if (call->kind)
		arguments(call, regs);
	return call->kind;
}

struct times { s64 sec; s64 nsec; };
struct times32 { s32 sec; s32 nsec; };
#define UTIME_OMIT ((1l << 30) - 2l)
#define UTIME_NOW ((1l << 30) - 1l)

static __always_inline u64 time_argument(const void *user, u32 index, bool compat, bool micro)
{
	struct times t = {};

	if (compat) { /* 32-bit callers of the 64-bit-time calls are told as untouched; they have numbers of their own */
		struct times32 t32 = {};
		bpf_probe_read_user(&t32, sizeof(t32), user + index * sizeof(t32));
		t.sec = t32.sec;
		t.nsec = t32.nsec;
	} else {
		bpf_probe_read_user(&t, sizeof(t), user + index * sizeof(t));
	}
	if (!micro && (t.nsec == UTIME_OMIT || t.nsec == UTIME_NOW))
		return 0;
	return (u64)t.sec * 1000000000ull + (micro ? t.nsec * 1000 : t.nsec);
}

static __always_inline void fill_times(struct call_body *body, const void *user, bool compat, bool micro)
{
	if (!user)
		return;
	body->atime_ns = time_argument(user, 0, compat, micro);
	body->mtime_ns = time_argument(user, 1, compat, micro);
}

/* truncate and ftruncate are told as opens. */
#define TRUNCATE_FLAGS 01101 /* O_CREAT | O_WRONLY | O_TRUNC, as creat() */
#define AT_EMPTY_PATH 0x1000

static __always_inline bool is_empty_text(const void *user)
{
	char first = 0;

	return !user || bpf_probe_read_user(&first, 1, user) || !first;
}

/* Puts the arguments of a changing call where the record has them; returns the descriptor for the f… calls, else -1. */
static __always_inline s32 change_arguments(const struct call *call, struct call_body *body, const void **path, const void **path2)
{
	const u64 *a = call->a;
	bool compat = call->compat;

	switch (call->shape) {
	case SHAPE_CHMOD: *path = (void *)a[0]; body->mode = a[1]; break;
	case SHAPE_FCHMOD: body->mode = a[1]; return a[0];
	case SHAPE_FCHMODAT: body->dirfd = a[0]; *path = (void *)a[1]; body->mode = a[2]; break;
	case SHAPE_CHOWN: *path = (void *)a[0]; body->uid = a[1]; body->gid = a[2]; break;
	case SHAPE_FCHOWN: body->uid = a[1]; body->gid = a[2]; return a[0];
	case SHAPE_FCHOWNAT: body->dirfd = a[0]; *path = (void *)a[1]; body->uid = a[2]; body->gid = a[3]; body->flags = a[4]; break;
	case SHAPE_UNLINK: case SHAPE_RMDIR: *path = (void *)a[0]; break;
	case SHAPE_UNLINKAT: body->dirfd = a[0]; *path = (void *)a[1]; body->flags = a[2]; break;
	case SHAPE_MKDIR: *path = (void *)a[0]; body->mode = a[1]; break;
	case SHAPE_MKDIRAT: body->dirfd = a[0]; *path = (void *)a[1]; body->mode = a[2]; break;
	case SHAPE_RENAME: case SHAPE_LINK: *path = (void *)a[0]; *path2 = (void *)a[1]; break;
	case SHAPE_RENAMEAT: body->dirfd = a[0]; *path = (void *)a[1]; body->dirfd2 = a[2]; *path2 = (void *)a[3]; break;
	case SHAPE_RENAMEAT2: case SHAPE_LINKAT:
		body->dirfd = a[0]; *path = (void *)a[1]; body->dirfd2 = a[2]; *path2 = (void *)a[3]; body->flags = a[4]; break;
	case SHAPE_CHDIR: *path = (void *)a[0]; break;
	case SHAPE_FCHDIR: return a[0];
	case SHAPE_TRUNCATE: *path = (void *)a[0]; body->flags = TRUNCATE_FLAGS; break;
	case SHAPE_FTRUNCATE: body->flags = TRUNCATE_FLAGS; return a[0];
	/* The second text is the attribute's name. */
	case SHAPE_SETXATTR: case SHAPE_LSETXATTR: case SHAPE_REMOVEXATTR: case SHAPE_LREMOVEXATTR:
		*path = (void *)a[0]; *path2 = (void *)a[1]; break;
	case SHAPE_FSETXATTR: case SHAPE_FREMOVEXATTR: *path2 = (void *)a[1]; return a[0];
	case SHAPE_SETXATTRAT: case SHAPE_REMOVEXATTRAT:
		body->dirfd = a[0]; *path = (void *)a[1]; body->flags = a[2]; *path2 = (void *)a[3];
		if ((a[2] & AT_EMPTY_PATH) && is_empty_text(*path))
			return a[0];
		break;
	case SHAPE_UTIME: *path = (void *)a[0]; break;
	case SHAPE_UTIMES: *path = (void *)a[0]; fill_times(body, (void *)a[1], compat, true); break;
	case SHAPE_FUTIMESAT: body->dirfd = a[0]; *path = (void *)a[1]; fill_times(body, (void *)a[2], compat, true); break;
	case SHAPE_UTIMENSAT_TIME64: compat = false; /* fall through */
	case SHAPE_UTIMENSAT:
		body->dirfd = a[0]; *path = (void *)a[1]; body->flags = a[3];
		fill_times(body, (void *)a[2], compat, false);
		if (!*path) /* futimens() */
			return a[0];
		break;
	}
	return -1;
}
