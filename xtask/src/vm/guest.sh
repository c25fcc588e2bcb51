#!/bin/bash
# The guest's only process: mounts what a host has, unpacks the payload from the second disk, runs it, and powers off.
# Its output goes to the virtio port, which carries nothing but it; the kernel's goes to the serial console.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 TERM=dumb
port=/dev/vport1p1
for candidate in /dev/vport*p1; do [ -c "$candidate" ] && port=$candidate; done
exec >"$port" 2>&1 </dev/null
mount -o remount,rw / 2>/dev/null
mkdir -p /dev/pts /dev/shm /run /tmp
mount -t devpts devpts /dev/pts
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
mount -t tmpfs -o mode=755 tmpfs /run
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tracefs tracefs /sys/kernel/tracing
mount -t bpf bpf /sys/fs/bpf
mount -t securityfs securityfs /sys/kernel/security
ip link set lo up
hostname atalaya-vm
mkdir -p /work
tar -xf /dev/vdb -C /work
cd /work || exit 1
echo "VMT_START linux $(uname -r) lsm=$(cat /sys/kernel/security/lsm)"
setsid bash ./run.sh
echo "VMT_EXIT=$?"
# The port has no drain: give the host a moment to read.
/vm/busybox usleep 300000
/vm/busybox poweroff -f
