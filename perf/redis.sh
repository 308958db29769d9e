#!/usr/bin/env bash
# From node to node against what Redis itself can do: the same PUBLISH of the same size with as many under way, from redis-benchmark and from
# a node, in turn, on one Redis. Then the system calls of a node's publisher, counted by strace with 64 messages in flight.
#
#   perf/redis.sh [--quick] [--json FILE]
#
# redis-benchmark publishes to nobody (`publish-0`), which is the most that Redis can do, and to one subscriber that throws away what it
# reads (`publish-1`), which is what Redis has to do for a message between nodes. `cluster` is that message's whole way: a client's send,
# a node, Redis, another node, the recipient, and the acknowledgement. Everything shares the machine's cores, so on two of them `cluster`
# is mostly what two nodes and the load tool leave Redis of them; Redis's own CPU per message does not depend on that.
source "$(dirname "$0")/lib.sh"

rounds=5 seconds=3 requests=500000
runs=$work/runs.jsonl
while [ $# -gt 0 ]; do
    case $1 in
        --quick) rounds=1 seconds=1 requests=100000 ;;
        --json) runs=$2; shift ;;
        *) say "usage: $0 [--quick] [--json FILE]"; exit 2 ;;
    esac
    shift
done

need redis-server redis-server
need redis-benchmark redis-tools
need strace strace
need python3 python3
build texto

# No limit for what waits for a subscriber: on a busy machine one that is cut off would end a run, and be counted for one that keeps up.
redis-server --port 0 --unixsocket "$work/redis.sock" --save '' --appendonly no --daemonize no --client-output-buffer-limit pubsub 0 0 0 >"$work/redis.log" 2>&1 &
redis=$!
started+=("$redis")
for _ in $(seq 100); do
    [ -S "$work/redis.sock" ] && break
    sleep 0.05
done
export REDIS_URL="unix://$work/redis.sock"
# Nothing is pinned: there are more processes than cores.
on_server_cpu=() on_tool_cpu=()

start texto
first=$server first_url=$url
start texto
second=$server second_url=$url
id=67e55044-10b1-426f-9247-bb680e5fe0c8
channel=texto:$id
payload="{\"SenderID\":\"$id\",\"RecipientID\":\"$id\",\"Text\":\"$(printf 'x%.0s' $(seq 32))\"}"

# cpu_ticks PID: hundredths of a second that a process has spent on a processor.
cpu_ticks() { awk '{ sub(/^.*\) /, ""); print $12 + $13 }' "/proc/$1/stat"; }

# published: how many messages Redis was asked to publish so far.
published() { redis-cli -s "$work/redis.sock" info commandstats | sed -n 's/^cmdstat_publish:calls=\([0-9]*\),.*/\1/p'; }

# note LABEL IN_FLIGHT SECONDS MESSAGES TICKS: one line of results.
note() {
    awk -v label="$1" -v depth="$2" -v seconds="$3" -v messages="$4" -v ticks="$5" 'BEGIN {
        printf "{\"mode\":\"redis\",\"label\":\"%s\",\"in_flight\":%d,\"size_bytes\":32,\"messages\":%d,", label, depth, messages
        printf "\"messages_per_second\":%.0f,\"redis_cpu_us_per_message\":%.3f}\n", messages / seconds, ticks * 1e4 / messages
    }' >>"$runs"
}

# benchmark LABEL IN_FLIGHT
benchmark() {
    local ticks messages per_second
    ticks=$(cpu_ticks "$redis") messages=$(published)
    redis-benchmark -s "$work/redis.sock" -c 1 -P "$2" -n "$requests" -q PUBLISH "$channel" "$payload" >"$work/benchmark.txt" 2>&1
    per_second=$(tr '\r' '\n' <"$work/benchmark.txt" | sed -n 's/.*: \([0-9.]*\) requests per second.*/\1/p' | tail -1)
    messages=$(($(published) - ${messages:-0}))
    note "$1" "$2" "$(awk -v n="$messages" -v rate="$per_second" 'BEGIN { print n / rate }')" "$messages" $(($(cpu_ticks "$redis") - ticks))
}

# A subscriber of the one channel that throws away what it reads: redis-cli would print it, and be too slow for that.
subscribe() {
    python3 - "$work/redis.sock" "$channel" <<-'END' &
		import socket, sys
		subscriber = socket.socket(socket.AF_UNIX)
		subscriber.connect(sys.argv[1])
		subscriber.sendall(f"SUBSCRIBE {sys.argv[2]}\r\n".encode())
		buffer = bytearray(1 << 20)
		while subscriber.recv_into(buffer):
		    pass
	END
    subscriber=$!
    started+=("$subscriber")
    until [ "$(redis-cli -s "$work/redis.sock" pubsub numsub "$channel" | tail -1)" = 1 ]; do sleep 0.02; done
}

