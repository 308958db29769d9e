#!/usr/bin/env bash
# The browser client and its library: in Chromium, in Node, and through nginx with two nodes and Redis.
#
#   tests/browser/run.sh [BINARY]       default: target/release/texto
#
# Logs go to target/browser/.
set -euo pipefail
cd "$(dirname "$0")/../.."
source tests/servers.sh

binary=$(realpath "${1:-$target/release/texto}")
output=$target/browser
mkdir -p "$output"
(cd tests/browser && npm ci --loglevel=error --omit=optional)

status=0
for test in library chat figures; do
    timeout -k 5 180 node --disable-warning=ExperimentalWarning "tests/browser/$test.mjs" "$binary" "$output" || status=$?
done
exit "$status"
