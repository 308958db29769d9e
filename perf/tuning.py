#!/usr/bin/env python3
"""What some settings of the kernel do to a node, measured: the figures in docs/tuning.md.

    perf/tuning.py [BINARY]       default: target/release/texto

Every question is put in a network namespace of its own, so nothing of the machine is changed. Takes root, or a kernel that lets users have
namespaces. All connections are on loopback, and there are no more of them than CONNECTIONS.
"""

import errno
import os
import pathlib
import selectors
import signal
import socket
import subprocess
import sys
import time

CONNECTIONS = 2000
PAUSE = 0.3  # seconds for which the node cannot accept
UPGRADE = (
    b"GET /v1/texto HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


def set_sysctl(name, value):
    pathlib.Path("/proc/sys", name.replace(".", "/")).write_text(value)


def counter(name):
    """One of the counters that nstat(8) shows."""
    keys, values = [line.split() for line in pathlib.Path("/proc/net/netstat").read_text().splitlines() if line.startswith("TcpExt:")]
    return int(values[keys.index(name)])


def start_node(binary):
    environment = {"HOST": "127.0.0.1", "PORT": "8398", "TEXTO_ADMIN_ADDRESS": "off", "TEXTO_LOOPS": "1", "TEXTO_LOG_LEVEL": "error"}
    node = subprocess.Popen([binary], env=environment)
    while socket.socket().connect_ex(("127.0.0.1", 8398)) != 0:
        time.sleep(0.02)
    return node


def accept_queue(binary, somaxconn):
    """All come at once, while the node is busy for a moment: how long until the last has its session, and what the kernel threw away."""
    set_sysctl("net.core.somaxconn", somaxconn)
    set_sysctl("net.ipv4.tcp_max_syn_backlog", "65535")
    node = start_node(binary)
    overflows = counter("ListenOverflows")
    node.send_signal(signal.SIGSTOP)
    begin = time.monotonic()
    poll = selectors.DefaultSelector()
    for _ in range(CONNECTIONS):
        client = socket.socket()
        client.setblocking(False)
        client.connect_ex(("127.0.0.1", 8398))
        poll.register(client, selectors.EVENT_WRITE)
    time.sleep(max(0.0, PAUSE - (time.monotonic() - begin)))
    node.send_signal(signal.SIGCONT)
    waits = []
    while len(waits) < CONNECTIONS:
        for key, events in poll.select():
            client = key.fileobj
            if events & selectors.EVENT_WRITE:
                client.send(UPGRADE)
                poll.modify(client, selectors.EVENT_READ)
            elif b" 101 " in client.recv(4096):
                poll.unregister(client)
                waits.append(time.monotonic() - begin)
    node.kill()
    node.wait()
    median, worst = sorted(waits)[CONNECTIONS // 2], max(waits)
    lost = counter("ListenOverflows") - overflows
    print(f"net.core.somaxconn = {somaxconn:>5}: session after {median:.1f} s (median), {worst:.1f} s (worst); ListenOverflows {lost}")


def socket_buffers(_, largest):
    """Clients that do not read: what the kernel holds for each until the node is told that it has to wait."""
    set_sysctl("net.ipv4.tcp_rmem", f"4096 16384 {largest}")
    set_sysctl("net.ipv4.tcp_wmem", f"4096 16384 {largest}")
    listener = socket.create_server(("127.0.0.1", 8398), backlog=1024)
    pairs, held = [], 0
    for _ in range(100):
        client = socket.create_connection(("127.0.0.1", 8398))
        server, _ = listener.accept()
        server.setblocking(False)
        pairs.append((client, server))
    quiet = pages()
    for _, server in pairs:
        # A pause lets the receiver's window grow, as a sender over a network would.
        for _ in range(200):
            try:
                held += server.send(bytes(65536))
            except BlockingIOError:
                time.sleep(0.0005)
    taken = (pages() - quiet) * os.sysconf("SC_PAGE_SIZE")
    print(f"tcp_rmem and tcp_wmem up to {int(largest) // 1024:>5} KiB: {taken // len(pairs) // 1024} KiB of kernel memory for each client "
          f"that does not read, {held // len(pairs) // 1024} KiB of them payload")


def pages():
    [line] = [line for line in pathlib.Path("/proc/net/sockstat").read_text().splitlines() if line.startswith("TCP:")]
    return int(line.split()[-1])


def local_ports(_, ports):
    """What a proxy may open to one address of a node."""
    set_sysctl("net.ipv4.ip_local_port_range", ports)
    listener = socket.create_server(("127.0.0.1", 8398), backlog=4096)
    kept = []
    while len(kept) < CONNECTIONS:
        client = socket.socket()
        error = client.connect_ex(("127.0.0.1", 8398))
        if error:
            print(f"net.ipv4.ip_local_port_range = {ports}: {len(kept)} connections to one address, then {errno.errorcode[error]}")
            return
        kept.append((client, listener.accept()))
    raise SystemExit("the ports do not run out")


def open_files(binary, limit):
    """What a node makes of the limit of open files."""
    command = ["sh", "-c", f'ulimit -n {limit}; exec "$0"', binary]
    environment = {"HOST": "127.0.0.1", "PORT": "0", "TEXTO_ADMIN_ADDRESS": "off", "TEXTO_LOOPS": "1"}
    node = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    line = next(line for line in node.stderr if "open files" in line)
    node.kill()
    node.wait()
    print(f"nofile = {limit:>5}: {line.split('] ', 1)[1].strip()}")


QUESTIONS = {
    accept_queue: ("128", "65535"),
    socket_buffers: ("6291456", "131072"),
    local_ports: ("20000 20999",),
    open_files: ("1024", "16384"),
}


def main(binary="target/release/texto", *question):
    if question:
        name, value = question
        next(ask for ask in QUESTIONS if ask.__name__ == name)(binary, value)
        return
    for ask, values in QUESTIONS.items():
        for value in values:
            inside = ["unshare", "--net", "--map-root-user", "sh", "-c", 'ip link set lo up; exec "$0" "$@"']
            subprocess.run([*inside, sys.executable, __file__, os.path.abspath(binary), ask.__name__, value], check=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
