"""What the Kubernetes manifests say, against a node that runs with their settings: manifests.py BINARY.

Kubernetes itself is not here. What it would notice first is looked at: ports, probes and selectors that lead nowhere, settings that do not exist, a
grace period that is too short. The last line is `N passed, M failed`.
"""

import re
import socket
import subprocess
import sys
import urllib.request

import yaml

from checks import PATIENCE, check, succeeds, until
from files import ROOT, Files, seconds

FOLDER = ROOT / "deploy/kubernetes"


class Manifests:
    def __init__(self, binary):
        self.binary = binary
        self.files = Files(binary)
        self.kustomization = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
        paths = [FOLDER / name for name in self.kustomization["resources"]]
        self.objects = [object for path in paths for object in yaml.safe_load_all(path.read_text())]
        self.deployments = {object["metadata"]["name"]: object for object in self.of_kind("Deployment")}
        [self.texto] = self.pod("texto")["containers"]

    def of_kind(self, kind):
        return [object for object in self.objects if object["kind"] == kind]

    def named(self, kind, name):
        [found] = [object for object in self.of_kind(kind) if object["metadata"]["name"] == name]
        return found["spec"]

    def pod(self, name):
        return self.deployments[name]["spec"]["template"]["spec"]

    def environment(self):
        return {variable["name"]: variable["value"] for variable in self.texto["env"]}


def all_files_are_used_and_all_objects_told_apart(manifests):
    assert {path.name for path in FOLDER.iterdir()} == {"kustomization.yaml", *manifests.kustomization["resources"]}
    names = [(object["apiVersion"], object["kind"], object["metadata"]["name"]) for object in manifests.objects]
    assert len(set(names)) == len(names), names
    images = {image["name"] for image in manifests.kustomization["images"]}
    assert images == {manifests.texto["image"]}


def the_version_is_that_of_the_program(manifests):
    shown = subprocess.run([manifests.binary, "--version"], check=True, capture_output=True, text=True).stdout
    assert shown == f"texto {manifests.kustomization['images'][0]['newTag']}\n", shown


def selectors_find_the_pods_they_are_meant_for(manifests):
    for name, deployment in manifests.deployments.items():
        labels = deployment["spec"]["template"]["metadata"]["labels"]
        assert deployment["spec"]["selector"]["matchLabels"] == labels, name
        assert manifests.named("Service", name)["selector"] == labels, name
        assert manifests.named("NetworkPolicy", name)["podSelector"]["matchLabels"] == labels, name
    labels = manifests.deployments["texto"]["spec"]["selector"]["matchLabels"]
    assert manifests.named("PodDisruptionBudget", "texto")["selector"]["matchLabels"] == labels
    [friend] = manifests.named("NetworkPolicy", "redis")["ingress"][0]["from"]
    assert friend["podSelector"]["matchLabels"] == labels


def ports_are_named_where_they_are_and_used_by_these_names(manifests):
    for name in manifests.deployments:
        [container] = manifests.pod(name)["containers"]
        ports = {port["name"] for port in container["ports"]}
        probes = [container[probe]["httpGet"]["port"] for probe in container if probe.endswith("Probe") and "httpGet" in container[probe]]
        used = [port["targetPort"] for port in manifests.named("Service", name)["ports"]] + probes
        used += [port["port"] for rule in manifests.named("NetworkPolicy", name)["ingress"] for port in rule["ports"]]
        assert set(used) <= ports, (name, used, ports)


def pods_keep_to_the_restricted_standard_of_their_namespace(manifests):
    [namespace] = manifests.of_kind("Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert namespace["metadata"]["name"] == manifests.kustomization["namespace"]
    for name in manifests.deployments:
        pod = manifests.pod(name)
        assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["runAsUser"] > 0, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        for container in pod["containers"]:
            own = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
            assert container["securityContext"] == own, name
    user = re.search(r"^USER (\d+):(\d+)$", (ROOT / "Dockerfile").read_text(), re.M)
    context = manifests.pod("texto")["securityContext"]
    assert (context["runAsUser"], context["runAsGroup"]) == tuple(map(int, user.groups()))


def the_settings_are_some_that_a_node_takes(manifests):
    environment = manifests.environment()
    manifests.files.check_environment(environment)
    host, port = re.fullmatch(r"redis://(\w+):(\d+)", environment["REDIS_URL"]).groups()
    assert manifests.named("Service", host)["ports"][0]["port"] == int(port)


def a_pod_is_given_the_time_that_a_node_takes_to_stop(manifests):
    pause = manifests.texto["lifecycle"]["preStop"]["exec"]["command"]
    assert pause[0] == "sleep", pause
    needed = seconds(pause[1]) + manifests.files.longest_stop(manifests.environment())
    assert manifests.pod("texto")["terminationGracePeriodSeconds"] >= needed, needed
    # Endpoints are gone before the node begins to refuse.
    assert seconds(pause[1]) >= manifests.texto["readinessProbe"]["periodSeconds"] * manifests.texto["readinessProbe"]["failureThreshold"]


def a_node_with_these_settings_answers_every_probe_on_its_ports(manifests):
    ports = {port["name"]: port["containerPort"] for port in manifests.texto["ports"]}
    environment = manifests.environment()
    assert int(environment["PORT"]) == ports["clients"]
    assert environment["TEXTO_ADMIN_ADDRESS"] == f"0.0.0.0:{ports['operator']}"
    annotations = manifests.deployments["texto"]["spec"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == str(ports["operator"])
    # The same, but for ports that are free here and a Redis that is not there: a node serves without it.
    free = {name: free_port() for name in ports}
    own = {"HOST": "127.0.0.1", "PORT": str(free["clients"]), "TEXTO_ADMIN_ADDRESS": f"127.0.0.1:{free['operator']}"}
    own |= {"REDIS_URL": "redis://127.0.0.1:1", "TEXTO_DRAIN_TIME": "0s"}
    node = subprocess.Popen([manifests.binary], env=environment | own, stderr=subprocess.DEVNULL)
    try:
        probes = [manifests.texto[f"{kind}Probe"]["httpGet"] for kind in ("startup", "liveness", "readiness")]
        for path, port in [(probe["path"], probe["port"]) for probe in probes] + [(annotations["prometheus.io/path"], "operator")]:
            ask = lambda: urllib.request.urlopen(f"http://127.0.0.1:{free[port]}{path}", timeout=PATIENCE).close()
            until(lambda: succeeds(ask))
    finally:
        node.terminate()
        node.wait(PATIENCE)


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


CLAIMS = [
    all_files_are_used_and_all_objects_told_apart,
    the_version_is_that_of_the_program,
    selectors_find_the_pods_they_are_meant_for,
    ports_are_named_where_they_are_and_used_by_these_names,
    pods_keep_to_the_restricted_standard_of_their_namespace,
    the_settings_are_some_that_a_node_takes,
    a_pod_is_given_the_time_that_a_node_takes_to_stop,
    a_node_with_these_settings_answers_every_probe_on_its_ports,
]


def main(binary):
    manifests = Manifests(binary)
    results = [check(claim, manifests) for claim in CLAIMS]
    print(f"{results.count(True)} passed, {results.count(False)} failed")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
