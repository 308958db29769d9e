# shellcheck shell=bash
# Sourced by the test scripts: where things are built, free ports, and servers that are waited for and stopped by their pid.
#
# What a script starts with `start` or `start_texto` ends with the script, however that ends. Nothing here listens on, or talks to,
# anything but loopback.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck disable=SC2034 # used by those who source this
target=${CARGO_TARGET_DIR:-$root/target}
servers=()

# A Python environment holds what a list of pins says, and is made anew when the list changes: python_environment DIR PINS
python_environment() {
    cmp -s "$2" "$1/installed.txt" && return
    rm -rf "$1"
    python3 -m venv "$1" && "$1/bin/pip" install -q --disable-pip-version-check -r "$2" && cp "$2" "$1/installed.txt"
}

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# start LOG COMMAND...: in the background; its pid is in $server afterwards.
start() {
    local log=$1
    shift
    "$@" >"$log" 2>&1 &
    server=$!
    servers+=("$server")
}

# await_port PORT LOG: until the server started last listens there; its log is shown if it never does.
await_port() {
    local attempt
    for attempt in {1..200}; do
        (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null && return
        kill -0 "$server" 2>/dev/null || break
        sleep 0.05
    done
    echo "nothing listens on port $1 after $attempt attempts; the log says:" >&2
    tail -n 20 "$2" >&2
    return 1
}

# start_texto BINARY PORT LOG [VARIABLE=VALUE...]: a node with default settings but for these, on loopback alone, that drains at once.
start_texto() {
    local binary=$1 port=$2 log=$3
    shift 3
    start "$log" env -u REDIS_URL HOST=127.0.0.1 PORT="$port" TEXTO_ADMIN_ADDRESS=off TEXTO_DRAIN_TIME=0s "$@" "$binary"
    await_port "$port" "$log"
}

# stop PID: politely, and waits; a server that has not ended after ten seconds is killed and makes this fail.
stop() {
    local attempt
    kill "$1" 2>/dev/null || return 0
    for attempt in {1..200}; do
        if ! kill -0 "$1" 2>/dev/null; then
            wait "$1" 2>/dev/null || true
            return 0
        fi
        sleep 0.05
    done
    echo "process $1 did not end within ten seconds ($attempt looks)" >&2
    kill -9 "$1"
    return 1
}

stop_servers() {
    local pid
    for pid in "${servers[@]}"; do stop "$pid" || true; done
    servers=()
}
trap stop_servers EXIT
