#!/usr/bin/env bash
# Independent WebSocket clients against a real node: `ws` from npm, `websockets` and `aiohttp` from Python, and those in README.md.
#
#   tests/independent/run.sh [BINARY]       default: target/release/texto
set -euo pipefail
cd "$(dirname "$0")/../.."
source tests/servers.sh

binary=${1:-$target/release/texto}
mkdir -p "$target/independent"

(cd tests/independent && npm ci --loglevel=error)
python_environment "$target/independent/python" tests/independent/requirements.txt

port=$(free_port)
start_texto "$binary" "$port" "$target/independent/texto.log"
status=0
timeout 180 "$target/independent/python/bin/python" tests/independent/conversation.py "127.0.0.1:$port" || status=$?
timeout 60 node tests/independent/readme.mjs "127.0.0.1:$port" "$target/independent" || status=$?
stop "$server"
exit "$status"
