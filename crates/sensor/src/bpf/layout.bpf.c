/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* Never loaded: one variable of each struct that crosses the boundary, so that BTF has them all and the layout test can read them. */
#include "syscall.h"

#define HOLD(type) struct type hold_##type
HOLD(record_header); HOLD(namespaces); HOLD(fork_body); HOLD(exec_body); HOLD(cgroup_body); HOLD(task_body); HOLD(exit_body); HOLD(heartbeat_body); HOLD(call_body);
HOLD(object_body); HOLD(uring_body); HOLD(section); HOLD(file_info); HOLD(name_key); HOLD(name_value); HOLD(path_key); HOLD(path_value);
HOLD(filter); HOLD(settings); HOLD(loss_key); HOLD(syscall_shape); HOLD(event_head); HOLD(number_key);
HOLD(prctl_body); HOLD(address_body); HOLD(socket_body); HOLD(setsockopt_body); HOLD(setuid_body); HOLD(setgid_body); HOLD(capset_body);
HOLD(unshare_body); HOLD(ptrace_body); HOLD(capabilities_body);
HOLD(signal_body); HOLD(setrlimit_body);
HOLD(mmap_body); HOLD(mprotect_body); HOLD(bpf_body); HOLD(load_module_body); HOLD(unload_module_body);
HOLD(splice_body); HOLD(sysctl_body); HOLD(selinux_body); HOLD(cgroup_write_body);
HOLD(mount_body);
HOLD(packet_body); HOLD(socket_owner); HOLD(port_key); HOLD(packet_settings); HOLD(packet_verdict); HOLD(packet_subject); HOLD(packet_orders); HOLD(interface_key); HOLD(interface_packets);
HOLD(flow_key); HOLD(flow_value);
