#!/usr/bin/env bash
# What do others do with clients that break the rules? The wire-level rows of tests/hostile/, said to a server on tokio-tungstenite and to
# others beside it, as a table: what Texto answers, and what they do.
#
#   perf/manners.sh [SERVER...]        default: tokio-default node-ws
source "$(dirname "$0")/lib.sh"

servers=${*:-tokio-default node-ws}
build "$servers"
for name in $servers; do
    start "$name"
    address=${url#ws://}
    printf '\n%s\n' "$name"
    TEXTO_PEER=${address%%/*} cargo test --quiet --locked --manifest-path "$root/Cargo.toml" --test hostile the_rows_of_others -- --ignored --nocapture |
        grep -vE '^(running|test result|$)'
    stop "$server"
done
