"""The systemd units, as far as they can be tried without systemd running: units.py BINARY. The last line is `N passed, M failed`.

What a node tells systemd is in tests/listening.rs.
"""

import configparser
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

from checks import PATIENCE, Client, check, get, succeeds, until
from files import ROOT, Files, seconds
from manifests import free_port

FOLDER = ROOT / "deploy/systemd"
# From 0 to 10; up to 2 systemd calls it safe.
EXPOSURE_MAX = 1.5


class Unit(configparser.RawConfigParser):
    """A unit file, whose keys may stand several times and then have several values."""

    class Values(dict):
        def __setitem__(self, key, value):
            super().__setitem__(key, self.get(key, []) + value if isinstance(value, list) else value)

    def __init__(self, path):
        super().__init__(strict=False, dict_type=Unit.Values, interpolation=None)
        self.optionxform = str
        self.read(path)

    def values(self, key):
        return [value for value in self["Service"][key].split("\n") if value]


class Units:
    def __init__(self, binary):
        self.binary = pathlib.Path(binary).resolve()
        self.files = Files(binary)
        self.service = Unit(FOLDER / "texto.service")
        self.folder = tempfile.TemporaryDirectory()
        # The program is not installed here, and verify wants to see it.
        for path in FOLDER.iterdir():
            copy = pathlib.Path(self.folder.name, path.name)
            copy.write_text(path.read_text().replace("/usr/local/bin/texto", str(self.binary)))

    def paths(self):
        return sorted(map(str, pathlib.Path(self.folder.name).iterdir()))

    def setting(self, name):
        [value] = self.service.values(name)
        return value


def analyze(*arguments):
    ended = subprocess.run(["systemd-analyze", "--no-pager", *arguments], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout + ended.stderr


def systemd_has_nothing_against_the_units(units):
    said = analyze("verify", *units.paths())
    assert "texto" not in said, said


def the_service_is_exposed_no_more_than_it_must_be(units):
    [service] = [path for path in units.paths() if path.endswith(".service")]
    said = analyze("security", "--offline=true", f"--threshold={EXPOSURE_MAX * 10:.0f}", service)
    print("    " + said.strip().splitlines()[-1].strip("→ "))


def the_service_has_the_time_to_stop_and_the_descriptors_it_may_have(units):
    assert seconds(units.setting("TimeoutStopSec")) >= units.files.longest_stop()
    assert int(units.setting("LimitNOFILE")) <= 1048576, "the default of fs.nr_open"
    # The exit code for settings that are wrong.
    wrong = subprocess.run([units.binary], env={"PORT": "none"}, capture_output=True)
    assert units.setting("RestartPreventExitStatus") == str(wrong.returncode)


def systemd_hands_its_port_over_to_a_node(units):
    port = free_port()
    settings = [word for pair in ("TEXTO_ADMIN_ADDRESS=off", "TEXTO_DRAIN_TIME=0") for word in ("--setenv", pair)]
    # Listens itself, and becomes the node when the first connection comes.
    tool = ["systemd-socket-activate", "--listen", f"127.0.0.1:{port}", *settings, str(units.binary)]
    node = subprocess.Popen(tool, stderr=subprocess.DEVNULL)
    try:
        until(lambda: succeeds(lambda: get(port, "/health")))
        assert pathlib.Path(f"/proc/{node.pid}/exe").resolve() == units.binary
    finally:
        node.terminate()
        assert node.wait(PATIENCE) == 0


def allowed_calls(filters):
    """What SystemCallFilter lets through."""
    listed = analyze("syscall-filter")
    sets = {}
    for line in listed.splitlines():
        if line.startswith("@"):
            calls = sets.setdefault(line, set())
        elif line.startswith("    ") and not line.strip().startswith("#"):
            calls.add(line.strip())

    def expand(name):
        return set().union(*map(expand, sets[name])) if name in sets else {name}

    allowed = set()
    for words in filters:
        names = set().union(*map(expand, words.lstrip("~").split()))
        allowed = allowed - names if words.startswith("~") else allowed | names
    return allowed


def a_node_makes_only_the_system_calls_that_the_service_allows(units):
    if not shutil.which("strace"):
        print("    skipped: no strace here")
        return
    trace, port, admin = pathlib.Path(units.folder.name, "trace"), free_port(), free_port()
    own = {"HOST": "127.0.0.1", "PORT": str(port), "TEXTO_ADMIN_ADDRESS": f"127.0.0.1:{admin}"}
    own |= {"REDIS_URL": "127.0.0.1:1", "TEXTO_DRAIN_TIME": "0s"}
    own |= {"NOTIFY_SOCKET": "/nonexistent", "WATCHDOG_USEC": "100000"}
    # From the start of the program itself on: strace tells of its exec, which systemd does before it filters.
    tracer = subprocess.Popen(["strace", "-f", "-qq", "-o", trace, units.binary], env=os.environ | own, stderr=subprocess.DEVNULL)
    until(lambda: succeeds(lambda: get(port, "/health")))
    alice, bob = Client("127.0.0.1", port), Client("127.0.0.1", port)
    alice.send(bob, "hello")
    assert get(admin, "/metrics").status == 200
    children = pathlib.Path(f"/proc/{tracer.pid}/task/{tracer.pid}/children").read_text().split()
    os.kill(int(children[0]), 15)
    assert tracer.wait(PATIENCE) == 0
    lines = trace.read_text()
    called = set(re.findall(r"^\d+ +(\w+)\(", lines, re.M)) - {"execve"}
    refused = called - allowed_calls(units.service.values("SystemCallFilter"))
    assert len(called) > 20 and not refused, refused
    assert not re.search(r"(mmap|mprotect)\(.*PROT_WRITE\|PROT_EXEC", lines), "MemoryDenyWriteExecute"
    elsewhere = re.findall(r'"/proc/(?!self/|thread-self/|\d)[^"]*"', lines)
    assert units.setting("ProcSubset") == "pid" and not elsewhere, elsewhere
    families = set(re.findall(r" socket\((AF_\w+)", lines))
    assert families <= set(units.setting("RestrictAddressFamilies").split()), families
    print(f"    {len(called)} different calls")


CLAIMS = [
    systemd_has_nothing_against_the_units,
    the_service_is_exposed_no_more_than_it_must_be,
    the_service_has_the_time_to_stop_and_the_descriptors_it_may_have,
    systemd_hands_its_port_over_to_a_node,
    a_node_makes_only_the_system_calls_that_the_service_allows,
]


def main(binary):
    units = Units(binary)
    results = [check(claim, units) for claim in CLAIMS]
    print(f"{results.count(True)} passed, {results.count(False)} failed")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
