"""Containers without a container engine: as much of one as a compose file needs to run for real.

Each has a network namespace of its own, on one bridge with the others, and a mount namespace, in which `/etc/hosts` has the names of all
services. Of what a compose file asks for they have the command, the environment, the user, sysctls, a read-only root, and no capability where all
are dropped. They run what is installed on this machine in place of what is in the images.

It takes root, and a program that uses this has to be in namespaces of its own: `unshare --net --mount python ...`. So nothing of it is left when
the program ends, and no address in it can be reached from outside.
"""

import atexit
import ipaddress
import os
import pathlib
import shlex
import signal
import subprocess
import time

PATIENCE = 20  # seconds

# What a container does before its command, in its own namespaces. `/data` of the images is `/mnt` here: it has to exist.
PRELUDE = """
read -r _
ip link set lo up
ip address add {address} dev eth0
ip link set eth0 up
mount --make-rprivate /
mount --bind {hosts} /etc/hosts
mount -t tmpfs tmpfs /run
mount -t tmpfs -o mode=1777 tmpfs /mnt
cd /mnt
{mounts}
{sysctls}
exec {command} </dev/null
"""


def run(*command):
    subprocess.run(command, check=True)


def until(condition, what, pause=0.02):
    deadline = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < deadline, f"it never came to be: {what}"
        time.sleep(pause)
    return found


class Network:
    """The bridge between the containers, and the names on it."""

    def __init__(self, folder, subnet, ip_range):
        self.folder = pathlib.Path(folder)
        self.subnet, given = ipaddress.ip_network(subnet), ipaddress.ip_network(ip_range)
        self.free = given.hosts()
        # The first is that of the machine itself, as Docker has it.
        self.own = (address for address in self.subnet.hosts() if address not in given)
        self.hosts = self.folder / "hosts"
        self.hosts.write_text("127.0.0.1 localhost\n")
        run("mount", "--make-rprivate", "/")
        run("ip", "link", "set", "lo", "up")
        run("ip", "link", "add", "bridge0", "type", "bridge")
        run("ip", "link", "set", "bridge0", "up")
        self.own_address()

    def with_length(self, address):
        return f"{address}/{self.subnet.prefixlen}"

    def own_address(self):
        """A new address for this program itself."""
        address = str(next(self.own))
        run("ip", "address", "add", self.with_length(address), "dev", "bridge0")
        return address

    def name(self, *names, address=None):
        """An address, a new one if none is given, which all containers know by these names."""
        address = address or str(next(self.free))
        with self.hosts.open("a") as hosts:
            hosts.write(f"{address} {' '.join(names)}\n")
        return address


class Container:
    def __init__(self, network, name, address, command, service, mounts=()):
        self.network, self.name, self.address = network, name, address
        self.log = network.folder / f"{name}.log"
        self.environment = {"PATH": os.environ["PATH"]} | service.get("environment", {})
        # `$$` in a compose file is one `$` for the container.
        words = [word.replace("$$", "$").replace("/data", "/mnt") for word in command]
        if service.get("cap_drop") == ["ALL"]:
            # A user that owns nothing, as the images have one.
            words = ["setpriv", "--reuid=10001", "--regid=10001", "--clear-groups", "--no-new-privs", "--bounding-set=-all", "--", *words]
        mounts = list(mounts) + ["mount -o remount,bind,ro /"] * bool(service.get("read_only"))
        sysctls = [f"echo '{value}' >/proc/sys/{key.replace('.', '/')}" for key, value in service.get("sysctls", {}).items()]
        self.script = "set -e" + PRELUDE.format(
            address=network.with_length(address), hosts=network.hosts, mounts="\n".join(mounts), sysctls="\n".join(sysctls), command=shlex.join(words)
        )
        self.interface = None
        self.start()

    def start(self):
        # Unbuffered, so that the line that the prelude waits for goes out at once.
        self.process = subprocess.Popen(
            ["unshare", "--net", "--mount", "sh", "-c", self.script],
            env=self.environment, cwd="/", bufsize=0, stdin=subprocess.PIPE, stdout=self.log.open("a"), stderr=subprocess.STDOUT,
        )
        atexit.register(self.process.kill)
        ours = os.readlink("/proc/self/ns/net")
        until(lambda: os.readlink(f"/proc/{self.process.pid}/ns/net") != ours, f"{self.name} in a namespace of its own")
        # What the kernel has not tidied up yet would still answer for this address.
        if self.interface:
            subprocess.run(["ip", "link", "delete", self.interface], stderr=subprocess.DEVNULL)
        self.interface = f"veth{self.process.pid}"
        # The same hardware address after a restart, so that the others need not find out about a new one first.
        hardware = ":".join(["02:00", *(f"{byte:02x}" for byte in ipaddress.ip_address(self.address).packed)])
        run("ip", "link", "add", self.interface, "type", "veth", "peer", "name", "eth0", "address", hardware, "netns", str(self.process.pid))
        run("ip", "link", "set", self.interface, "master", "bridge0", "up")
        self.process.stdin.write(b"go\n")
        self.process.stdin.close()

    def run(self, *command):
        """Another program in the same container, as a health check is one; its output, or none if it failed."""
        inside = ["nsenter", f"--target={self.process.pid}", "--net", "--mount", "--", *command]
        ended = subprocess.run(inside, env=self.environment, capture_output=True, text=True, timeout=PATIENCE)
        return ended.stdout if ended.returncode == 0 else None

    def await_health(self, check):
        assert check[0] == "CMD", check
        until(lambda: self.process.poll() is not None or self.run(*check[1:]) is not None, f"{self.name} is healthy")
        assert self.process.poll() is None, f"{self.name} has ended:\n{self.log.read_text()}"

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)
