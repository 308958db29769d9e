"""What the deployment files say fits to the program and to each other: files.py BINARY. The last line is `N passed, M failed`."""

import pathlib
import re
import subprocess
import sys

import yaml

from checks import check

ROOT = pathlib.Path(__file__).resolve().parents[2]
UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600}
# Programs that the images have besides what they are made for: those of Alpine and of Debian.
IMAGES = {"redis": {"redis-server", "redis-cli", "sh"}, "nginx": {"nginx", "wget"}}


class Files:
    def __init__(self, binary):
        self.binary = binary
        self.help = subprocess.run([binary, "--help"], check=True, capture_output=True, text=True).stdout
        self.compose = yaml.safe_load(text("docker-compose.yml"))["services"]
        self.sentinel = yaml.safe_load(text("docker-compose.sentinel.yml"))["services"]
        # As compose does it for what these files have in both: the second file wins.
        both = {name: self.compose.get(name, {}) | service for name, service in self.sentinel.items()}
        self.services = list(self.compose.items()) + list((self.compose | both).items())

    def settings(self, environment=()):
        """All settings of a node with this environment, by the names of their variables."""
        command = [self.binary, "--check-config"]
        shown = subprocess.run(command, env=dict(environment), capture_output=True, text=True)
        assert shown.returncode == 0 and not shown.stderr, shown.stderr
        return dict(re.findall(r"^(\w+)=(\S+)", shown.stdout, re.M))

    def check_environment(self, environment):
        for variable in environment:
            assert re.search(rf"\b{variable}\b", self.help), f"{variable} is no setting"
        return self.settings(environment)

    def longest_stop(self, environment=()):
        """Seconds that a node may take to stop: see the README."""
        settings = self.settings(environment)
        return seconds(settings["TEXTO_DRAIN_TIME"]) + 2 * seconds(settings["TEXTO_CLOSE_TIMEOUT"]) + seconds(settings["TEXTO_PUBLISH_TIMEOUT"]) + 3


def text(path):
    return (ROOT / path).read_text()


def seconds(time):
    number, unit = re.fullmatch(r"([\d.]+)(ms|s|m|h|)", str(time)).groups()
    return float(number) * UNITS[unit or "s"]


def directive(path, name):
    [value] = re.findall(rf"^ *{name} (.*);", text(path), re.M)
    return value


def variables_of_compose_files_are_settings_with_values_that_a_node_takes(files):
    for name, service in files.services:
        if name == "texto":
            assert files.check_environment(service["environment"])["REDIS_URL"] != "none"


def nginx_is_more_patient_than_a_node(files):
    settings = files.settings()
    longest = seconds(settings["TEXTO_PING_AFTER"]) + seconds(settings["TEXTO_PONG_TIMEOUT"])
    for path, names in (("nginx.conf", ("proxy_read_timeout", "proxy_send_timeout")), ("deploy/nginx/stream.conf", ("proxy_timeout",))):
        for name in names:
            assert seconds(directive(path, name)) > longest, (path, name)


def containers_are_stopped_with_patience(files):
    for name, service in files.services:
        if name == "texto":
            assert seconds(service["stop_grace_period"]) >= files.longest_stop(service["environment"])
    assert re.search(r"^STOPSIGNAL SIGTERM$", text("Dockerfile"), re.M)


def nginx_has_the_descriptors_that_its_connections_need(files):
    descriptors = int(directive("nginx.conf", "worker_rlimit_nofile"))
    assert files.compose["nginx"]["ulimits"]["nofile"] == {"soft": descriptors, "hard": descriptors}
    for path in ("nginx.conf", "deploy/nginx/stream.conf"):
        assert int(directive(path, "worker_connections")) * 2 <= int(directive(path, "worker_rlimit_nofile")), path


def services_run_programs_that_their_images_have(files):
    for name, service in files.services:
        image = service.get("image", "").split(":")[0]
        commands = [service["command"]] if "command" in service else []
        if "healthcheck" in service:
            assert service["healthcheck"]["test"][0] == "CMD", name
            commands.append(service["healthcheck"]["test"][1:])
        for command in commands:
            assert command[0] in IMAGES[image], (name, command)


def each_service_can_be_watched_and_comes_back(files):
    for name, service in files.services:
        assert service["restart"] == "unless-stopped", name
        # The image of a node has a health check of its own.
        assert "healthcheck" in service or name == "texto", name
    assert "HEALTHCHECK" in text("Dockerfile")


CLAIMS = [
    variables_of_compose_files_are_settings_with_values_that_a_node_takes,
    nginx_is_more_patient_than_a_node,
    containers_are_stopped_with_patience,
    nginx_has_the_descriptors_that_its_connections_need,
    services_run_programs_that_their_images_have,
    each_service_can_be_watched_and_comes_back,
]


def main(binary):
    files = Files(binary)
    results = [check(claim, files) for claim in CLAIMS]
    print(f"{results.count(True)} passed, {results.count(False)} failed")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
