"""The compose files, run for real without a container engine (see network.py): compose.py BINARY FOLDER FILE life|addresses.

FILE is what compose makes of docker-compose.yml and one or none of the other files: for `life`, which replaces and kills parts, that with Sentinels.
The last line is `N passed, M failed`.
"""

import json
import pathlib
import re
import shutil
import socket
import sys
import threading

import yaml

from checks import Client, check
from network import PATIENCE, Container, Network, until

ROOT = pathlib.Path(__file__).resolve().parents[2]
NODES = 3
CLIENTS = 12
# Clients of one address that a node takes, where that is what is looked at.
PER_ADDRESS = 2


class Deployment:
    def __init__(self, binary, folder, compose, settings):
        self.services = services = compose["services"]
        # As in the Dockerfile; and a drain of ten seconds would only make this slow.
        self.settings = {"PORT": "8398", "TEXTO_DRAIN_TIME": "1s"} | settings
        self.network = Network(folder, **compose["networks"]["default"]["ipam"]["config"][0])
        self.binary = pathlib.Path(folder, "texto")
        shutil.copy(binary, self.binary)
        self.image_check = json.loads(re.search(r"HEALTHCHECK .*\\\n +CMD (\[.*\])", (ROOT / "Dockerfile").read_text())[1])
        # Names first: whoever starts early finds the addresses of those that come later.
        copies = {name: [f"{name}-{n + 1}" for n in range(NODES)] if name == "texto" else [name] for name in services}
        fixed = {name: service["networks"]["default"]["ipv4_address"] for name, service in services.items() if service.get("networks")}
        addresses = {copy: self.network.name(copy, name, address=fixed.get(name)) for name, all in copies.items() for copy in all}
        self.containers = {}
        for name in in_order(services):
            for copy in copies[name]:
                self.containers[copy] = self.start(name, copy, addresses[copy])
            for copy in copies[name]:
                self.await_health(copy)
        self.clients = []

    def start(self, name, copy, address):
        service = self.services[name]
        if name == "texto":
            environment = self.settings | service["environment"]
            return Container(self.network, copy, address, [str(self.binary)], service | {"environment": environment})
        if name == "nginx":
            return Container(self.network, copy, address, ["nginx", "-g", "daemon off;"], service, self.nginx_mounts(service))
        return Container(self.network, copy, address, service["command"], service)

    def nginx_mounts(self, service):
        [volume] = service["volumes"]
        source, target, access = volume.split(":") if isinstance(volume, str) else (volume["source"], volume["target"], "ro")
        assert access == "ro" and target == "/etc/nginx/nginx.conf", volume
        adapted = self.network.folder / "nginx.conf"
        # Debian's nginx cannot resolve names again and again, but at its start it takes all addresses of a name.
        text = pathlib.Path(source).read_text().replace(" resolve ", " ")
        # And it has the stream module in a file of its own.
        module = "/usr/lib/nginx/modules/ngx_stream_module.so"
        adapted.write_text(f"load_module {module};\n{text}" if "stream {" in text else text)
        logs = self.network.folder / "nginx"
        logs.mkdir()
        return [f"mount --bind {adapted} {target}", f"mount --bind {logs} /var/log/nginx"]

    def await_health(self, copy):
        service = self.services[copy if copy in self.services else "texto"]
        check = service["healthcheck"]["test"] if "healthcheck" in service else ["CMD", *self.image_check]
        self.containers[copy].await_health(check)

    def arrive(self, source=None):
        return Client(self.containers["nginx"].address, 8398, source)

    def redis(self, name, *command, port=6379):
        return self.containers[name].run("redis-cli", "-p", str(port), *command) or ""

    def end(self):
        for client in self.clients:
            client.socket.close()
        return {name: container.stop() for name, container in self.containers.items() if container.process.poll() is None}


def is_refused(host, source, fields=""):
    """Whether the handshake of a client is refused because of its address."""
    request = (
        "GET /v1/texto HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{fields}\r\n"
    )
    try:
        with socket.create_connection((host, 8398), PATIENCE, (source, 0)) as client:
            client.sendall(request.encode())
            status = client.recv(4096).split(b"\r\n")[0]
    except ConnectionError:
        status = b""
    assert status in (b"", b"HTTP/1.1 101 Switching Protocols", b"HTTP/1.1 429 Too Many Requests"), status
    # A PROXY header names the client before it has said anything; so the answer may be there early, and be lost where the request crosses it.
    return b" 101 " not in status


def in_order(services):
    """The names of services, each after those that it depends on."""
    order = []
    while len(order) < len(services):
        ready = [name for name, service in services.items() if name not in order and set(service.get("depends_on", ())) <= set(order)]
        assert ready, "services depend on each other in a circle"
        order += ready
    return order


class Conversation:
    """Two clients that write to each other all the time, and may notice nothing."""

    def __init__(self, alice, bob):
        self.alice, self.bob = alice, bob
        self.is_over = threading.Event()
        self.turns, self.failure = 0, None
        self.thread = threading.Thread(target=self.talk)
        self.thread.start()

    def talk(self):
        try:
            while not self.is_over.is_set():
                for sender, recipient in ((self.alice, self.bob), (self.bob, self.alice)):
                    sender.send(recipient, f"turn {self.turns}")
                    assert recipient.hear("receive")["data"]["text"] == f"turn {self.turns}"
                self.turns += 1
        except Exception as failure:
            self.failure = failure

    def end(self):
        self.is_over.set()
        self.thread.join()
        assert self.failure is None, f"after {self.turns} turns: {self.failure!r}"
        assert self.turns > 0


