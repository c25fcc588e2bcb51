/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * An iterator over all open files (5.8): whose the sockets are that were there before anybody looked. An object of its own, loaded once, when
 * the first rule about packets is. What the hooks have seen meanwhile is newer and stays.
 */
/* A small object, loaded once and alone, may leave it to libbpf. */
#define TYPE_ID(type) bpf_core_type_id_kernel(type)

#include "owners.h"

#define AF_INET 2
#define AF_INET6 10
#define S_IFMT 0170000
#define S_IFSOCK 0140000

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct bpf_iter_meta { struct seq_file *seq; };
struct bpf_iter__task_file { struct bpf_iter_meta *meta; struct task_struct *task; u32 fd; struct file *file; };
#pragma clang attribute pop

SEC("iter/task_file")
int sockets(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct socket_owner owner = {};
	struct file *file = ctx->file;
	struct port_key key = {};
	struct socket *socket;
	struct sock *sk;
	u64 cookie;
	u16 family;

	if (!task || !file)
		return 0;
#ifdef LEGACY
	/* No cookie can be made here before 5.12: who has none yet is found by its port. */
	if ((LOAD(struct inode, LOAD(struct file, file, f_inode), i_mode) & S_IFMT) != S_IFSOCK)
		return 0;
	socket = LOAD(struct file, file, private_data);
	sk = socket ? LOAD(struct socket, socket, sk) : 0;
	cookie = sk ? LOAD(struct sock, sk, __sk_common.skc_cookie.counter) : 0;
#else
	socket = bpf_sock_from_file(file);
	if (!socket)
		return 0;
	sk = socket->sk;
	cookie = sk ? bpf_get_socket_cookie(sk) : 0;
#endif
	if (!sk)
		return 0;
	family = LOAD(struct sock, sk, __sk_common.skc_family);
	if (family != AF_INET && family != AF_INET6)
		return 0;
	owner_of_task(&owner, task);
	if (cookie)
		bpf_map_update_elem(&socket_owners, &cookie, &owner, BPF_NOEXIST);
	key.netns = netns_of_sock(number_of(sk));
	key.port = LOAD(struct sock, sk, __sk_common.skc_num);
	key.protocol = LOAD(struct sock, sk, sk_protocol);
	if (key.port)
		bpf_map_update_elem(&port_owners, &key, &owner, BPF_NOEXIST);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
