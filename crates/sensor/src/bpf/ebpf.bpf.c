/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * The bpf call. Where the kernel can be watched at work, what is told are its own copies: the arguments, the program's instructions before
 * they are rewritten, the map or program that the call is about. In the tracepoint tier the arguments are the caller's memory, when the
 * call is over, and the objects are those of the descriptors.
 */
#include "hook.h"
#include "objects.h"

enum {
	CMD_MAP_CREATE = 0, CMD_PROG_LOAD = 5, CMD_OBJ_PIN = 6, CMD_OBJ_GET = 7, CMD_PROG_ATTACH = 8, CMD_PROG_DETACH = 9,
	CMD_PROG_GET_FD_BY_ID = 13, CMD_MAP_GET_FD_BY_ID = 14, CMD_PROG_QUERY = 16, CMD_RAW_TRACEPOINT_OPEN = 17, CMD_LOOKUP_AND_DELETE = 21,
	CMD_MAP_FREEZE = 22, CMD_BATCH_FIRST = 24, CMD_BATCH_LAST = 27, CMD_LINK_CREATE = 28, CMD_LINK_UPDATE = 29, CMD_PROG_BIND_MAP = 35,
};

/* The beginning of `union bpf_attr`, which is different for each command. */
union attributes {
	u32 words[18];
	struct { u32 type, key_size, value_size, max_entries, flags, inner, node; char name[16]; } map;
	struct { u32 type, count; u64 instructions; u64 license; u32 log[4]; u32 kernel, flags; char name[16]; u32 interface, attach_type; } prog;
};

/* What was seen of a call so far, by thread; from the beginning of the call to its end. */
struct bpf_seen { struct bpf_body body; union attributes attr; u32 given; u32 scanned; };
struct { __uint(type, BPF_MAP_TYPE_LRU_HASH); __uint(max_entries, 1024); __type(key, u64); __type(value, struct bpf_seen); } bpf_calls SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY); __uint(max_entries, 1); __type(key, u32); __type(value, struct bpf_seen); } bpf_zero SEC(".maps");

static __always_inline struct bpf_seen *bpf_seen(void)
{
	u64 id = bpf_get_current_pid_tgid();

	return bpf_map_lookup_elem(&bpf_calls, &id);
}

static __always_inline struct bpf_seen *bpf_begins(u32 cmd)
{
	u64 id = bpf_get_current_pid_tgid();
	u32 zero = 0;
	struct bpf_seen *empty = bpf_map_lookup_elem(&bpf_zero, &zero), *seen;

	if (!empty || bpf_map_update_elem(&bpf_calls, &id, empty, BPF_ANY))
		return 0;
	seen = bpf_map_lookup_elem(&bpf_calls, &id);
	if (seen)
		seen->body.cmd = cmd;
	return seen;
}

/* The arguments say what is to be made; the objects that follow know better. */
static __always_inline void use_attributes(struct bpf_seen *seen)
{
	struct bpf_body *body = &seen->body;

	switch (body->cmd) {
	case CMD_MAP_CREATE:
		body->has |= BPF_HAS_MAP;
		body->map_type = seen->attr.map.type;
		__builtin_memcpy(body->map_name, seen->attr.map.name, sizeof(body->map_name));
		break;
	case CMD_PROG_LOAD:
		body->has |= BPF_HAS_PROG;
		body->prog_type = seen->attr.prog.type;
		body->attach_type = seen->attr.prog.attach_type;
		__builtin_memcpy(body->prog_name, seen->attr.prog.name, sizeof(body->prog_name));
		break;
	}
}

static __always_inline void map_seen(struct bpf_seen *seen, struct bpf_map *map)
{
	seen->body.has |= BPF_HAS_MAP;
	seen->body.map_type = LOAD(struct bpf_map, map, map_type);
	seen->body.map_id = LOAD(struct bpf_map, map, id);
	bpf_probe_read_kernel(seen->body.map_name, sizeof(seen->body.map_name), ADDR(struct bpf_map, map, name));
}

static __always_inline void prog_seen(struct bpf_seen *seen, struct bpf_prog *prog)
{
	struct bpf_prog_aux *aux = LOAD(struct bpf_prog, prog, aux);

	seen->body.has |= BPF_HAS_PROG;
	seen->body.prog_type = LOAD(struct bpf_prog, prog, type);
	seen->body.attach_type = LOAD(struct bpf_prog, prog, expected_attach_type);
	bpf_probe_read_kernel(seen->body.tag, sizeof(seen->body.tag), ADDR(struct bpf_prog, prog, tag));
	if (aux)
		bpf_probe_read_kernel(seen->body.prog_name, sizeof(seen->body.prog_name), ADDR(struct bpf_prog_aux, aux, name));
}

