#!/usr/bin/env bash
# Claim: one Texto process holds a million greeted connections in less than 100 MB of its own memory.
#
#   perf/million.sh [N] [--server texto|floor] [--json FILE]      N = 1000000: about half an hour; N = 20000: a minute
#
# An ordinary machine allows a process some thousand open files, and often nobody may change that. User Mode Linux is a whole Linux in one
# ordinary process, with limits of its own: server and load tool both run inside it, over its loopback. There is no network and no disk.
#
# Memory is exact there. Time is not: one CPU, and some 40 µs for each system call. So the pings are put off for the length of the run:
# the guest could not send 40,000 a second, whoever the server is. Once all are connected and each has sent and got a message, 1 % send
# one message a second, then all leave. What came out is printed before they leave.
source "$(dirname "$0")/lib.sh"

count=1000000 subject=texto runs=$work/runs.jsonl
while [ $# -gt 0 ]; do
    case $1 in
        --server) subject=$2; shift ;;
        --json) runs=$2; shift ;;
        *[!0-9]* | '') say "usage: $0 [N] [--server texto|floor] [--json FILE]"; exit 2 ;;
        *) count=$1 ;;
    esac
    shift
done

need linux.uml user-mode-linux
need cpio cpio
need busybox busybox-static
build "$subject"

case $subject in
    texto) program=$texto command='HOST=0.0.0.0 PORT=8398 TEXTO_LOOPS=1 TEXTO_ADMIN_ADDRESS=off TEXTO_PING_AFTER=1h /server' ;;
    floor) program=$peers_built/floor command='/server 0.0.0.0:8398' ;;
    *) say "no such server for the guest: $subject"; exit 2 ;;
esac
# 25,000 ports per pair of addresses are comfortable; both ends of a connection take 8 kB, the guest itself little.
addresses=$((count / 25000 + 1))
megabytes=$((1024 + count * 11 / 1000))
seconds=$((count >= 200000 ? 60 : 10))
# The tool tells how far it is where somebody watches; elsewhere its complaints are kept for the end.
complaints=/tmp/complaints
[ -t 1 ] && complaints=/dev/console

guest=$work/guest
mkdir -p "$guest"/{bin,proc,sys,dev,tmp,etc}
cp "$(command -v busybox)" "$guest/bin/busybox"
cp "$program" "$guest/server"
cp "$tool" "$guest/texto-perf"
# The libraries under the paths where the programs look for them.
ldd "$program" "$tool" | grep -oE '/[^ )]+\.so[^ )]*' | sort -u | while read -r library; do
    mkdir -p "$guest$(dirname "$library")"
    cp -L "$library" "$guest$library"
done

cat >"$guest/init" <<END
#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
[ -e /dev/null ] || mknod -m 666 /dev/null c 1 3
[ -e /dev/urandom ] || mknod -m 444 /dev/urandom c 1 9
ip link set lo up
set_to() { [ ! -e "/proc/sys/\$1" ] || echo "\$2" >"/proc/sys/\$1"; }
set_to fs/nr_open 8000000
set_to fs/file-max 8000000
set_to fs/epoll/max_user_watches 16000000
set_to net/core/somaxconn 65535
set_to net/ipv4/tcp_max_syn_backlog 65535
set_to net/ipv4/ip_local_port_range "1024 65535"
set_to net/ipv4/tcp_mem "1000000 2000000 3000000"
set_to net/ipv4/tcp_rmem "4096 16384 131072"
set_to net/ipv4/tcp_wmem "4096 16384 131072"
set_to vm/overcommit_memory 1
ulimit -n 4000000
$command >/tmp/server.log 2>&1 &
server=\$!
until grep -qsE 'listen(s|ing) on' /tmp/server.log; do
    kill -0 \$server || { cat /tmp/server.log; poweroff -f; }
    sleep 1
done
/texto-perf idle --url ws://127.0.0.1:8398/v1/texto --pid \$server --label $subject-guest --targets $addresses --connect-rate 1000000 \
    --connections $((count / 10)),$count --touch --hold 10 --active 0.01 --seconds $seconds --limit 30000 --json /tmp/run.json 2>$complaints
echo "exit code of the tool: \$?"
[ ! -s /tmp/complaints ] || cat /tmp/complaints
grep -E 'Anonymous|^Rss' /proc/\$server/smaps_rollup
tail -5 /tmp/server.log
echo "RUN \$(cat /tmp/run.json)"
poweroff -f
END
chmod +x "$guest/init"
(cd "$guest" && find . | cpio -o -H newc --quiet | gzip -1) >"$work/initramfs.gz"

# The guest's memory is one mapping per page that it protects; the usual limit ends it at about 2 GB.
maps=$(cat /proc/sys/vm/max_map_count)
if [ "$maps" -lt 4000000 ]; then
    echo 4000000 >/proc/sys/vm/max_map_count || say "vm.max_map_count could not be raised: above some 200,000 connections the guest will die"
    trap 'echo "$maps" >/proc/sys/vm/max_map_count; finish' EXIT
fi

say "$count connections in a guest of $megabytes MB"
TMPDIR=/dev/shm "${on_server_cpu[@]}" linux.uml mem="${megabytes}M" initrd="$work/initramfs.gz" rdinit=/init \
    slab_nomerge thash_entries=1048576 quiet con=null con0=null,fd:1 </dev/null 2>&1 | tr -d '\r' | tee "$work/guest.log" |
    grep -vE '^(RUN |SELinux|mmapper_init|Failed to initialize ubd|reboot: System halted)' || true
sed -n 's/^RUN //p' "$work/guest.log" >>"$runs"
grep -q '^RUN {' "$work/guest.log" && ! grep -q '"failed"' "$runs"
