#!/bin/sh
# What becomes process 1 of the namespaces made by booted.py: builds a root file system and boots systemd in it.
# STATE: a directory of ours (scratch/, host/notify). BINDS: lines SOURCE:TARGET. OPEN: directories everybody may pass.
# LAYER: a directory to be laid over the root file system, or nothing.
set -eu

mount -t tmpfs -o mode=755 tmpfs "$STATE/scratch"    # seen in this mount namespace only
cd "$STATE/scratch"
mkdir upper work root
lower=/
if [ -n "$LAYER" ]; then # a copy: what lies in / cannot be stacked upon it (ELOOP)
    cp -a "$LAYER" layer
    lower=$PWD/layer:/
fi
mount -t overlay -o "lowerdir=$lower,upperdir=$PWD/upper,workdir=$PWD/work" overlay root
cd root

mount -t proc proc proc
mount -t sysfs -o ro,nosuid,nodev,noexec sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs dev
for device in null zero full random urandom tty; do
    : >"dev/$device"
    mount --bind "/dev/$device" "dev/$device"
done
ln -s /proc/self/fd dev/fd
ln -s fd/0 dev/stdin; ln -s fd/1 dev/stdout; ln -s fd/2 dev/stderr
mkdir dev/shm dev/pts
mount -t tmpfs tmpfs dev/shm
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts dev/pts
ln -s pts/ptmx dev/ptmx
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp

echo "$OPEN" | while read -r directory; do
    while [ -n "$directory" ] && [ "$directory" != / ]; do
        [ ! -d ".$directory" ] || chmod o+x ".$directory"
        directory=$(dirname "$directory")
    done
done
mkdir run/host
mount --bind "$STATE/host" run/host
echo "$BINDS" | while IFS=: read -r source target; do
    mkdir -p ".$target"
    mount --bind "$source" ".$target"
    mount -o remount,bind,ro ".$target"
done

: >etc/fstab
: >etc/machine-id
echo 'web:x:987:987:the shop:/srv/shop:/usr/sbin/nologin' >>etc/passwd
echo 'web:x:987:' >>etc/group
units=etc/systemd/system
mkdir -p $units
# Hardware, clocks and consoles are not ours; tmpfiles would empty /tmp, where the project may be bound in.
for unit in systemd-udevd.service systemd-udev-trigger.service systemd-modules-load.service systemd-hwdb-update.service \
    systemd-timesyncd.service systemd-random-seed.service systemd-update-utmp.service systemd-tmpfiles-setup.service \
    systemd-tmpfiles-clean.timer systemd-firstboot.service systemd-resolved.service systemd-networkd.service \
    systemd-binfmt.service sys-kernel-debug.mount sys-kernel-tracing.mount dev-hugepages.mount dev-mqueue.mount \
    sys-fs-fuse-connections.mount proc-sys-fs-binfmt_misc.automount; do
    ln -sf /dev/null "$units/$unit"
done
printf '[Unit]\nDescription=Booted\nRequires=sysinit.target\nAfter=sysinit.target\nAllowIsolate=yes\n' >$units/booted.target

mkdir .old
pivot_root . .old
exec chroot . /bin/sh -c 'umount -l /.old; rmdir /.old; exec env -i container=flaskd NOTIFY_SOCKET=/run/host/notify \
    PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 /lib/systemd/systemd --system --unit=booted.target --show-status=false'
