/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* The sensor's one object. Which of its programs are loaded is decided at start and at each reload; the rest cost nothing. */
#include "process.bpf.c"
#include "file_tracepoint.bpf.c"
#include "network.bpf.c"
#include "file_uring.bpf.c"
#include "file_functions.bpf.c"
#include "file_attributes.bpf.c"
#include "mounts.bpf.c"
#include "credentials.bpf.c"
#include "capabilities.bpf.c"
#include "target.bpf.c"
#include "memory.bpf.c"
#include "modules.bpf.c"
#include "ebpf.bpf.c"
#include "sysctl.bpf.c"
#include "selinux.bpf.c"
#include "cgroup.bpf.c"
#include "owners.bpf.c"
#include "packets.bpf.c"

char LICENSE[] SEC("license") = "Dual BSD/GPL";
