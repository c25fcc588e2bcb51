# Boots the Debian below $1 with systemd as its first process, in namespaces and a cgroup ($2) of its own.
set -eu
mkdir "$2"
echo $$ > "$2/cgroup.procs"
exec unshare --cgroup --mount --pid --uts --ipc --net --fork --kill-child --propagation private sh -euc '
root=$1
mount --bind "$root" "$root"
# The machine'\''s own: numbers of processes in events are of the first pid namespace.
mkdir -p "$root/host/proc" "$root/old"
mount --rbind /proc "$root/host/proc"
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs tmpfs "$root/tmp"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for name in null zero full random urandom tty; do
    : > "$root/dev/$name"
    mount --bind "/dev/$name" "$root/dev/$name"
done
ln -s pts/ptmx "$root/dev/ptmx"
cd "$root"
pivot_root . old
umount -l /old
exec env -i container=atalaya-test PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    /lib/systemd/systemd --log-target=console --unit=multi-user.target
' sh "$1"