# One client of the first node writes to one of the second, so many messages in flight.
across() {
    "$tool" fan-in --pairs 1 --inflight "$1" --seconds "$2" --warm-up 0.3 --url "$second_url" --url "$first_url" --pid "$first" --pid "$second" \
        --label cluster --json "$work/across.jsonl" >"$work/run.txt" || { tail -3 "$work/run.txt" >&2; exit 1; }
}

cluster() {
    local ticks messages
    ticks=$(cpu_ticks "$redis") messages=$(published)
    across "$1" "$seconds"
    messages=$(($(published) - ${messages:-0}))
    # The rate is that of the measured part, CPU that of all; both are per message.
    note cluster "$1" "$(tail -1 "$work/across.jsonl" | sed -E 's/.*"messages_per_second":([0-9.]+).*/\1/' | awk -v n="$messages" '{ print n / $1 }')" \
        "$messages" $(($(cpu_ticks "$redis") - ticks))
}

for round in $(seq "$rounds"); do
    for depth in 64 512; do
        say "round $round of $rounds: $depth in flight"
        benchmark publish-0 "$depth"
        subscribe
        benchmark publish-1 "$depth"
        stop "$subscriber"
        cluster "$depth"
    done
done

# Rates and CPU per message as medians, and the rate as a share of that of redis-benchmark in the same round.
awk '
    function field(name) { match($0, "\"" name "\":\"?[^,\"}]*"); return substr($0, RSTART + length(name) + 3 + ($0 ~ "\"" name "\":\""), RLENGTH - length(name) - 3 - ($0 ~ "\"" name "\":\"")) }
    function median(list, count,   i, j, swap) {
        for (i = 1; i <= count; i++) for (j = i + 1; j <= count; j++) if (list[j] < list[i]) { swap = list[i]; list[i] = list[j]; list[j] = swap }
        return count % 2 ? list[(count + 1) / 2] : (list[count / 2] + list[count / 2 + 1]) / 2
    }
    field("mode") == "redis" { key = field("in_flight") SUBSEP field("label"); n = ++count[key]; rate[key, n] = field("messages_per_second"); cpu[key, n] = field("redis_cpu_us_per_message") }
    END {
        split("64 512", depths); split("publish-0 publish-1 cluster", labels)
        for (d = 1; d <= 2; d++) for (l = 1; l <= 3; l++) {
            key = depths[d] SUBSEP labels[l]
            for (n = 1; n <= count[key]; n++) {
                rates[n] = rate[key, n]; cpus[n] = cpu[key, n]
                share0[n] = rate[key, n] / rate[depths[d], "publish-0", n]; share1[n] = rate[key, n] / rate[depths[d], "publish-1", n]
            }
            n = count[key]
            printf "%4d in flight  %-10s %8.0f messages/s  %5.2f us of Redis each  %5.2f of publish-0  %5.2f of publish-1\n", depths[d], labels[l], median(rates, n), median(cpus, n), median(share0, n), median(share1, n)
        }
    }' "$runs"

# --- system calls of the publisher's thread ---

# thread_of PID NAME: the number of the thread of this name.
thread_of() { grep -lx "$2" "/proc/$1/task/"*/comm | head -1 | cut -d/ -f5; }

publisher=$(thread_of "$first" texto-publish)
messages=$(published)
strace -c -o "$work/strace.log" -p "$publisher" 2>/dev/null &
strace=$!
sleep 0.5
across 64 "$seconds"
kill -INT "$strace"
wait "$strace" 2>/dev/null || true
messages=$(($(published) - messages))
# Redis is a socket (sendto, recvfrom, setsockopt for the time limits); the rest wakes the loops (write) and waits for them (futex).
awk -v messages="$messages" '$NF == "total" { all = $4 } $NF == "sendto" || $NF == "recvfrom" || $NF == "setsockopt" { redis += $4 } END {
    printf "{\"mode\":\"redis-calls\",\"label\":\"texto\",\"in_flight\":64,\"messages\":%d,\"redis_calls_per_message\":%.4f,\"publisher_calls_per_message\":%.4f}\n", messages, redis / messages, all / messages }' "$work/strace.log" >>"$runs"
tail -1 "$runs"
