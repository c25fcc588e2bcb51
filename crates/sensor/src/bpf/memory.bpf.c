/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * Memory: mmap, mprotect, splice. The calls are among the most frequent there are, so each body decides before it begins a record.
 */
#include "hook.h"
#include "objects.h"

#define PROT_GROWSDOWN 0x01000000
#define MAP_ANONYMOUS 0x20
#define PAGE_SHIFT 12

/* A segment of memory, as bpf_find_vma() shows it. The file's parts and not the file: only under the lock is the file surely alive. */
struct segment { u64 start, end, flags; kptr file, dentry, mnt; };

#ifndef LEGACY
static long segment_found(struct task_struct *task, struct vm_area_struct *vma, void *ctx)
{
	struct segment *s = ctx;
	struct file *file = LOAD(struct vm_area_struct, vma, vm_file);

	s->start = LOAD(struct vm_area_struct, vma, vm_start);
	s->end = LOAD(struct vm_area_struct, vma, vm_end);
	s->flags = LOAD(struct vm_area_struct, vma, vm_flags);
	s->file = number_of(file);
	if (file) {
		s->dentry = number_of(LOAD(struct file, file, f_path.dentry));
		s->mnt = number_of(LOAD(struct file, file, f_path.mnt));
	}
	return 0;
}
#endif

/* The segment of the current task's memory that has `address`. Before 5.17 nothing finds it. */
static __always_inline bool find_segment(u64 address, struct segment *s)
{
	__builtin_memset(s, 0, sizeof(*s));
#ifndef LEGACY
	bpf_find_vma(bpf_get_current_task_btf(), address, segment_found, s, 0);
#endif
	return s->end != 0;
}

/* mprotect */

/* What the memory was before the call, by thread. `address` is the call's, so that what an earlier call has left is not taken for this one's. */
struct protected { u64 address, start, end, flags; };
struct { __uint(type, BPF_MAP_TYPE_LRU_HASH); __uint(max_entries, 4096); __type(key, u64); __type(value, struct protected); } protected SEC(".maps");

/* The segments come in order; of several, the protection is what any of them had. */
static __always_inline void add_segment(u64 address, u64 start, u64 end, u64 flags)
{
	struct protected first = { .address = address, .start = start, .end = end, .flags = flags };
	u64 id = bpf_get_current_pid_tgid();
	struct protected *known = bpf_map_lookup_elem(&protected, &id);

	if (known && known->address == address && known->end == start) {
		known->end = end;
		known->flags |= flags;
	} else {
		bpf_map_update_elem(&protected, &id, &first, BPF_ANY);
	}
}

#define SEGMENTS 4

SUBPROGRAM int look_at_segments(u64 address, u64 len)
{
	struct segment s;
	u64 at = address;

	for (int i = 0; i < SEGMENTS; i++) {
		if (!find_segment(at, &s))
			break;
		add_segment(address, s.start, s.end, s.flags);
		at = s.end;
		if (at >= address + len)
			break;
	}
	return 0;
}

/* The kernel asks for each segment of the range, before it changes it. */
static __always_inline int mprotect_segment(struct vm_area_struct *vma)
{
	struct call call;

	if (call_of(&call, user_regs(), KIND_MPROTECT))
		add_segment(call.a[0], LOAD(struct vm_area_struct, vma, vm_start), LOAD(struct vm_area_struct, vma, vm_end),
			    LOAD(struct vm_area_struct, vma, vm_flags));
	return 0;
}
SECURITY_HOOK(mprotect, file_mprotect, security_file_mprotect, mprotect_segment(vma), struct vm_area_struct *vma)

/* The tracepoint tier sees no more than the beginning of the call: another thread may map something else there before the kernel gets to it. */
static __always_inline int mprotect_begins(const struct call *call)
{
	u64 id = bpf_get_current_pid_tgid();

	bpf_map_delete_elem(&protected, &id);
	look_at_segments(call->a[0], call->a[1]);
	return 0;
}
CALL_ENTRY(mprotect, KIND_MPROTECT, mprotect_begins)

static __always_inline int mprotect_ended(const struct call *call)
{
	u64 id = bpf_get_current_pid_tgid();
	struct protected *before = bpf_map_lookup_elem(&protected, &id);
	struct mprotect_body *body;
	struct buffer *b;

	if (!before || before->address != call->a[0]) {
		/* Refused before any segment was touched: the memory still is what it was. */
		if (call->ret < 0)
			look_at_segments(call->a[0], call->a[1]);
		before = bpf_map_lookup_elem(&protected, &id);
	}
	if (!approve_numbers(KIND_MPROTECT, call->a[2], before && before->address == call->a[0] ? before->flags : 0))
		return 0;
	body = EVENT_BEGIN(b, KIND_MPROTECT, flags_of(call), call->ret, struct mprotect_body);
	if (!body)
		return 0;
	body->start = call->a[0];
	body->end = call->a[0] + call->a[1];
	body->requested = call->a[2];
	if (before && before->address == call->a[0]) {
		body->start = before->start;
		body->end = before->end;
		body->before = before->flags;
		bpf_map_delete_elem(&protected, &id);
	}
	send(b, RING_BULK);
	return 0;
}
CALL_EXIT(mprotect, KIND_MPROTECT, mprotect_ended)
SYSCALL_EXIT(mprotect, KIND_MPROTECT, mprotect_ended, mprotect)
SYSCALL_EXIT(mprotect, KIND_MPROTECT, mprotect_ended, pkey_mprotect)

