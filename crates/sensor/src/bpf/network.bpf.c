/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * Sockets: socket, bind, connect, accept, setsockopt.
 *
 * lsm and kprobe tiers: the security hook of the call has the kernel's copy of the address. It is kept by thread until the call ends: the
 * system call, or the function of io_uring's operation. Tracepoint tier: after the call the socket itself says what it is connected to, and
 * only where the call has failed the address is read again from its caller, and the record says so.
 */
#include "hook.h"

#define AF_INET 2
#define AF_INET6 10
#define SOCK_RAW 3
#define SOCK_TYPE_MASK 0xf /* the rest of the argument are flags of the descriptor */
#define SOCK_BINDPORT_LOCK 8
#define SOL_SOCKET 1
#define SO_ATTACH_FILTER 26
#define TASK_IO_WORKER 0x10 /* PF_IO_WORKER since 5.12 */

/* What the parts of an address have in common: the family and the port lie at the same place in both IP families. */
struct address { u16 family; __be16 port; u32 word[6]; };
#define ADDRESS_IN 8   /* family, port, 4 bytes of address */
#define ADDRESS_IN6 28 /* family, port, flow, 16 bytes of address, scope */

/* The arguments that a security hook has seen, until the call ends. */
struct checked { u64 socket; u32 kind, level, option; struct address_body body; u32 reserved; };
/* By thread. Bounded: where it is full the call is told by its socket. */
struct { __uint(type, BPF_MAP_TYPE_LRU_HASH); __uint(max_entries, 4096); __type(key, u64); __type(value, struct checked); } checked_calls SEC(".maps");

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

/* The address that the socket was given, as the socket has it; port 0 where the kernel was left to choose one, as in the argument. */
static __always_inline void put_own(struct address_body *body, struct sock *sk)
{
	struct address a = { .family = LOAD(struct sock, sk, __sk_common.skc_family) };

	body->origin = ADDRESS_SOCKET;
	body->len = sizeof(a.family);
	/* The port of a raw socket is its protocol. */
	if ((BPF_CORE_READ_BITFIELD_PROBED(sk, sk_userlocks) & SOCK_BINDPORT_LOCK) && LOAD(struct sock, sk, sk_type) != SOCK_RAW)
		a.port = __builtin_bswap16(LOAD(struct sock, sk, __sk_common.skc_num));
	if (a.family == AF_INET) {
		a.word[0] = LOAD(struct sock, sk, __sk_common.skc_rcv_saddr);
		body->len = ADDRESS_IN;
	} else if (a.family == AF_INET6 && bpf_core_field_exists(struct sock_common, skc_v6_rcv_saddr)) {
		bpf_probe_read_kernel(&a.word[1], sizeof(struct in6_addr), ADDR(struct sock, sk, __sk_common.skc_v6_rcv_saddr));
		body->len = ADDRESS_IN6;
	}
	__builtin_memcpy(body->address, &a, sizeof(a));
}

