#!/bin/sh
# PID 1 of a machine of the testbed, inside new mount, UTS, IPC and PID namespaces.
#   boot.sh host NAME ROOT DISK_BYTES   ROOT becomes /; DISK_BYTES > 0 limits /var/lib/docker
#   boot.sh shared NAME FOLDER 0        this machine's own files, but for /run and /etc
set -eu
kind=$1 name=$2 folder=$3 disk_bytes=$4

# Still the outer /proc: the pid is the one by which the machine outside knows this process.
read -r stat </proc/self/stat
echo "$stat" >"$folder/holder.new"
mv "$folder/holder.new" "$folder/holder"

if [ "$kind" = shared ]; then
    mount -t proc proc /proc
    mount -t overlay -o "lowerdir=/etc,upperdir=$folder/etc,workdir=$folder/etc.work" overlay /etc
    mount --bind "$folder/run" /run
else
    cd "$folder/root"
    mount --bind . .
    cd "$folder/root"
    mount --bind /usr usr
    mount -o remount,bind,ro usr
    mount --bind ../usr.local usr/local
    mount -t proc proc proc
    mount -t sysfs sysfs sys # a new one shows the interfaces of this network namespace
    mount --rbind /sys/fs/cgroup sys/fs/cgroup
    mount --rbind /dev dev
    mount -t tmpfs tmpfs dev/shm
    [ "$disk_bytes" = 0 ] || mount -t tmpfs -o "size=$disk_bytes" disk var/lib/docker
    mkdir -p outside
    pivot_root . outside
    umount -l /outside
    rmdir /outside
    hostname "$name"
fi
: >/run/booted
exec tini-static -- sleep infinity