/* Which helpers the instructions call. */
#define INSTRUCTIONS_AT_ONCE 16
#define INSTRUCTIONS_MAX (1 << 20) /* what the kernel takes */
#define INSTRUCTIONS_UNPRIVILEGED 4096
#define CODE_CALL 0x85

struct scan { struct bpf_seen *seen; u64 at; u32 left; bool user; };

STEP long scan_step(u32 i, void *ctx)
{
	struct scan *s = ctx;
	u64 some[INSTRUCTIONS_AT_ONCE] = {};
	u32 size = s->left * 8;

	barrier_var(size);
	if (size > sizeof(some))
		size = sizeof(some);
	if (s->user)
		bpf_probe_read_user(some, size, (void *)s->at);
	else
		bpf_probe_read_kernel(some, size, (void *)s->at);
	for (u32 k = 0; k < INSTRUCTIONS_AT_ONCE; k++) {
		u32 helper = some[k] >> 32;
		/* Calls of helpers have no source register; other calls are those of functions of the program or of the kernel. */
		if ((some[k] & 0xff) == CODE_CALL && !(some[k] >> 12 & 0xf) && helper < BPF_HELPERS)
			s->seen->body.helpers[helper >> 6 & (BPF_HELPERS / 64 - 1)] |= 1ull << (helper & 63);
	}
	if (s->left <= INSTRUCTIONS_AT_ONCE)
		return 1;
	s->left -= INSTRUCTIONS_AT_ONCE;
	s->at += sizeof(some);
	return 0;
}

static __always_inline void scan(struct bpf_seen *seen, u64 at, u32 count, bool user)
{
	struct scan s = { .seen = seen, .at = at, .left = count, .user = user };

	if (count && count <= INSTRUCTIONS_MAX)
		(void)LOOP((count + INSTRUCTIONS_AT_ONCE - 1) / INSTRUCTIONS_AT_ONCE, 32, scan_step, &s);
}

/* The hooks of the tiers that have them. */

static __always_inline int bpf_called(int cmd, void *attr, unsigned int size)
{
	struct bpf_seen *seen;
	struct call call;

	if (!call_of(&call, user_regs(), KIND_BPF) || !approve_numbers(KIND_BPF, (u32)cmd, 0))
		return 0;
	seen = bpf_begins(cmd);
	if (!seen)
		return 0;
	bpf_probe_read_kernel(&seen->attr, sizeof(seen->attr), attr); /* the kernel's copy is whole, whatever the size is */
	use_attributes(seen);
	return 0;
}
SECURITY_HOOK(bpf, bpf, security_bpf, bpf_called(cmd, attr, size), int cmd, void *attr, unsigned int size)

/* Before the verifier rewrites them: the instructions are those that the caller gave. */
static __always_inline int prog_checked(struct bpf_prog *prog)
{
	struct bpf_seen *seen = bpf_seen();

	if (!seen || seen->body.cmd != CMD_PROG_LOAD || seen->scanned)
		return 0;
	seen->scanned = true;
	scan(seen, number_of(ADDR(struct bpf_prog, prog, insnsi)), LOAD(struct bpf_prog, prog, len), false);
	return 0;
}
SECURITY_HOOK(bpf, bpf_prog_load, security_bpf_prog_load, prog_checked(prog), struct bpf_prog *prog) /* since 6.9 */

/* Before 6.9 the verifier's entry, which takes a struct by value, so that no trampoline goes there; without either, the caller's memory is read. */
SEC("kprobe/bpf_check")
int BPF_KPROBE(bpf__kprobe_bpf_check, struct bpf_prog **prog)
{
	return prog_checked(LOAD_POINTER(prog));
}

static __always_inline int map_given(struct bpf_map *map)
{
	struct bpf_seen *seen = bpf_seen();

	if (seen) {
		map_seen(seen, map);
		seen->given = true;
	}
	return 0;
}
SECURITY_HOOK(bpf, bpf_map, security_bpf_map, map_given(map), struct bpf_map *map)

static __always_inline int prog_given(struct bpf_prog *prog)
{
	struct bpf_seen *seen = bpf_seen();

	if (seen) {
		prog_seen(seen, prog);
		seen->given = true;
	}
	return 0;
}
SECURITY_HOOK(bpf, bpf_prog, security_bpf_prog, prog_given(prog), struct bpf_prog *prog)

