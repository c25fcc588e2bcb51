/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * Sockets: connect.
 *
 * lsm and kprobe tiers: the security hook of the call has the kernel's copy of the address. It is kept by thread until the call ends: the
 * system call, or the function of io_uring's operation. Tracepoint tier: after the call the socket itself says what it is connected to, and
 * only where the call has failed the address is read again from its caller, and the record says so.
 */
#include "hook.h"

#define AF_INET 2
#define AF_INET6 10
#define S_IFMT 0170000
#define S_IFSOCK 0140000
#define TASK_IO_WORKER 0x10 /* PF_IO_WORKER since 5.12 */

/* What the parts of an address have in common: the family and the port lie at the same place in both IP families. */
struct address { u16 family; __be16 port; u32 word[6]; };
#define ADDRESS_IN 8   /* family, port, 4 bytes of address */
#define ADDRESS_IN6 28 /* family, port, flow, 16 bytes of address, scope */

/* An address that a security hook has seen, until the call ends. */
struct checked { u64 socket; u32 kind; struct address_body body; };
/* By thread. Bounded: where it is full the call is told by its socket. */
struct { __uint(type, BPF_MAP_TYPE_LRU_HASH); __uint(max_entries, 4096); __type(key, u64); __type(value, struct checked); } checked_addresses SEC(".maps");

static __always_inline struct socket *socket_of_file(struct file *file)
{
	struct inode *inode = file ? LOAD(struct file, file, f_inode) : 0;

	/* The file of a unix socket's name is one as well, but has nothing behind it. */
	if (!inode || (LOAD(struct inode, inode, i_mode) & S_IFMT) != S_IFSOCK)
		return 0;
	return LOAD(struct file, file, private_data);
}

static __always_inline struct sock *sock_of(struct socket *socket)
{
	return socket ? LOAD(struct socket, socket, sk) : 0;
}

/* The address in a struct sockaddr of `len` bytes, in the caller's memory or in the kernel's. */
static __always_inline void put_argument(struct address_body *body, const void *ptr, u32 len, bool user)
{
	struct address a = {};

	if (!ptr || len < sizeof(a.family))
		return;
	if (user ? bpf_probe_read_user(&a.family, sizeof(a.family), ptr) : bpf_probe_read_kernel(&a.family, sizeof(a.family), ptr))
		return;
	body->origin = user ? ADDRESS_CALLER : ADDRESS_KERNEL;
	body->len = sizeof(a.family);
	if (a.family == AF_INET && len >= ADDRESS_IN) {
		if (user)
			bpf_probe_read_user(&a, ADDRESS_IN, ptr);
		else
			bpf_probe_read_kernel(&a, ADDRESS_IN, ptr);
		body->len = ADDRESS_IN;
	} else if (a.family == AF_INET6 && len >= ADDRESS_IN6 - sizeof(u32)) { /* the scope may be left out */
		if (user)
			bpf_probe_read_user(&a, ADDRESS_IN6 - sizeof(u32), ptr);
		else
			bpf_probe_read_kernel(&a, ADDRESS_IN6 - sizeof(u32), ptr);
		body->len = ADDRESS_IN6;
	}
	__builtin_memcpy(body->address, &a, sizeof(a));
}

/* The address of the other side, as the socket has it. */
static __always_inline void put_peer(struct address_body *body, struct sock *sk)
{
	struct address a = { .family = LOAD(struct sock, sk, __sk_common.skc_family) };

	body->origin = ADDRESS_SOCKET;
	body->len = sizeof(a.family);
	if (a.family == AF_INET) {
		a.port = LOAD(struct sock, sk, __sk_common.skc_dport);
		a.word[0] = LOAD(struct sock, sk, __sk_common.skc_daddr);
		body->len = ADDRESS_IN;
	} else if (a.family == AF_INET6 && bpf_core_field_exists(struct sock_common, skc_v6_daddr)) {
		a.port = LOAD(struct sock, sk, __sk_common.skc_dport);
		bpf_probe_read_kernel(&a.word[1], sizeof(struct in6_addr), ADDR(struct sock, sk, __sk_common.skc_v6_daddr));
		body->len = ADDRESS_IN6;
	}
	if (body->len > sizeof(a.family) && !a.port && !a.word[0] && !(a.word[1] | a.word[2] | a.word[3] | a.word[4])) /* none */
		body->len = sizeof(a.family);
	__builtin_memcpy(body->address, &a, sizeof(a));
}

