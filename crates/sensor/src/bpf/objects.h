/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* Types of memory, modules, eBPF and cgroups; as kernel.h, names and types matter and not the order. */
#pragma once

#include "base.h"

#define MAGIC_ANON_INODES 0x09041934
#define MAGIC_SELINUX 0xf97cff8cu
#define MAGIC_CGROUP1 0x27e0eb
#define MAGIC_CGROUP2 0x63677270

enum bpf_map_type { MAP_TYPE_UNSPECIFIED };
enum bpf_prog_type { PROG_TYPE_UNSPECIFIED };
enum bpf_attach_type { ATTACH_TYPE_FIRST };
enum kernel_read_file_id { READING_UNKNOWN };
/* The enumerators differ between kernels, so they are looked up by name. */
enum kernel_read_file_id___modules { READING_MODULE = 2 };

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct super_block___magic { unsigned long s_magic; };

struct vm_area_struct {
	unsigned long vm_start, vm_end;
	unsigned long vm_flags;
	struct file *vm_file;
};

struct pipe_buffer { unsigned int flags; };
struct pipe_inode_info { unsigned int head, tail, ring_size; struct pipe_buffer *bufs; };

struct bpf_map { enum bpf_map_type map_type; u32 id; char name[16]; };
struct bpf_insn { u64 whole; };
struct bpf_prog_aux { char name[16]; };
struct bpf_prog {
	enum bpf_prog_type type;
	enum bpf_attach_type expected_attach_type;
	u32 len;
	u8 tag[8];
	struct bpf_prog_aux *aux;
	struct bpf_insn insnsi[0];
};

struct module { char name[56]; };

struct kernfs_open_file { struct file *file; };

#pragma clang attribute pop