/* The map or program behind a descriptor: its file is one of the kernel's anonymous ones, which nobody else can give that name. */
static __always_inline void object_of_fd(struct bpf_seen *seen, u32 fd)
{
	struct file *file = file_of_fd(bpf_get_current_task_btf(), fd);
	struct dentry *dentry;
	void *object;
	char name[8] = {};

	if (!file)
		return;
	dentry = LOAD(struct file, file, f_path.dentry);
	if (LOAD(struct super_block___magic, LOAD(struct dentry, dentry, d_sb), s_magic) != MAGIC_ANON_INODES)
		return;
	bpf_probe_read_kernel(name, sizeof(name), LOAD(struct dentry, dentry, d_name.name));
	object = LOAD(struct file, file, private_data);
	if (!object)
		return;
	if (!__builtin_memcmp(name, "bpf-map", 8))
		map_seen(seen, object);
	else if (!__builtin_memcmp(name, "bpf-prog", 8))
		prog_seen(seen, object);
}

/* The descriptors of the call's objects. */
SUBPROGRAM int objects_of_call(s64 ret)
{
	struct bpf_seen *seen = bpf_seen();
	u32 *words;

	if (!seen)
		return 0;
	words = seen->attr.words;
	switch (seen->body.cmd) {
	case CMD_MAP_CREATE: case CMD_PROG_LOAD: case CMD_OBJ_GET: case CMD_PROG_GET_FD_BY_ID: case CMD_MAP_GET_FD_BY_ID:
		if (ret >= 0 && !seen->given)
			object_of_fd(seen, ret);
		break;
	case CMD_OBJ_PIN: case CMD_RAW_TRACEPOINT_OPEN:
		object_of_fd(seen, words[2]);
		break;
	case CMD_PROG_ATTACH: case CMD_PROG_DETACH:
		object_of_fd(seen, words[1]);
		break;
	case CMD_BATCH_FIRST ... CMD_BATCH_LAST:
		object_of_fd(seen, words[9]);
		break;
	case CMD_LINK_UPDATE: case CMD_PROG_BIND_MAP:
		object_of_fd(seen, words[0]);
		object_of_fd(seen, words[1]);
		break;
	case CMD_PROG_QUERY:
		break;
	case 1 ... 4: case 10: case 15: case CMD_LOOKUP_AND_DELETE: case CMD_MAP_FREEZE: case CMD_LINK_CREATE:
		object_of_fd(seen, words[0]);
		break;
	}
	/* What it is attached as is said by who attaches. */
	if ((seen->body.has & BPF_HAS_PROG) && (seen->body.cmd == CMD_PROG_ATTACH || seen->body.cmd == CMD_PROG_DETACH || seen->body.cmd == CMD_LINK_CREATE))
		seen->body.attach_type = words[2];
	return 0;
}

static __always_inline int bpf_ended(const struct call *call)
{
	u64 id = bpf_get_current_pid_tgid();
	struct bpf_seen *seen = bpf_seen();
	struct bpf_body *body;
	struct buffer *b;
	u32 size = call->a[2];

	if (!approve_numbers(KIND_BPF, (u32)call->a[0], 0))
		return 0;
	if (!seen || seen->body.cmd != (u32)call->a[0]) {
		seen = bpf_begins(call->a[0]);
		if (!seen)
			return 0;
		barrier_var(size);
		if (size > sizeof(seen->attr))
			size = sizeof(seen->attr);
		bpf_probe_read_user(&seen->attr, size, (void *)call->a[1]);
		use_attributes(seen);
	}
	if (seen->body.cmd == CMD_PROG_LOAD && !seen->scanned) {
		/* By way of the map, so that the verifier does not know it: it would go each step of the loop with a number that it knows. */
		volatile u32 *count = &seen->attr.prog.count;

		/* Anybody may be refused: a million instructions would be tens of milliseconds in which nothing else runs on this CPU. */
		if (call->ret < 0 && *count > INSTRUCTIONS_UNPRIVILEGED)
			*count = INSTRUCTIONS_UNPRIVILEGED;
		scan(seen, seen->attr.prog.instructions, *count, true);
	}
	objects_of_call(call->ret);
	body = EVENT_BEGIN(b, KIND_BPF, flags_of(call), call->ret, struct bpf_body);
	if (!body)
		return 0;
	*body = seen->body;
	bpf_map_delete_elem(&bpf_calls, &id);
	send(b, RING_VITAL);
	return 0;
}
CALL_EXIT(bpf, KIND_BPF, bpf_ended)
SYSCALL_EXIT(bpf, KIND_BPF, bpf_ended, bpf)