static __always_inline bool wanted_socket_call(u32 kind)
{
	struct settings *s = get_settings();
	struct filter *filter = get_filter(kind);

	return s && filter && filter->enabled && !own_task(s);
}

/* The security hook of connect and bind. */
static __always_inline int address_checked(u32 kind, struct socket *socket, void *address, u32 len)
{
	u64 id = bpf_get_current_pid_tgid();
	struct checked checked = { .kind = kind };

	if (!wanted_socket_call(kind))
		return 0;
	checked.socket = number_of(socket);
	put_argument(&checked.body, address, len, false);
	bpf_map_update_elem(&checked_addresses, &id, &checked, BPF_ANY);
	return 0;
}

/* A call that gives a socket an address, at its end. */
struct address_call { kptr socket; u64 user; s64 ret; u32 len; u16 kind, flags; };

/* The numbers that rules are asked about: as the model reads them. */
static __always_inline bool address_approved(u32 kind, const struct address_body *body)
{
	const struct address *a = (const void *)body->address;
	bool has_port = body->len >= ADDRESS_IN && (a->family == AF_INET || a->family == AF_INET6);

	return approve_numbers(kind, has_port ? __builtin_bswap16(a->port) : 0, a->family);
}

SUBPROGRAM_ON_MEMORY int tell_address(const struct address_call *call)
{
	u64 id = bpf_get_current_pid_tgid();
	struct address_body told = {}, *body;
	struct checked *checked;
	struct buffer *b;
	struct sock *sk;
	bool good;

	if (!call)
		return 0;
	good = call->ret >= 0 || goes_on(call->kind, call->ret);
	sk = sock_of((void *)call->socket);
	checked = bpf_map_lookup_elem(&checked_addresses, &id);
	/* What is left of another call is overwritten by the hook of this one, unless this one has failed before its hook. */
	if (checked && checked->kind == call->kind && (good || checked->socket == call->socket)) {
		told = checked->body;
		bpf_map_delete_elem(&checked_addresses, &id);
	} else if (sk && good) {
		put_peer(&told, sk);
	}
	/* Nothing is known, or a socket has no peer: the connection is gone already, or was dissolved by this call. */
	if (told.len <= sizeof(u16) && told.origin != ADDRESS_KERNEL && call->user)
		put_argument(&told, (void *)call->user, call->len, true);
	if (sk)
		told.protocol = LOAD(struct sock, sk, sk_protocol);
	if (!address_approved(call->kind, &told))
		return 0;
	/* A system call that a signal came between, and that is not begun anew, returns EINTR. */
	body = EVENT_BEGIN(b, call->kind, call->flags, call->ret == -ERESTARTSYS ? -4 : call->ret, struct address_body);
	if (!body)
		return 0;
	*body = told;
	send(b, RING_BULK);
	return 0;
}

/* The arguments of a call of sockets; socketcall(2) has them in the caller's memory. */
static __always_inline void socket_arguments(const struct call *call, u64 *a, u32 count)
{
	u32 packed[6] = {};

	if (call->shape != SHAPE_SOCKETCALL) {
		for (u32 i = 0; i < count; i++)
			a[i] = call->a[i];
		return;
	}
	bpf_probe_read_user(packed, count * sizeof(u32), (void *)call->a[1]);
	for (u32 i = 0; i < count; i++)
		a[i] = packed[i];
}

