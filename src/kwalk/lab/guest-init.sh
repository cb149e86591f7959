#!/bin/busybox sh
# SPDX-License-Identifier: MIT
# The first process of the guest. It runs twice: from the initramfs, where it makes the machine's
# files the root under a writable layer, and again on that root, where it runs the command.
# Only busybox is called; the words after it are its applets.

bb=/bin/busybox
[ "$1" = command ] && bb=/run/kwalk/busybox

fail() {
    echo "kwalk-lab: $*" >/dev/console
    $bb poweroff -f
    $bb sleep 60
}

# mount_at TYPE FOLDER [OPTIONS]: for file systems that not every kernel has.
mount_at() {
    [ -d "$2" ] || $bb mkdir -p "$2" 2>/dev/null
    $bb mount -t "$1" -o "${3:-rw}" "$1" "$2" 2>/dev/null
}

# share TAG FOLDER OPTIONS: a folder of the host.
share() {
    $bb mkdir -p "$2"
    $bb mount -t 9p -o "trans=virtio,version=9p2000.L,msize=512000,$3" "$1" "$2"
}

# port NAME: the device of a virtio-serial port. The names arrive a little after the device.
port() {
    tries=0
    while [ $tries -lt 200 ]; do
        for entry in /sys/class/virtio-ports/*; do
            name=
            read -r name 2>/dev/null <"$entry/name"
            [ "$name" = "$1" ] && echo "/dev/${entry##*/}" && return
        done
        tries=$((tries + 1))
        $bb usleep 50000
    done
    fail "the port $1 did not appear"
}

# The virtual environment of the host gets the Python of the guest's own architecture.
change_python() {
    # shellcheck disable=SC2154 # from the settings
    for name in python python3 "${python##*/}"; do
        $bb ln -sf "$python" "$venv/bin/$name"
    done
    $bb sed -i "s|^home *=.*|home = ${python%/*}|" "$venv/pyvenv.cfg"
    # Beside the host's; Python chooses by the names' endings.
    # shellcheck disable=SC2086,SC2154 # several names
    $bb ln -sf $extensions "$site_packages/"
}

make_root() {
    mount_at devtmpfs /dev
    mount_at proc /proc
    # shellcheck source=/dev/null
    . /job/settings
    for module in /modules/*.ko; do
        [ -e "$module" ] || continue
        $bb insmod "$module" || fail "the module ${module##*/} cannot be loaded"
    done
    share root /lower ro,cache=loose || fail "the host's files cannot be mounted"
    lower=/lower
    if [ -n "$userland" ]; then
        share userland /userland ro,cache=loose || fail "the guest's programs cannot be mounted"
        lower=/userland:/lower
    fi
    mount_at tmpfs /upper mode=755,size=90% || fail "tmpfs cannot be mounted"
    $bb mkdir /upper/data /upper/work /new
    $bb mount -t overlay -o lowerdir=$lower,upperdir=/upper/data,workdir=/upper/work \
        overlay /new || fail "the writable layer cannot be mounted"
    mount_at tmpfs /new/run mode=755 || fail "/run cannot be mounted"
    $bb mkdir /new/run/kwalk
    $bb cp -a /bin/busybox /init /job/. /new/run/kwalk/
    $bb umount /proc
    $bb umount /dev
    exec $bb switch_root /new /run/kwalk/busybox sh /run/kwalk/init command
}

prepare() {
    mount_at proc /proc
    mount_at sysfs /sys
    mount_at devtmpfs /dev
    mount_at devpts /dev/pts mode=620,ptmxmode=666,gid=5
    mount_at tmpfs /dev/shm mode=1777
    $bb ln -sf /proc/self/fd /dev/fd
    $bb ln -sf /proc/self/fd/0 /dev/stdin
    $bb ln -sf /proc/self/fd/1 /dev/stdout
    $bb ln -sf /proc/self/fd/2 /dev/stderr
    $bb mkdir -p /run/lock
    mount_at securityfs /sys/kernel/security
    mount_at debugfs /sys/kernel/debug
    mount_at tracefs /sys/kernel/tracing
    mount_at bpf /sys/fs/bpf mode=700
    mount_at cgroup2 /sys/fs/cgroup
    $bb hostname kwalk-lab
    $bb ip link set lo up
    # As systemd has it: 1024 open files, and leave to ask for many more.
    ulimit -Hn 1048576
    ulimit -Sn 1024
    # modules, out, token, userland: machine.py; venv and others: userland.py
    # shellcheck source=/dev/null
    . /run/kwalk/settings
    [ -z "$venv" ] || change_python
    if [ -n "$modules" ]; then
        share modules "/lib/modules/$($bb uname -r)" ro,cache=loose ||
            fail "the kernel's modules cannot be mounted"
    fi
    if [ -n "$out" ]; then
        share out "$out" rw,cache=mmap || fail "the folder $out cannot be mounted"
    fi
}

# Everything that the command left running would keep its output open.
end_others() {
    for entry in /proc/[0-9]*; do
        case ${entry#/proc/} in
        1 | "$1" | "$2") ;;
        *) kill -9 "${entry#/proc/}" 2>/dev/null ;;
        esac
    done
}

run_command() {
    exec 7<>"$(port control)" 8>"$(port stdout)" 9>"$(port stderr)"
    # The ports can be opened once only; through a FIFO /dev/stdout works as anywhere else.
    $bb mkfifo /run/kwalk/stdout /run/kwalk/stderr
    $bb cat </run/kwalk/stdout >&8 7>&- 9>&- &
    first=$!
    $bb cat </run/kwalk/stderr >&9 7>&- 8>&- &
    second=$!
    port monitor >/dev/null # it must be there for a command that looks for it at once
    echo ready >&7
    # A subshell, so that this shell's own "Killed" does not go to the command's stderr.
    (exec $bb setsid $bb sh /run/kwalk/job </dev/null \
        >/run/kwalk/stdout 2>/run/kwalk/stderr 7>&- 8>&- 9>&-)
    echo "exit $?" >&7
    end_others $first $second
    wait $first $second
    [ -z "$out" ] || $bb sync
    # The host strips these; then it knows that it has all of the output, and ends the machine.
    # shellcheck disable=SC2154 # from the settings
    printf %s "$token" >&8
    printf %s "$token" >&9
    read -r _ <&7
    $bb poweroff -f
}

if [ "$1" = command ]; then
    prepare
    run_command
else
    make_root
fi
fail "the first process has nothing left to do"
