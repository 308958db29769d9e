#!/usr/bin/env python3
"""What an idle WebSocket costs nginx: the figures in docs/nginx.md.

    perf/nginx.py [BINARY]       default: target/release/texto

Puts nginx with the project's own configuration, once that for HTTP and once that for TCP, before a node, and takes the slope of the workers'
memory between 1,000 and 3,000 idle connections. All of it is on loopback.
"""

import os
import pathlib
import re
import resource
import socket
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
FEW, MANY = 1000, 3000
UPGRADE = (
    b"GET /v1/texto HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
MODULE = "/usr/lib/nginx/modules/ngx_stream_module.so"


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def adapted(path, folder, port, node):
    """The project's configuration for this machine: other addresses and places, fewer descriptors, and no name server."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    text = (ROOT / path).read_text()
    for pattern, replacement in (
        (r"^( *)listen 8398 .*;", rf"\1listen 127.0.0.1:{port};"),
        (r"server texto:8398 resolve(.*);", rf"server 127.0.0.1:{node}\1;"),
        (r"^( *)(error_log|access_log) [^ ;]+", rf"\1\2 {folder}/\2"),
        (r"^pid .*;", f"pid {folder}/pid;"),
        (r"worker_rlimit_nofile \d+", f"worker_rlimit_nofile {files}"),
        (r"worker_connections \d+", f"worker_connections {files - 64}"),
        (r"server_tokens off;", "".join(f"{name}_temp_path {folder}/temp; " for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))),
    ):
        text = re.sub(pattern, replacement, text, flags=re.M)
    has_module = "stream {" in text and os.path.exists(MODULE)
    return f"load_module {MODULE};\n{text}" if has_module else text


def workers_memory(master):
    """Bytes that are the workers' own."""
    workers = pathlib.Path(f"/proc/{master}/task/{master}/children").read_text().split()
    summaries = [pathlib.Path(f"/proc/{worker}/smaps_rollup").read_text() for worker in workers]
    return sum(int(re.search(r"^Anonymous: +(\d+) kB", summary, re.M)[1]) * 1024 for summary in summaries)


def measure(binary, path):
    node_port, port = free_port(), free_port()
    with tempfile.TemporaryDirectory() as folder:
        pathlib.Path(folder, "nginx.conf").write_text(adapted(path, folder, port, node_port))
        environment = {"HOST": "127.0.0.1", "PORT": str(node_port), "TEXTO_ADMIN_ADDRESS": "off", "TEXTO_DRAIN_TIME": "0", "TEXTO_LOG_LEVEL": "error"}
        environment |= {"TEXTO_PROXY_PROTOCOL": "accept", "TEXTO_TRUSTED_PROXIES": "127.0.0.1"}
        node = subprocess.Popen([binary], env=environment)
        nginx = subprocess.Popen(["nginx", "-p", folder, "-c", f"{folder}/nginx.conf", "-g", "daemon off;"])
        try:
            wait_for(node_port)
            wait_for(port)
            clients, sizes = [], []
            for count in (FEW, MANY):
                while len(clients) < count:
                    clients.append(socket.create_connection(("127.0.0.1", port)))
                    clients[-1].sendall(UPGRADE)
                    assert b" 101 " in clients[-1].recv(4096)
                # For the greetings to have gone through.
                time.sleep(1)
                sizes.append(workers_memory(nginx.pid))
        finally:
            for process in (nginx, node):
                process.terminate()
                process.wait()
    print(f"{path}: {(sizes[1] - sizes[0]) / (MANY - FEW):,.0f} bytes of nginx for each idle WebSocket")


def wait_for(port):
    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise SystemExit(f"nothing listens on {port}")


def main(binary="target/release/texto"):
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    os.environ["PATH"] += ":/usr/sbin"
    for path in ("nginx.conf", "deploy/nginx/stream.conf"):
        measure(binary, path)


if __name__ == "__main__":
    main(*sys.argv[1:])
