#!/usr/bin/env bash
# The deployment in nginx.conf, docker-compose.yml, Dockerfile and .dockerignore, as far as it can be tried without containers:
# a real nginx and a real Redis, with the project's own configuration of both, before and behind two real nodes.
#
#   tests/deploy.sh [BINARY]       default: target/release/texto
#
# What is not tried: the images themselves, and the name server of Docker (`resolve` in the upstream).
set -euo pipefail
cd "$(dirname "$0")/.."
source tests/servers.sh

binary=$(realpath "${1:-$target/release/texto}")
output=$target/deploy
python=$target/independent/python/bin/python
nginx=$(command -v nginx || echo /usr/sbin/nginx)
rm -rf "$output"
mkdir -p "$output"
python_environment "$target/independent/python" tests/independent/requirements.txt
failed=0

# --- compose file and build context ---

if docker compose version >/dev/null 2>&1; then
    compose=(docker compose)
elif command -v docker-compose >/dev/null; then
    compose=(docker-compose)
fi
if [[ ${compose[*]:-} ]]; then
    if "${compose[@]}" config -q; then
        echo "ok docker-compose.yml is one that ${compose[*]} understands"
    else
        echo "FAILED docker-compose.yml is not one that ${compose[*]} understands"
        failed=$((failed + 1))
    fi
else
    echo 'skipped: no docker compose here to read docker-compose.yml'
fi

# --- nginx.conf, adapted to this machine ---

cp nginx.conf "$output/nginx.conf"
# adapt LINE REPLACEMENT: exactly one line of nginx.conf must be LINE, but for its indentation.
adapt() {
    [[ $(grep -cxE " *$1" "$output/nginx.conf") == 1 ]] || { echo "nginx.conf does not have exactly one line $1" >&2; exit 1; }
    sed -Ei "s|^( *)$1\$|\1$2|" "$output/nginx.conf"
}
port=$(free_port)
first=$(free_port)
second=$(free_port)
adapt 'listen 8398 (.*);' "listen 127.0.0.1:$port \2;"
adapt 'server texto:8398 resolve (.*);' "server 127.0.0.1:$first \2; server 127.0.0.1:$second \2;"
adapt 'error_log /var/log/nginx/error.log (.*);' "error_log $output/nginx-error.log \2;"
adapt 'access_log /var/log/nginx/access.log;' "access_log $output/nginx-access.log;"
adapt 'pid /run/nginx.pid;' "pid $output/nginx.pid;"
# Debian's nginx keeps its temporary files where only root may write.
adapt 'server_tokens off;' "server_tokens off; $(printf "%s_temp_path $output/temp; " client_body proxy fastcgi uwsgi scgi)"
echo 'nginx.conf, adapted to this machine and its nginx:'
diff -U0 nginx.conf "$output/nginx.conf" | grep '^[-+][^-+]' || true

if "$nginx" -t -q -p "$output" -c "$output/nginx.conf"; then
    echo "ok nginx.conf, so adapted, is one that $("$nginx" -v 2>&1) understands"
else
    echo 'FAILED nginx does not understand nginx.conf'
    failed=$((failed + 1))
fi

# --- everything together ---

# Redis as docker-compose.yml starts it.
mapfile -t redis < <(sed -n 's/^ *command: \(\[.*\]\)$/\1/p' docker-compose.yml | python3 -c 'import json, sys; print(*json.load(sys.stdin), sep="\n")')
redis_port=$(free_port)
mkdir "$output/redis"
start "$output/redis.log" "${redis[@]}" --bind 127.0.0.1 --port "$redis_port" --dir "$output/redis"
await_port "$redis_port" "$output/redis.log"

start "$output/nginx.log" "$nginx" -p "$output" -c "$output/nginx.conf" -g 'daemon off;'
await_port "$port" "$output/nginx.log"

# The checks start two nodes, stop one and start it again.
status=0
REDIS_URL=redis://127.0.0.1:$redis_port timeout 180 "$python" tests/deploy/checks.py "$binary" "$port" "$first" "$second" \
    2>"$output/nodes.log" || status=$?
((status == 0)) || failed=$((failed + 1))
echo "logs are in $output"
exit $((failed > 0))
