"""Two nodes behind an nginx that runs: checks.py BINARY NGINX_PORT NODE_PORT NODE_SOCKET, with REDIS_URL in the environment.

One node listens on a port, the other on a unix socket.

Also what the Dockerfile says that can be tried without a container: its health check, and that its build context is complete.
The last line is `N passed, M failed`.
"""

import atexit
import collections
import contextlib
import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
import urllib.error
import urllib.request
import uuid

from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

ROOT = pathlib.Path(__file__).resolve().parents[2]
PATIENCE = 10  # seconds
CLIENTS = 40


class Node:
    """A node with default settings but for a drain time of one second, on a port or on a unix socket."""

    def __init__(self, binary, place):
        self.binary, self.place = binary, place
        self.start()

    @property
    def port(self):
        return int(self.place)

    def start(self):
        address = {"HOST": f"unix:{self.place}"} if "/" in self.place else {"HOST": "127.0.0.1", "PORT": self.place}
        # nginx's workers have another user.
        own = {"TEXTO_SOCKET_MODE": "666", "TEXTO_ADMIN_ADDRESS": "off", "TEXTO_DRAIN_TIME": "1s"}
        self.process = subprocess.Popen([self.binary], env=os.environ | address | own)
        # However this program ends, it leaves no node behind.
        atexit.register(self.process.kill)
        until(lambda: succeeds(self.connect))

    def connect(self):
        if "/" not in self.place:
            return socket.create_connection(("127.0.0.1", self.port), PATIENCE).close()
        with socket.socket(socket.AF_UNIX) as probe:
            probe.connect(self.place)

    def stop(self):
        self.process.terminate()
        assert self.process.wait(PATIENCE) == 0


class Client:
    """A client with a session."""

    def __init__(self, host, port, source=None):
        self.socket = connect(f"ws://{host}:{port}/v1/texto", open_timeout=PATIENCE, source_address=source and (source, 0))
        self.me = self.hear("connection")["data"]["client_id"]

    @property
    def node(self):
        """The tag of the client's node: the first six digits of its id."""
        return self.me[:6]

    def hear(self, kind):
        message = json.loads(self.socket.recv(timeout=PATIENCE))
        assert message["kind"] == kind, message
        return message

    def send(self, receiver, text):
        assert self.try_send(receiver, text) == "ack"

    def try_send(self, receiver, text):
        """How the message was answered: `ack` or `error`."""
        id = str(uuid.uuid4())
        data = {"receiver_id": receiver.me, "text": text}
        self.socket.send(json.dumps({"client_id": self.me, "id": id, "kind": "send", "data": data}))
        answer = json.loads(self.socket.recv(timeout=PATIENCE))
        assert answer["id"] == id, answer
        return answer["kind"]

    def hears(self, text):
        """Whether the text arrives within a moment."""
        try:
            return json.loads(self.socket.recv(timeout=1))["data"]["text"] == text
        except TimeoutError:
            return False

    def close_code(self):
        try:
            self.socket.recv(timeout=PATIENCE)
        except ConnectionClosed as closed:
            return closed.rcvd and closed.rcvd.code


def get(port, path):
    return urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=PATIENCE)


def until(condition):
    deadline = time.monotonic() + 3 * PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it never came to be"
        time.sleep(0.05)


def succeeds(action):
    with contextlib.suppress(OSError, InvalidStatus):
        action()
        return True


class Deployment:
    def __init__(self, binary, port, *places):
        self.port = port
        self.nodes = [Node(binary, place) for place in places]
        self.clients = []

    def arrive(self):
        self.clients.append(Client("127.0.0.1", self.port))
        return self.clients[-1]

    def end(self):
        for client in self.clients:
            client.socket.close()
        for node in self.nodes:
            if node.process.poll() is None:
                node.stop()


# --- claims, each of which goes on from what the one before it left ---


def the_page_and_the_health_of_a_node_show_through_nginx(deployment):
    page = get(deployment.port, "/")
    assert page.status == 200 and "Content-Security-Policy" in page.headers and b"<title>Texto</title>" in page.read()
    assert get(deployment.port, "/health").status == 200


def clients_are_shared_out_evenly(deployment):
    shares = collections.Counter(deployment.arrive().node for _ in range(CLIENTS))
    # One off for each node: a health check or a page may have been open for a moment.
    assert len(shares) == 2 and max(shares.values()) <= CLIENTS // 2 + 1, shares


def clients_of_two_nodes_write_to_each_other(deployment):
    alice = deployment.clients[0]
    bob = next(client for client in deployment.clients if client.node != alice.node)
    for sender, recipient in ((alice, bob), (bob, alice)):
        sender.send(recipient, "over nginx and Redis: 早上好 🚀")
        received = recipient.hear("receive")
        assert received["data"] == {"sender_id": sender.me, "text": "over nginx and Redis: 早上好 🚀"}, received