/* mmap */

struct mapping { u64 hint, length, offset, protection, flags; s64 ret; kptr dentry, mnt; u64 record_flags; };

SUBPROGRAM_ON_MEMORY int send_mapping(const struct mapping *m)
{
	enum verdict verdict = APPROVE;
	struct mmap_body *body;
	struct buffer *b;

	if (!m)
		return 0;
	if (!approve_numbers(KIND_MMAP, m->protection, m->flags)) {
		if (!m->dentry)
			return 0;
		verdict = approve(KIND_MMAP, (void *)m->dentry, (void *)m->mnt, 0);
		if (verdict == REJECT)
			return 0;
	}
	body = EVENT_BEGIN(b, KIND_MMAP, m->record_flags, m->ret, struct mmap_body);
	if (!body)
		return 0;
	body->address = m->ret > 0 ? m->ret : m->hint;
	body->length = m->length;
	body->offset = m->offset;
	body->protection = m->protection;
	body->flags = m->flags;
	if (m->dentry)
		put_file(b, SECTION_PATH, (void *)m->dentry, (void *)m->mnt);
	if (verdict == APPROVE_IF_PATH && !approve_path(b, KIND_MMAP, 0)) {
		buffer_release(b);
		return 0;
	}
	send(b, RING_BULK);
	return 0;
}

/* mmap, mmap2, the old mmap and the 32-bit ones come together here, with the file and the kernel's copies; so do execs, which are not told. */
static __always_inline int mapped(struct file *file, u64 hint, u64 length, u64 protection, u64 flags, u64 page, long ret)
{
	struct settings *s = get_settings();
	struct mapping m = {};
	struct call call;

	if (!s || !wanted_result(s, (unsigned long)ret >= (unsigned long)-4095 ? ret : 0) || !call_of(&call, user_regs(), KIND_MMAP))
		return 0;
	m.hint = hint;
	m.length = length;
	m.offset = page << PAGE_SHIFT;
	m.protection = protection;
	m.flags = flags;
	m.ret = ret;
	m.record_flags = flags_of(&call);
	if (file && !(flags & MAP_ANONYMOUS)) {
		m.dentry = number_of(LOAD(struct file, file, f_path.dentry));
		m.mnt = number_of(LOAD(struct file, file, f_path.mnt));
	}
	return send_mapping(&m);
}
FUNCTION_EXIT(mmap, vm_mmap_pgoff, mapped(file, hint, length, protection, flags, page, ret), struct file *file, unsigned long hint, unsigned long length,
	      unsigned long protection, unsigned long flags, unsigned long page, unsigned long ret)

/* In a stack of file systems the memory's file is one of a lower layer, and a device may put another file in the place of its own. */
static __always_inline bool keeps_file(struct file *file)
{
	struct inode *inode = LOAD(struct file, file, f_inode);

	return !LOAD(struct super_block, LOAD(struct inode, inode, i_sb), s_stack_depth) && (LOAD(struct inode, inode, i_mode) & S_IFMT) != S_IFCHR;
}

/*
 * The tracepoint tier: the file is that of the descriptor, and where the memory has another one, of the memory. What is left is another
 * thread that maps something else at the same address before the call returns; and the old mmap's arguments, which are in the caller's
 * memory.
 */
static __always_inline int mmap_ended(const struct call *call)
{
	struct mapping m = { .hint = call->a[0], .length = call->a[1], .protection = call->a[2], .flags = call->a[3], .offset = call->a[5], .ret = call->ret };
	struct { u32 address, length, protection, flags, fd, offset; } old = {};
	struct file *file = 0;
	struct segment s;
	u32 fd = call->a[4];

	if (call->shape == SHAPE_OLD_MMAP) {
		bpf_probe_read_user(&old, sizeof(old), (void *)call->a[0]);
		m.hint = old.address;
		m.length = old.length;
		m.protection = old.protection;
		m.flags = old.flags;
		m.offset = old.offset;
		fd = old.fd;
	} else if (call->shape == SHAPE_MMAP2) {
		m.offset <<= PAGE_SHIFT;
	}
	m.record_flags = flags_of(call);
	if (m.flags & MAP_ANONYMOUS)
		return send_mapping(&m);
	file = file_of_fd(bpf_get_current_task_btf(), fd);
	if (file) {
		m.dentry = number_of(LOAD(struct file, file, f_path.dentry));
		m.mnt = number_of(LOAD(struct file, file, f_path.mnt));
	}
	if (call->ret >= 0 && find_segment(call->ret, &s) && s.dentry && s.file != number_of(file) && (!file || keeps_file(file))) {
		m.dentry = s.dentry;
		m.mnt = s.mnt;
	}
	return send_mapping(&m);
}
CALL_EXIT(mmap, KIND_MMAP, mmap_ended)

