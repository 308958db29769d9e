#!/usr/bin/env bash
# One event loop against two: messages per second, pairs spread over the loops.
#
#   perf/loops.sh [--quick] [--json FILE]
#
# On two cores the load tool needs one of them, so two loops share what one had: what this shows there is the price of a message that
# crosses from loop to loop, not the gain. The gain needs a machine with a core for each loop and one for the tool.
source "$(dirname "$0")/lib.sh"

rounds=3 seconds=3
runs=$work/runs.jsonl
while [ $# -gt 0 ]; do
    case $1 in
        --quick) rounds=1 seconds=1 ;;
        --json) runs=$2; shift ;;
        *) say "usage: $0 [--quick] [--json FILE]"; exit 2 ;;
    esac
    shift
done

build texto
# Not pinned: the scheduler may use whatever core is free.
on_server_cpu=() on_tool_cpu=()
for round in $(seq "$rounds"); do
    for loops in 1 2; do
        say "round $round of $rounds: $loops loops"
        TEXTO_LOOPS=$loops start texto
        "$tool" route --pairs 50 --inflight 4 --seconds "$seconds" --url "$url" --pid "$server" --label "texto-$loops-loops" --json "$runs" >"$work/run.txt" ||
            tail -3 "$work/run.txt" >&2
        stop "$server"
    done
done
"$tool" compare --base texto-1-loops "$runs"
