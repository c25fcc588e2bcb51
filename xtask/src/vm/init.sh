#!/bin/busybox sh
# First process of the guest, from the initrd: loads modules, mounts the root image, and hands over to guest.sh.
b=/bin/busybox
$b mount -t proc proc /proc
$b mount -t sysfs sys /sys
$b mount -t devtmpfs dev /dev
exec </dev/console >/dev/console 2>&1
for module in /lib/*.ko; do
    $b insmod "$module" || echo "init: $module: not loaded"
done
tries=0
while [ ! -b /dev/vdb ]; do
    tries=$((tries + 1))
    [ $tries -gt 200 ] && echo "init: no disk" && $b poweroff -f
    $b usleep 50000
done
$b mount -t ext4 /dev/vda /newroot || { echo "init: no root"; $b poweroff -f; }
$b mkdir -p /newroot/vm
$b cp /bin/busybox /guest.sh /newroot/vm/
for dir in proc sys dev; do $b mount --move /$dir /newroot/$dir; done
exec $b switch_root /newroot /vm/guest.sh