/* The security hook of connect and bind. */
static __always_inline int address_checked(u32 kind, struct socket *socket, void *address, u32 len)
{
	u64 id = bpf_get_current_pid_tgid();
	struct checked checked = { .kind = kind };

	if (!wanted_here(kind))
		return 0;
	checked.socket = number_of(socket);
	put_argument(&checked.body, address, len, false);
	bpf_map_update_elem(&checked_calls, &id, &checked, BPF_ANY);
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
	checked = bpf_map_lookup_elem(&checked_calls, &id);
	/* What is left of another call is overwritten by the hook of this one, unless this one has failed before its hook. */
	if (checked && checked->kind == call->kind && (good || checked->socket == call->socket)) {
		told = checked->body;
		bpf_map_delete_elem(&checked_calls, &id);
	} else if (sk && good) {
		if (call->kind == KIND_BIND)
			put_own(&told, sk);
		else
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
static __always_inline int bind_ended(const struct call *call) { return address_ended(call, KIND_BIND); }

SECURITY_HOOK(connect, socket_connect, security_socket_connect, address_checked(KIND_CONNECT, sock, address, addrlen), struct socket *sock, struct sockaddr *address, int addrlen)
CALL_EXIT(connect, KIND_CONNECT, connect_ended)
SYSCALL_EXIT(connect, KIND_CONNECT, connect_ended, connect)
COMPAT_EXIT(connect, KIND_CONNECT, connect_ended, socketcall)

SECURITY_HOOK(bind, socket_bind, security_socket_bind, address_checked(KIND_BIND, sock, address, addrlen), struct socket *sock, struct sockaddr *address, int addrlen)
CALL_EXIT(bind, KIND_BIND, bind_ended)
SYSCALL_EXIT(bind, KIND_BIND, bind_ended, bind)
COMPAT_EXIT(bind, KIND_BIND, bind_ended, socketcall)

/*
 * accept: the address of the other side and the port of this one, which was listened on. Where there is no `socket`, because the call has
 * failed or nobody knows its descriptor, the `listener` tells the family.
 */
SUBPROGRAM int tell_accepted(kptr socket, kptr listener, s64 ret, u32 flags)
{
	struct sock *sk = sock_of((void *)(socket ? socket : listener));
	struct address_body told = {}, *body;
	struct address *a = (void *)told.address;
	struct buffer *b;

	if (!sk)
		return 0;
	put_peer(&told, sk);
	if (!socket)
		told.len = sizeof(a->family);
	else if (told.len > sizeof(a->family))
		a->port = __builtin_bswap16(LOAD(struct sock, sk, __sk_common.skc_num));
	told.protocol = LOAD(struct sock, sk, sk_protocol);
	if (!address_approved(KIND_ACCEPT, &told))
		return 0;
	body = EVENT_BEGIN(b, KIND_ACCEPT, flags, ret, struct address_body);
	if (!body)
		return 0;
	*body = told;
	send(b, RING_BULK);
	return 0;
}

static __always_inline struct socket *socket_of_fd(u64 fd)
{
	return socket_of_file(file_of_fd(bpf_get_current_task_btf(), fd));
}

static __always_inline int accept_ended(const struct call *call)
{
	u64 a[1];

	if (call->ret >= 0)
		return tell_accepted(number_of(socket_of_fd(call->ret)), 0, call->ret, flags_of(call));
	socket_arguments(call, a, 1);
	return tell_accepted(0, number_of(socket_of_fd(a[0])), call->ret, flags_of(call));
}
CALL_EXIT(accept, KIND_ACCEPT, accept_ended)
SYSCALL_EXIT(accept, KIND_ACCEPT, accept_ended, accept)
SYSCALL_EXIT(accept, KIND_ACCEPT, accept_ended, accept4)
COMPAT_EXIT(accept, KIND_ACCEPT, accept_ended, socketcall)

/*
 * lsm and kprobe tiers: one accept of io_uring may take many connections, each through do_accept(). The descriptor is chosen elsewhere, so
 * the result is told as 0. The system calls go that way as well: what io_uring's function has begun is remembered.
 */
static __always_inline int accept_begins(void)
{
	struct checked checked = { .kind = KIND_ACCEPT };
	u64 id = bpf_get_current_pid_tgid();

	if (wanted_here(KIND_ACCEPT))
		bpf_map_update_elem(&checked_calls, &id, &checked, BPF_ANY);
	return 0;
}

static __always_inline int accept_is_over(void)
{
	u64 id = bpf_get_current_pid_tgid();

	bpf_map_delete_elem(&checked_calls, &id);
	return 0;
}

static __always_inline int accepted_by_kernel(struct file *listener, struct file *file)
{
	u64 id = bpf_get_current_pid_tgid();
	struct checked *checked = bpf_map_lookup_elem(&checked_calls, &id);
	struct settings *s = get_settings();
	s64 ret = (s64)number_of(file);

	if (!checked || checked->kind != KIND_ACCEPT || !wanted_here(KIND_ACCEPT) || !s)
		return 0;
	if (ret < 0 && ret >= -4095) /* an error; else the address of the file, negative as well */
		return wanted_result(s, ret) ? tell_accepted(0, number_of(socket_of_file(listener)), ret, HEADER_ASYNC) : 0;
	return tell_accepted(number_of(socket_of_file(file)), 0, 0, HEADER_ASYNC);
}
FUNCTION_ENTRY(accept, io_accept, accept_begins())
FUNCTION_EXIT(accept, io_accept, accept_is_over(), struct io_kiocb *req, unsigned int issue_flags, int ret)
FUNCTION_EXIT(accept, do_accept, accepted_by_kernel(file, ret), struct file *file, void *argument, void *address, void *length, int flags, struct file *ret)

/* socket: the arguments. */
SUBPROGRAM int tell_socket(u32 domain, u32 type, u32 protocol, s64 ret, u32 flags)
{
	struct socket_body *body;
	struct buffer *b;

	type &= SOCK_TYPE_MASK;
	if (!approve_numbers(KIND_SOCKET, (u16)domain, type))
		return 0;
	body = EVENT_BEGIN(b, KIND_SOCKET, flags, ret, struct socket_body);
	if (!body)
		return 0;
	body->domain = domain;
	body->socket_type = type;
	body->protocol = protocol;
	send(b, RING_BULK);
	return 0;
}

static __always_inline int socket_ended(const struct call *call)
{
	struct sock *sk = call->ret >= 0 ? sock_of(socket_of_fd(call->ret)) : 0;
	u64 a[3];

	socket_arguments(call, a, 3);
	if (sk && call->shape == SHAPE_SOCKETCALL) { /* not what the caller's memory says by now */
		a[0] = LOAD(struct sock, sk, __sk_common.skc_family);
		a[1] = LOAD(struct sock, sk, sk_type);
	}
	return tell_socket(a[0], a[1], a[2], call->ret, flags_of(call));
}
CALL_EXIT(socket, KIND_SOCKET, socket_ended)

/* lsm and kprobe tiers: the function behind the system calls, with the arguments that the kernel took, and that behind io_uring. */
static __always_inline int socket_made(int domain, int type, int protocol, s64 ret, u32 flags)
{
	struct settings *s = get_settings();

	if (!wanted_here(KIND_SOCKET) || !s || !wanted_result(s, ret))
		return 0;
	return tell_socket(domain, type, protocol, ret, flags);
}

static __always_inline int socket_file_made(int domain, int type, int protocol, struct file *file)
{
	s64 ret = (s64)number_of(file);

	return socket_made(domain, type, protocol, ret < 0 && ret >= -4095 ? ret : 0, HEADER_ASYNC);
}
FUNCTION_EXIT(socket, __sys_socket, socket_made(family, type, protocol, ret, is_compat(bpf_get_current_task_btf()) ? HEADER_COMPAT : 0), int family, int type, int protocol, int ret)
FUNCTION_EXIT(socket, __sys_socket_file, socket_file_made(family, type, protocol, ret), int family, int type, int protocol, struct file *ret)

/* setsockopt. `filter`: the caller's struct sock_fprog, for a filter that the kernel did not take. */
struct option_call { kptr socket; u64 filter; s64 ret; u32 level, option; u16 flags; };
#define INSTRUCTION 8
#define MAX_INSTRUCTIONS 511

static __always_inline void put_filter(struct buffer *b, const void *code, u32 count, bool user)
{
	u32 len = count * INSTRUCTION, off;

	section_begin(b, SECTION_BYTES);
	off = b->off;
	barrier_var(off);
	if (len > MAX_INSTRUCTIONS * INSTRUCTION)
		len = MAX_INSTRUCTIONS * INSTRUCTION;
	barrier_var(len);
	if (off < BUFFER_DATA && len <= MAX_INSTRUCTIONS * INSTRUCTION &&
	    !(user ? bpf_probe_read_user(&b->data[off], len, code) : bpf_probe_read_kernel(&b->data[off], len, code)))
		b->off = off + len;
	section_end(b, 0);
}

SUBPROGRAM_ON_MEMORY int tell_option(const struct option_call *call)
{
	struct sock_fprog_kern *program = 0;
	struct setsockopt_body *body;
	const void *code = 0;
	struct buffer *b;
	struct sock *sk;

	if (!call || !approve_numbers(KIND_SETSOCKOPT, call->option, call->level))
		return 0;
	sk = sock_of((void *)call->socket);
	body = EVENT_BEGIN(b, KIND_SETSOCKOPT, call->flags, call->ret, struct setsockopt_body);
	if (!body)
		return 0;
	body->level = call->level;
	body->option = call->option;
	if (sk) {
		body->family = LOAD(struct sock, sk, __sk_common.skc_family);
		body->socket_type = LOAD(struct sock, sk, sk_type);
		body->protocol = LOAD(struct sock, sk, sk_protocol);
	}
	if (call->level == SOL_SOCKET && call->option == SO_ATTACH_FILTER) {
		if (sk && call->ret >= 0) {
			struct sk_filter *filter = LOAD(struct sock, sk, sk_filter);
			struct bpf_prog *prog = filter ? LOAD(struct sk_filter, filter, prog) : 0;

			program = prog ? LOAD(struct bpf_prog___classic, prog, orig_prog) : 0;
		}
		if (program) {
			body->filter_len = LOAD(struct sock_fprog_kern, program, len);
			put_filter(b, LOAD(struct sock_fprog_kern, program, filter), body->filter_len, false);
		} else if (call->filter) {
			bpf_probe_read_user(&body->filter_len, sizeof(body->filter_len), (void *)call->filter);
			if (call->flags & HEADER_COMPAT)
				bpf_probe_read_user(&code, sizeof(u32), (void *)call->filter + 4);
			else
				bpf_probe_read_user(&code, sizeof(code), (void *)call->filter + 8);
			put_filter(b, code, body->filter_len, true);
		}
	}
	send(b, RING_BULK);
	return 0;
}

static __always_inline int option_checked(struct socket *socket, int level, int option)
{
	struct checked checked = { .kind = KIND_SETSOCKOPT, .level = level, .option = option };
	u64 id = bpf_get_current_pid_tgid();

	if (!wanted_here(KIND_SETSOCKOPT))
		return 0;
	checked.socket = number_of(socket);
	bpf_map_update_elem(&checked_calls, &id, &checked, BPF_ANY);
	return 0;
}

/* Puts the kernel's own arguments in, where the security hook of the call has seen them. */
static __always_inline bool put_checked(struct option_call *told)
{
	u64 id = bpf_get_current_pid_tgid();
	struct checked *checked = bpf_map_lookup_elem(&checked_calls, &id);

	if (!checked || checked->kind != KIND_SETSOCKOPT || !(told->ret >= 0 || checked->socket == told->socket))
		return false;
	told->socket = checked->socket;
	told->level = checked->level;
	told->option = checked->option;
	bpf_map_delete_elem(&checked_calls, &id);
	return true;
}

static __always_inline int setsockopt_ended(const struct call *call)
{
	struct option_call told = { .ret = call->ret, .flags = flags_of(call) };
	u64 a[4];

	socket_arguments(call, a, 4);
	told.socket = number_of(socket_of_fd(a[0]));
	told.level = a[1];
	told.option = a[2];
	told.filter = a[3];
	put_checked(&told);
	return tell_option(&told);
}
SECURITY_HOOK(setsockopt, socket_setsockopt, security_socket_setsockopt, option_checked(sock, level, optname), struct socket *sock, int level, int optname)
CALL_EXIT(setsockopt, KIND_SETSOCKOPT, setsockopt_ended)
SYSCALL_EXIT(setsockopt, KIND_SETSOCKOPT, setsockopt_ended, setsockopt)
COMPAT_EXIT(setsockopt, KIND_SETSOCKOPT, setsockopt_ended, socketcall)

/* io_uring: its operations, by number. */
enum { IO_ACCEPT = 13, IO_CONNECT = 16, IO_SOCKET = 45, IO_URING_CMD = 46, IO_BIND = 56 };
#define SOCKET_SETSOCKOPT 3 /* of the commands that sockets take */

/* Since 6.7. */
static __always_inline int command_ended(struct io_uring_cmd *cmd, int ret)
{
	struct option_call told = { .ret = ret, .flags = HEADER_ASYNC };
	struct settings *s = get_settings();

	if (LOAD(struct io_uring_cmd, cmd, cmd_op) != SOCKET_SETSOCKOPT || !wanted_here(KIND_SETSOCKOPT) || !s || !wanted_result(s, ret))
		return 0;
	told.socket = number_of(socket_of_file(LOAD(struct io_uring_cmd, cmd, file)));
	return put_checked(&told) ? tell_option(&told) : 0;
}
FUNCTION_EXIT(setsockopt, io_uring_cmd_sock, command_ended(cmd, ret), struct io_uring_cmd *cmd, unsigned int issue_flags, int ret)

/* The accepts that may take many connections, by ring and by what their caller calls them: that is all that is known of the later ones. */
struct accept_key { u64 ring; u64 user_data; };
struct { __uint(type, BPF_MAP_TYPE_LRU_HASH); __uint(max_entries, 1024); __type(key, struct accept_key); __type(value, u8); } accepts SEC(".maps");

/* What setsockopt requests ask for, by request: when it completes, its submission is gone. */
struct requested_option { u32 level, option; };
struct { __uint(type, BPF_MAP_TYPE_LRU_HASH); __uint(max_entries, 1024); __type(key, u64); __type(value, struct requested_option); } requested_options SEC(".maps");

static __always_inline u32 socket_operation(void *req, u8 opcode)
{
	switch (opcode) {
	case IO_ACCEPT: return KIND_ACCEPT;
	case IO_CONNECT: return KIND_CONNECT;
	case IO_SOCKET: return KIND_SOCKET;
	case IO_BIND: return KIND_BIND;
	case IO_URING_CMD:
		/* That the file is a socket is seen at the end: a request has none before it is begun. */
		if (bpf_core_field_exists(struct io_uring_sqe, optname) && LOAD(struct io_uring_cmd, req, cmd_op) == SOCKET_SETSOCKOPT)
			return KIND_SETSOCKOPT;
	}
	return 0;
}

static __always_inline bool is_socket_call(u32 kind)
{
	return kind == KIND_ACCEPT || kind == KIND_CONNECT || kind == KIND_SOCKET || kind == KIND_BIND || kind == KIND_SETSOCKOPT;
}

/* Tracepoint tier: a request whose success nobody wants to hear of has no end that is seen, so its beginning is told: as going on. */
static __always_inline int request_begins(void *req, u32 kind, bool silent)
{
	struct address_call told = { .kind = kind, .flags = HEADER_ASYNC, .ret = -EINPROGRESS };

	if (kind == KIND_ACCEPT && bpf_core_field_exists(struct io_kiocb, cqe)) {
		struct accept_key key = { .ring = (u64)LOAD(struct io_kiocb, req, ctx), .user_data = LOAD(struct io_kiocb, req, cqe.user_data) };
		u8 one = 1;

		bpf_map_update_elem(&accepts, &key, &one, BPF_ANY);
		return 0;
	}
	if (kind == KIND_SETSOCKOPT && bpf_core_field_exists(struct io_uring_sqe, optname)) {
		const struct io_uring_sqe *sqe = LOAD(struct io_uring_cmd, req, sqe);
		struct requested_option option = {};
		u64 key = (u64)req;

		if (sqe) {
			option.level = LOAD(struct io_uring_sqe, sqe, level);
			option.option = LOAD(struct io_uring_sqe, sqe, optname);
			bpf_map_update_elem(&requested_options, &key, &option, BPF_ANY);
		}
		return 0;
	}
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

	if (!wanted_here(kind) || !s || !(wanted_result(s, ret) || goes_on(kind, ret)))
		return 0;
	if (kind == KIND_SOCKET && bpf_core_type_exists(struct io_socket))
		return tell_socket(LOAD(struct io_socket, req, domain), LOAD(struct io_socket, req, type), LOAD(struct io_socket, req, protocol), ret,
				   HEADER_ASYNC);
	told.socket = number_of(socket_of_file(LOAD(struct io_kiocb, req, file)));
	if (kind == KIND_ACCEPT) /* with a fixed file slot the result is 0 and there is no descriptor */
		return tell_accepted(ret > 0 ? number_of(socket_of_fd(ret)) : 0, told.socket, ret, HEADER_ASYNC);
	if (kind == KIND_SETSOCKOPT) {
		struct option_call option = { .socket = told.socket, .ret = ret, .flags = HEADER_ASYNC };
		u64 key = (u64)req;
		struct requested_option *requested = bpf_map_lookup_elem(&requested_options, &key);

		if (!requested || !told.socket)
			return 0;
		option.level = requested->level;
		option.option = requested->option;
		bpf_map_delete_elem(&requested_options, &key);
		return tell_option(&option);
	}
	return tell_address(&told);
}

/* Tracepoint tier: a completion without its request, as an accept has them that goes on. */
SUBPROGRAM int more_accepted(kptr ring, u64 user_data, s64 ret)
{
	struct accept_key key = { .ring = ring, .user_data = user_data };

	if (ret < 0 || !wanted_here(KIND_ACCEPT) || !bpf_map_lookup_elem(&accepts, &key))
		return 0;
	return tell_accepted(number_of(socket_of_fd(ret)), 0, ret, HEADER_ASYNC);
}

/* io_uring in the lsm and kprobe tiers: the operation's function. What it returns says whether it is done; the result is in the request. */
static __always_inline int operation_ended(void *req, int ret, u32 kind)
{
	if (!bpf_core_field_exists(struct io_kiocb, cqe) || ret) /* not done: it is called again */
		return 0;
	return request_ended(req, LOAD(struct io_kiocb, req, cqe.res), kind);
}
FUNCTION_EXIT(connect, io_connect, operation_ended(req, ret, KIND_CONNECT), struct io_kiocb *req, unsigned int issue_flags, int ret)
FUNCTION_EXIT(bind, io_bind, operation_ended(req, ret, KIND_BIND), struct io_kiocb *req, unsigned int issue_flags, int ret)

/* Before 5.19 those functions may be part of another; what they call is not. A socket that is asked not to wait is asked again. */
static __always_inline int connected_by_kernel(struct file *file, int file_flags, s64 ret)
{
	struct address_call told = { .kind = KIND_CONNECT, .flags = HEADER_ASYNC, .ret = ret };
	u32 flags = LOAD(struct task_struct, bpf_get_current_task_btf(), flags);
	struct settings *s = get_settings();

	if (bpf_core_field_exists(struct io_kiocb, cqe) || !wanted_here(KIND_CONNECT) || !s || !wanted_result(s, ret))
		return 0;
	if (!(file_flags & 04000) && !(flags & TASK_IO_WORKER)) /* O_NONBLOCK is of io_uring alone */
		return 0;
	told.socket = number_of(socket_of_file(file));
	return tell_address(&told);
}
FUNCTION_EXIT(connect, __sys_connect_file, connected_by_kernel(file, file_flags, ret), struct file *file, void *address, int addrlen, int file_flags, int ret)