def a_large_message_passes_whole(deployment):
    alice, bob = deployment.clients[:2]
    text = "m" * 250_000
    alice.send(bob, text)
    assert bob.hear("receive")["data"]["text"] == text


def a_wrong_version_is_answered_and_leaves_nothing_open(deployment):
    descriptors = lambda: [len(os.listdir(f"/proc/{node.process.pid}/fd")) for node in deployment.nodes]
    # nginx keeps connections for pages, so only what is added by these requests counts.
    before = descriptors()
    for _ in range(10):
        asking = http.client.HTTPConnection("127.0.0.1", deployment.port, timeout=PATIENCE)
        fields = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version": "777"}
        asking.request("GET", "/v1/texto", headers=fields)
        answer = asking.getresponse()
        assert (answer.status, answer.headers["Sec-WebSocket-Version"]) == (426, "13"), (answer.status, answer.headers)
        answer.read()
    until(lambda: all(now <= then for now, then in zip(descriptors(), before)))


def a_stopping_node_tells_its_clients_and_the_other_takes_them(deployment):
    stopping = deployment.nodes[0]
    tag = Client("127.0.0.1", stopping.port).node
    leaving = [client for client in deployment.clients if client.node == tag]
    deployment.clients = [client for client in deployment.clients if client.node != tag]
    stopping.process.terminate()
    codes = [client.close_code() for client in leaving]
    assert codes == [1012] * len(leaving) and leaving, codes
    assert stopping.process.wait(PATIENCE) == 0
    # Each of these asks nginx, which may ask the node that is gone first, and must not let the client know.
    assert all(deployment.arrive().node != tag for _ in leaving)


def a_node_that_comes_back_is_used_again(deployment):
    staying = deployment.clients[0].node
    deployment.nodes[0].start()
    until(lambda: deployment.arrive().node != staying)


def without_any_node_newcomers_are_told_to_come_back(deployment):
    for node in deployment.nodes:
        node.stop()
    try:
        answer = get(deployment.port, "/v1/texto")
    except urllib.error.HTTPError as refusal:
        answer = refusal
    assert (answer.status, answer.headers["Retry-After"]) == (503, "5"), (answer.status, answer.headers)
    for node in deployment.nodes:
        node.start()
    # nginx asks a node that has failed anew after five seconds.
    until(lambda: succeeds(deployment.arrive))


def the_health_check_of_the_image_tells_a_live_node_from_a_dead_one(deployment):
    check = json.loads(re.search(r"HEALTHCHECK .*\\\n +CMD (\[.*\])", (ROOT / "Dockerfile").read_text())[1])
    node = deployment.nodes[0]
    run = lambda: subprocess.run(check, env=os.environ | {"PORT": str(node.port)}, timeout=PATIENCE, capture_output=True).returncode
    assert run() == 0
    node.stop()
    assert run() != 0
    node.start()


def the_build_context_holds_all_that_cargo_needs(_):
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    with tempfile.TemporaryDirectory() as context:
        for path in allowed:
            source, copy = ROOT / path, pathlib.Path(context, path)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copytree(source, copy) if source.is_dir() else shutil.copy(source, copy)
        subprocess.run(["cargo", "metadata", "--locked", "--format-version=1", "--quiet"], cwd=context, check=True, stdout=subprocess.DEVNULL)
        included = re.findall(r'include_(?:str|bytes)!\("([^"]+)"\)', (ROOT / "src/server.rs").read_text())
        assert all(pathlib.Path(context, "src", path).exists() for path in included), included


CLAIMS = [
    the_page_and_the_health_of_a_node_show_through_nginx,
    clients_are_shared_out_evenly,
    clients_of_two_nodes_write_to_each_other,
    a_large_message_passes_whole,
    a_wrong_version_is_answered_and_leaves_nothing_open,
    a_stopping_node_tells_its_clients_and_the_other_takes_them,
    a_node_that_comes_back_is_used_again,
    without_any_node_newcomers_are_told_to_come_back,
    the_health_check_of_the_image_tells_a_live_node_from_a_dead_one,
    the_build_context_holds_all_that_cargo_needs,
]


def check(claim, deployment):
    title = claim.__name__.replace("_", " ")
    begin = time.monotonic()
    try:
        claim(deployment)
    except Exception:
        print(f"FAILED {title}\n{traceback.format_exc()}")
        return False
    print(f"ok {title}, {time.monotonic() - begin:.1f} s")
    return True


def main(binary, port, *places):
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    deployment = Deployment(binary, int(port), *places)
    results = [check(claim, deployment) for claim in CLAIMS]
    deployment.end()
    print(f"{results.count(True)} passed, {results.count(False)} failed")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