# --- claims, each of which goes on from what the one before it left ---


def every_service_starts_with_its_sysctls_and_a_user_without_rights(deployment):
    for copy, container in deployment.containers.items():
        service = deployment.services[copy if copy in deployment.services else "texto"]
        for key, value in service.get("sysctls", {}).items():
            assert container.run("cat", f"/proc/sys/{key.replace('.', '/')}").split() == value.split(), (copy, key)
        if service.get("cap_drop"):
            status = pathlib.Path(f"/proc/{container.process.pid}/status").read_text()
            assert re.search(r"^Uid:\t10001\t", status, re.M) and re.search(r"^CapBnd:\t0+$", status, re.M), (copy, status)
        if service.get("read_only"):
            assert container.run("touch", "/etc/texto-was-here") is None, copy


def clients_of_all_nodes_write_to_each_other(deployment):
    deployment.clients = [deployment.arrive() for _ in range(CLIENTS)]
    assert len({client.node for client in deployment.clients}) == NODES
    for sender, recipient in zip(deployment.clients, deployment.clients[1:]):
        sender.send(recipient, "hello")
        assert recipient.hear("receive")["data"]["text"] == "hello"


def nodes_are_replaced_one_by_one_and_the_clients_of_others_notice_nothing(deployment):
    for number in range(1, NODES + 1):
        node = deployment.containers[f"texto-{number}"]
        tag = Client(node.address, 8398).node
        leaving = [client for client in deployment.clients if client.node == tag]
        staying = [client for client in deployment.clients if client.node != tag]
        one = staying[0]
        other = next(client for client in staying if client.node != one.node)
        conversation = Conversation(one, other)
        node.process.terminate()
        codes = [client.close_code() for client in leaving]
        assert codes == [1012] * len(leaving) and leaving, codes
        # They come back at once, while their node may still be refusing: nginx finds another.
        arrived = [deployment.arrive() for _ in leaving]
        assert node.process.wait(20) == 0
        node.start()
        deployment.await_health(node.name)
        # nginx asks a node that had failed anew after five seconds.
        known = {client.node for client in staying + arrived}
        until(lambda: arrived.append(deployment.arrive()) or arrived[-1].node not in known, "the new node has a client", pause=0.2)
        conversation.end()
        deployment.clients = staying + arrived


def when_the_master_is_killed_the_replica_takes_over_and_no_client_is_lost(deployment):
    one = deployment.clients[0]
    other = next(client for client in deployment.clients if client.node != one.node)
    deployment.containers["redis"].kill()
    until(lambda: "role:master" in deployment.redis("redis-replica", "info", "replication"), "the replica is the master")

    def is_heard():
        kind = one.try_send(other, "after the failover")
        return kind == "ack" and other.hears("after the failover")

    until(is_heard, "a message gets across")
    for client in deployment.clients:
        client.send(client, "still here")
        assert client.hear("receive")["data"]["text"] == "still here"


def the_old_master_comes_back_as_a_replica(deployment):
    deployment.containers["redis"].start()
    deployment.await_health("redis")
    until(lambda: "master_link_status:up" in deployment.redis("redis", "info", "replication"), "the old master follows the new one")
    for sentinel in ("sentinel-1", "sentinel-2", "sentinel-3"):
        told = deployment.redis(sentinel, "sentinel", "get-master-addr-by-name", "texto", port=26379).split()
        assert told == ["redis-replica", "6379"], told


def a_node_knows_its_clients_by_their_own_addresses(deployment):
    sources = [deployment.network.own_address(), deployment.network.own_address()]
    for source in sources:
        clients = [deployment.arrive(source) for _ in range(NODES * PER_ADDRESS)]
        assert is_refused(deployment.containers["nginx"].address, source), source
        deployment.clients += clients
    assert len({client.node for client in deployment.clients}) == NODES


def what_a_client_says_about_its_address_is_not_believed(deployment):
    # From an address that has all that it may have.
    source = deployment.clients[0].socket.local_address[0]
    for forged in ("X-Forwarded-For", "X-Real-IP"):
        assert is_refused(deployment.containers["nginx"].address, source, f"{forged}: 192.0.2.1\r\n"), forged


def every_service_ends_when_it_is_told_to(deployment):
    codes = deployment.end()
    assert all(code == 0 for code in codes.values()), codes


CLAIMS = {
    "life": [
        every_service_starts_with_its_sysctls_and_a_user_without_rights,
        clients_of_all_nodes_write_to_each_other,
        nodes_are_replaced_one_by_one_and_the_clients_of_others_notice_nothing,
        when_the_master_is_killed_the_replica_takes_over_and_no_client_is_lost,
        the_old_master_comes_back_as_a_replica,
        every_service_ends_when_it_is_told_to,
    ],
    "addresses": [
        a_node_knows_its_clients_by_their_own_addresses,
        what_a_client_says_about_its_address_is_not_believed,
        every_service_ends_when_it_is_told_to,
    ],
}


def main(binary, folder, file, kind):
    settings = {"TEXTO_MAX_CONNECTIONS_PER_ADDRESS": str(PER_ADDRESS)} if kind == "addresses" else {}
    deployment = Deployment(binary, folder, yaml.safe_load(pathlib.Path(file).read_text()), settings)
    results = [check(claim, deployment) for claim in CLAIMS[kind]]
    print(f"{results.count(True)} passed, {results.count(False)} failed")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