static __always_inline int address_ended(const struct call *call, u32 kind)
{
	struct address_call told = { .kind = kind, .flags = flags_of(call), .ret = call->ret };
	u64 a[3];

	socket_arguments(call, a, 3);
	told.socket = number_of(socket_of_file(file_of_fd(bpf_get_current_task_btf(), a[0])));
	told.user = a[1];
	told.len = a[2];
	return tell_address(&told);
}

static __always_inline int connect_ended(const struct call *call) { return address_ended(call, KIND_CONNECT); }

SECURITY_HOOK(connect, socket_connect, security_socket_connect, address_checked(KIND_CONNECT, sock, address, addrlen), struct socket *sock, struct sockaddr *address, int addrlen)
CALL_EXIT(connect, KIND_CONNECT, connect_ended)
SYSCALL_EXIT(connect, KIND_CONNECT, connect_ended, connect)
SYSCALL_EXIT(connect, KIND_CONNECT, connect_ended, socketcall)
COMPAT_EXIT(connect, KIND_CONNECT, connect_ended, socketcall)

/* io_uring: its operations, by number. */
enum { IO_CONNECT = 16 };

static __always_inline u32 socket_operation(u8 opcode)
{
	switch (opcode) {
	case IO_CONNECT: return KIND_CONNECT;
	}
	return 0;
}

static __always_inline bool is_socket_call(u32 kind)
{
	return kind == KIND_CONNECT;
}

/* Tracepoint tier: a request whose success nobody wants to hear of has no end that is seen, so its beginning is told: as going on. */
static __always_inline int request_begins(void *req, u32 kind, bool silent)
{
	struct address_call told = { .kind = kind, .flags = HEADER_ASYNC, .ret = -EINPROGRESS };

	if (!silent || kind != KIND_CONNECT)
		return 0;
	told.user = (u64)LOAD(struct io_connect, req, addr);
	told.len = LOAD(struct io_connect, req, addr_len);
	return tell_address(&told);
}

/* A request that has ended. */
static __always_inline int request_ended(void *req, s64 ret, u32 kind)
{
	struct address_call told = { .kind = kind, .flags = HEADER_ASYNC, .ret = ret };
	struct settings *s = get_settings();

	if (!wanted_socket_call(kind) || !s || !(wanted_result(s, ret) || goes_on(kind, ret)))
		return 0;
	told.socket = number_of(socket_of_file(LOAD(struct io_kiocb, req, file)));
	return tell_address(&told);
}

/* io_uring in the lsm and kprobe tiers: the operation's function. What it returns says whether it is done; the result is in the request. */
static __always_inline int operation_ended(void *req, int ret, u32 kind)
{
	if (!bpf_core_field_exists(struct io_kiocb, cqe) || ret) /* not done: it is called again */
		return 0;
	return request_ended(req, LOAD(struct io_kiocb, req, cqe.res), kind);
}
FUNCTION_EXIT(connect, io_connect, operation_ended(req, ret, KIND_CONNECT), struct io_kiocb *req, unsigned int issue_flags, int ret)

/* Before 5.19 those functions may be part of another; what they call is not. A socket that is asked not to wait is asked again. */
static __always_inline int connected_by_kernel(struct file *file, int file_flags, s64 ret)
{
	struct address_call told = { .kind = KIND_CONNECT, .flags = HEADER_ASYNC, .ret = ret };
	u32 flags = LOAD(struct task_struct, bpf_get_current_task_btf(), flags);
	struct settings *s = get_settings();

	if (bpf_core_field_exists(struct io_kiocb, cqe) || !wanted_socket_call(KIND_CONNECT) || !s || !wanted_result(s, ret))
		return 0;
	if (!(file_flags & 04000) && !(flags & TASK_IO_WORKER)) /* O_NONBLOCK is of io_uring alone */
		return 0;
	told.socket = number_of(socket_of_file(file));
	return tell_address(&told);
}
FUNCTION_EXIT(connect, __sys_connect_file, connected_by_kernel(file, file_flags, ret), struct file *file, void *address, int addrlen, int file_flags, int ret)