/* splice */

/* What the pipe that is written to was before the call, by thread. */
struct { __uint(type, BPF_MAP_TYPE_LRU_HASH); __uint(max_entries, 1024); __type(key, u64); __type(value, u32); } splices SEC(".maps");

static __always_inline struct pipe_inode_info *pipe_of(struct file *file)
{
	struct inode *inode;

	if (!file)
		return 0;
	inode = LOAD(struct file, file, f_inode);
	return (LOAD(struct inode, inode, i_mode) & S_IFMT) == S_IFIFO ? LOAD(struct file, file, private_data) : 0;
}

/* The flags of a place of the pipe's ring, whether it holds something or not: a place that is free keeps what its last buffer had. */
static __always_inline u32 buffer_flags(struct pipe_inode_info *pipe, u32 place)
{
	u32 size = LOAD(struct pipe_inode_info, pipe, ring_size);
	struct pipe_buffer *buffers = LOAD(struct pipe_inode_info, pipe, bufs);
	u64 at = (u64)(place & (size - 1)) * bpf_core_type_size(struct pipe_buffer);

	return buffers ? LOAD(struct pipe_buffer, (void *)buffers + at, flags) : 0;
}

static __always_inline int splice_begins(struct file *out)
{
	struct pipe_inode_info *pipe = pipe_of(out);
	u64 id = bpf_get_current_pid_tgid();
	u32 flags = 0;

	if (!pipe) {
		bpf_map_delete_elem(&splices, &id);
		return 0;
	}
	flags = buffer_flags(pipe, LOAD(struct pipe_inode_info, pipe, head)); /* the place that is filled first */
	bpf_map_update_elem(&splices, &id, &flags, BPF_ANY);
	return 0;
}

SUBPROGRAM int splice_ended(kptr in_, kptr out_, s64 ret, u32 record_flags)
{
	struct file *in = (void *)in_, *out = (void *)out_, *file = 0;
	u64 id = bpf_get_current_pid_tgid();
	u32 *before = bpf_map_lookup_elem(&splices, &id);
	struct pipe_inode_info *pipe = pipe_of(out);
	struct splice_body *body;
	struct buffer *b;

	body = EVENT_BEGIN(b, KIND_SPLICE, record_flags, ret, struct splice_body);
	if (!body)
		return 0;
	if (pipe) {
		body->entry_flag = before ? *before : 0;
		body->exit_flag = buffer_flags(pipe, LOAD(struct pipe_inode_info, pipe, head) - 1); /* the place that was filled last */
	}
	if (in && !pipe_of(in))
		file = in;
	else if (out && !pipe)
		file = out;
	if (file)
		put_file(b, SECTION_PATH, LOAD(struct file, file, f_path.dentry), LOAD(struct file, file, f_path.mnt));
	send(b, RING_BULK);
	return 0;
}

/* The call and io_uring come together here, with both files in hand. */
static __always_inline int files_spliced(struct file *in, struct file *out, s64 ret)
{
	struct settings *s = get_settings();

	if (s && wanted_here(KIND_SPLICE) && wanted_result(s, ret))
		splice_ended(number_of(in), number_of(out), ret, call_flags(bpf_get_current_task_btf()));
	return 0;
}
FUNCTION_ENTRY(splice, do_splice, wanted_here(KIND_SPLICE) ? splice_begins(out) : 0, struct file *in, void *in_position, struct file *out)
FUNCTION_EXIT(splice, do_splice, files_spliced(in, out, ret), struct file *in, void *in_position, struct file *out, void *out_position, unsigned long len, unsigned int flags,
	      long ret)

/* The tracepoint tier: the files of the descriptors, before and after; another thread may change those meanwhile. io_uring is not seen. */
static __always_inline int splice_call_begins(const struct call *call)
{
	return splice_begins(file_of_fd(bpf_get_current_task_btf(), call->a[2]));
}
CALL_ENTRY(splice, KIND_SPLICE, splice_call_begins)

static __always_inline int splice_call_ended(const struct call *call)
{
	struct task_struct *task = bpf_get_current_task_btf();

	return splice_ended(number_of(file_of_fd(task, call->a[0])), number_of(file_of_fd(task, call->a[2])), call->ret, flags_of(call));
}
CALL_EXIT(splice, KIND_SPLICE, splice_call_ended)
