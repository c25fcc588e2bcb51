/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* Keeps whose a socket is: programs that the kernel asks, in the process that calls, for every cgroup below the root. */
#include "owners.h"

/* The contexts, as the kernel shows them to such programs. */
struct bpf_sock { u32 bound_dev_if, family, type, protocol, mark, priority, src_ip4, src_ip6[4], src_port; };
struct bpf_sock_addr { u32 user_family; };

SEC("cgroup/sock_create")
int owner_create(struct bpf_sock *ctx)
{
	own_socket(bpf_get_socket_cookie(ctx), bpf_get_current_task_btf());
	return 1; /* go on */
}

static __always_inline int bound(struct bpf_sock *ctx)
{
	struct task_struct *task = bpf_get_current_task_btf();
	u32 port = ctx->src_port;

	own_socket(bpf_get_socket_cookie(ctx), task);
	/* To such programs the context is the socket itself. */
	own_port(netns_of_sock(number_of(ctx)), port, ctx->protocol, task);
	return 1;
}

SEC("cgroup/post_bind4") int owner_bind4(struct bpf_sock *ctx) { return bound(ctx); }
SEC("cgroup/post_bind6") int owner_bind6(struct bpf_sock *ctx) { return bound(ctx); }

static __always_inline int used(struct bpf_sock_addr *ctx)
{
	own_socket(bpf_get_socket_cookie(ctx), bpf_get_current_task_btf());
	return 1;
}

SEC("cgroup/connect4") int owner_connect4(struct bpf_sock_addr *ctx) { return used(ctx); }
SEC("cgroup/connect6") int owner_connect6(struct bpf_sock_addr *ctx) { return used(ctx); }
SEC("cgroup/sendmsg4") int owner_sendmsg4(struct bpf_sock_addr *ctx) { return used(ctx); }
SEC("cgroup/sendmsg6") int owner_sendmsg6(struct bpf_sock_addr *ctx) { return used(ctx); }
