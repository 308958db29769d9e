#!/usr/bin/env bash
# All that deploys Texto, as far as it can be tried without a container engine:
#
#   files.py     what the files say fits to the program and to each other
#   manifests.py the same for Kubernetes
#   units.py     the same for systemd, with systemd's own opinion
#   checks.py    nginx and Redis with the project's own configuration of both, before and behind two nodes
#   compose.py   both compose files, each service in namespaces of its own; takes root and docker-compose
#
#   tests/deploy.sh [BINARY]       default: target/release/texto
#
# What is not tried: the images themselves, and the name server of Docker (`resolve` in the upstream).
set -euo pipefail
cd "$(dirname "$0")/.."
source tests/servers.sh

binary=$(realpath "${1:-$target/release/texto}")
output=$target/deploy
python=$target/deploy-python/bin/python
nginx=$(command -v nginx || echo /usr/sbin/nginx)
rm -rf "$output"
mkdir -p "$output"
python_environment "$target/deploy-python" tests/deploy/requirements.txt
failed=0

# --- what the files say ---

if docker compose version >/dev/null 2>&1; then
    compose=(docker compose)
elif command -v docker-compose >/dev/null; then
    compose=(docker-compose)
fi
if [[ ${compose[*]:-} ]]; then
    for kind in http sentinel stream; do
        files=(-f docker-compose.yml)
        [[ $kind == http ]] || files+=(-f "docker-compose.$kind.yml")
        if "${compose[@]}" "${files[@]}" config >"$output/$kind.yml"; then
            echo "ok ${compose[*]} understands ${files[*]}"
        else
            echo "FAILED ${compose[*]} does not understand ${files[*]}"
            failed=$((failed + 1))
        fi
    done
else
    echo 'skipped: no docker compose here to read the compose files'
fi
for claims in files manifests; do
    "$python" "tests/deploy/$claims.py" "$binary" || failed=$((failed + 1))
done
if command -v systemd-analyze >/dev/null; then
    "$python" tests/deploy/units.py "$binary" || failed=$((failed + 1))
else
    echo 'skipped: no systemd here to look at the units'
fi

# --- nginx.conf, adapted to this machine ---

cp nginx.conf "$output/nginx.conf"
# adapt LINE REPLACEMENT: lines of nginx.conf that are LINE, but for their indentation. There must be some.
adapt() {
    grep -qxE " *$1" "$output/nginx.conf" || { echo "nginx.conf does not have a line $1" >&2; exit 1; }
    sed -Ei "s|^( *)$1\$|\1$2|" "$output/nginx.conf"
}
port=$(free_port)
first=$(free_port)
# The path of a unix socket may not be long, and that of the project may.
sockets=$(mktemp -d)
chmod 755 "$sockets"
second=$sockets/texto.sock
adapt 'listen 8398 (.*);' "listen 127.0.0.1:$port \2;"
adapt 'server texto:8398 resolve (.*);' "server 127.0.0.1:$first \2; server unix:$second \2;"
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
mapfile -t redis < <("$python" -c 'import sys, yaml; print(*yaml.safe_load(sys.stdin)["services"]["redis"]["command"], sep="\n")' <docker-compose.yml)
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
rm -rf "$sockets"

# --- the compose files, without an engine ---

if [[ ! ${compose[*]:-} ]]; then
    echo 'skipped: no docker compose here to put the compose files together'
elif ! unshare --net --mount true 2>/dev/null; then
    echo 'skipped: it takes root to run each service in namespaces of its own'
else
    while read -r kind claims; do
        echo "compose files for $kind:"
        # Where a user without rights may read, which the project's own folder need not be.
        network=$(mktemp -d)
        chmod 755 "$network"
        timeout 180 unshare --net --mount "$python" tests/deploy/compose.py "$binary" "$network" "$output/$kind.yml" "$claims" </dev/null ||
            failed=$((failed + 1))
        mv "$network" "$output/$kind"
    done <<'END'
sentinel life
http addresses
stream addresses
END
fi
echo "logs are in $output"
exit $((failed > 0))
