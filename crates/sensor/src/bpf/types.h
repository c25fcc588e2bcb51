/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * The kernel structs that LOAD() reads from, and the number of each in the kernel's BTF, which user space fills in before the programs are
 * loaded (kernel_types.rs): libbpf would look for each of them among all types of the kernel. One that is missing here does not compile.
 */
#pragma once

#define KERNEL_TYPES(T) \
	T(bpf_map) T(bpf_prog) T(bpf_prog___classic) T(cgroup) T(cgroup_namespace) T(cgroup_subsys_state) T(cred) T(css_set) \
	T(dentry) T(fdtable) T(file) T(file_system_type) T(filename) T(files_struct) T(fs_struct) T(hlist_node) T(inode) \
	T(io_connect) T(io_kiocb) T(io_link) T(io_link___delayed) T(io_mkdir) T(io_mkdir___delayed) T(io_open) \
	T(io_open___delayed) T(io_rename) T(io_rename___delayed) T(io_socket) T(io_unlink) T(io_unlink___delayed) \
	T(io_uring_cmd) T(io_uring_cqe) T(io_uring_sqe) T(io_xattr) T(io_xattr___delayed) T(ipc_namespace) T(kernfs_node) \
	T(kernfs_open_file) T(linux_binprm) T(list_head) T(mm_struct) T(mnt_namespace) T(mnt_namespace___tree) T(mount) \
	T(mount___list) T(net) T(net_device) T(nsproxy) T(open_flags) T(path) T(pid) T(pid_namespace) T(pipe_buffer) \
	T(pipe_inode_info) T(pt_regs) T(rb_node) T(signal_struct) T(sk_buff) T(sk_filter) T(sock) T(sock_fprog_kern) \
	T(socket) T(super_block) T(super_block___magic) T(task_struct) T(timespec64) T(user_namespace) T(uts_namespace) \
	T(vm_area_struct)

#define TYPE_NUMBER(name) u32 name;
struct type_numbers { KERNEL_TYPES(TYPE_NUMBER) };
#undef TYPE_NUMBER
const volatile struct type_numbers type_numbers SEC(".rodata.types") = {};

#define TYPE_CASE(name) struct name *: type_numbers.name,
#define TYPE_ID(type) _Generic((type *)0, KERNEL_TYPES(TYPE_CASE) void *: 0)
