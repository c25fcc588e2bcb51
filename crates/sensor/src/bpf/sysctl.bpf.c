/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * Kernel parameters. The kernel asks programs of the root cgroup before it lets a parameter be read or written, whatever way the file was
 * reached, and has the name and the values at hand. So one program serves every tier. What it sees is the attempt.
 */
#include "hook.h"

#define SYSCTL_NAME 256
#define SYSCTL_VALUE 4096
#define E2BIG 7

/* The context, as the kernel shows it to such programs. */
struct bpf_sysctl { __u32 write, file_pos; };

enum sysctl_text { TEXT_NAME, TEXT_NEW, TEXT_CURRENT };

/* Appends what a helper tells; returns whether it is cut. */
static __always_inline bool put_sysctl(struct buffer *b, u16 tag, struct bpf_sysctl *ctx, enum sysctl_text what)
{
	u32 size = what == TEXT_NAME ? SYSCTL_NAME : SYSCTL_VALUE, off;
	bool cut;
	long n;

	section_begin(b, tag);
	off = b->off;
	barrier_var(off);
	if (off > BUFFER_DATA - 1)
		return false;
	if (what == TEXT_NAME)
		n = bpf_sysctl_get_name(ctx, &b->data[off], SYSCTL_NAME, 0);
	else if (what == TEXT_NEW)
		n = bpf_sysctl_get_new_value(ctx, &b->data[off], SYSCTL_VALUE);
	else
		n = bpf_sysctl_get_current_value(ctx, &b->data[off], SYSCTL_VALUE);
	cut = n == -E2BIG;
	if (cut)
		n = size - 1;
	if (n > 0 && n < size)
		b->off = off + n;
	section_end(b, cut ? PATH_TRUNCATED : 0);
	return cut;
}

SEC("cgroup/sysctl")
int sysctl__all_cgroup(struct bpf_sysctl *ctx)
{
	struct sysctl_body *body;
	bool write = ctx->write;
	struct buffer *b;

	if (!wanted_here(KIND_SYSCTL))
		return 1; /* go on */
	body = EVENT_BEGIN(b, KIND_SYSCTL, 0, 0, struct sysctl_body);
	if (!body)
		return 1;
	body->write = write;
	body->position = ctx->file_pos;
	put_sysctl(b, SECTION_ARG, ctx, TEXT_NAME);
	put_sysctl(b, SECTION_ARG2, ctx, write ? TEXT_NEW : TEXT_CURRENT);
	if (write)
		body->old_truncated = put_sysctl(b, SECTION_BYTES, ctx, TEXT_CURRENT);
	send(b, RING_BULK);
	return 1;
}
