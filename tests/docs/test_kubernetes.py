"""The manifests of docs/deploy/kubernetes: valid, in harmony with each other, and their commands run for real.

There is no Kubernetes here. What a kubelet does with probes and hook is done by the test, with the manifest's own words.
"""

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Final

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml

from tests.docs.kustomized import Manifest, build, containers, read
from tests.support.daemons import PATIENCE, Daemon, StartDaemon
from tests.support.operating import Watch

DIRECTORY: Final = Path(__file__).parents[2] / "docs" / "deploy" / "kubernetes"
BASE: Final = DIRECTORY / "base"
OVERLAY: Final = DIRECTORY / "overlays" / "production"
VERSIONS: Final = ("1.27", "1.30", "1.33", "1.37")
KINDS: Final = {"Deployment", "Service", "PodDisruptionBudget"}

both = pytest.mark.parametrize("directory", [BASE, OVERLAY], ids=["base", "production"])


def one(manifests: list[Manifest], kind: str) -> Manifest:
    (found,) = [each for each in manifests if each["kind"] == kind]
    return found


def pod(manifests: list[Manifest]) -> Manifest:
    """The Deployment's pod template."""
    template: Manifest = one(manifests, "Deployment")["spec"]["template"]
    return template


@both
@pytest.mark.parametrize("version", VERSIONS)
def test_manifests_are_valid(directory: Path, version: str) -> None:
    """By the schema of each version, with unknown fields refused."""
    manifests = build(directory)

    assert {each["kind"] for each in manifests} == KINDS
    for each in manifests:
        kubernetes_validate.validate(each, version, strict=True)


def test_every_file_is_used() -> None:
    """Each manifest stands in its directory's kustomization, as a resource or as a patch."""
    for directory in (BASE, OVERLAY):
        (told,) = read(directory / "kustomization.yaml")
        named = {*told["resources"], *(patch["path"] for patch in told.get("patches", []))}
        files = {path.name for path in directory.glob("*.yaml")} - {"kustomization.yaml"}

        assert files == {name for name in named if name.endswith(".yaml")}


def test_the_overlay_changes_what_is_there() -> None:
    """A patch for a container or a variable of another name would add one beside it, and be as valid."""
    (plain,) = containers(build(BASE))
    (patched,) = containers(build(OVERLAY))

    changed = {name for name in plain if plain[name] != patched[name]}
    assert changed == {"image", "env", "resources"}
    values = {variable["name"]: variable["value"] for variable in patched["env"]}
    assert values["FLASKD_GRACE"] == "60"
    assert values["FLASKD_HEALTH"] == "0.0.0.0:8081"


@both
def test_names_that_are_referred_to_are_there(directory: Path) -> None:
    """Labels, ports, volumes: the API server takes one that leads nowhere, and the rollout waits for ever."""
    manifests = build(directory)
    template = pod(manifests)
    (container,) = containers(manifests)
    labels = template["metadata"]["labels"].items()
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    probes = [container[f"{name}Probe"]["httpGet"] for name in ("startup", "readiness", "liveness")]

    for kind in ("Deployment", "PodDisruptionBudget"):
        assert one(manifests, kind)["spec"]["selector"]["matchLabels"].items() <= labels
    service = one(manifests, "Service")["spec"]
    assert service["selector"].items() <= labels
    assert {port["targetPort"] for port in service["ports"]} <= ports.keys()
    assert {probe["port"] for probe in probes} == {"health"}
    health = next(each["value"] for each in container["env"] if each["name"] == "FLASKD_HEALTH")
    assert health == f"0.0.0.0:{ports['health']}"
    volumes = {volume["name"] for volume in template["spec"]["volumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == volumes


@both
def test_the_pod_is_restricted(directory: Path) -> None:
    """The Pod Security Standard "restricted", and a root that cannot be written to."""
    manifests = build(directory)
    spec = pod(manifests)["spec"]
    (container,) = containers(manifests)

    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] > 0
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["automountServiceAccountToken"] is False
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()


@both
def test_the_rollout_takes_nobody_away(directory: Path) -> None:
    """New before old, and of those that are there at most one is disturbed at a time."""
    manifests = build(directory)

    strategy = one(manifests, "Deployment")["spec"]["strategy"]
    assert strategy["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    assert one(manifests, "PodDisruptionBudget")["spec"]["maxUnavailable"] == 1
    assert one(manifests, "Deployment")["spec"]["replicas"] >= 2


@pytest.mark.live
@both
def test_doctor_finds_nothing(directory: Path, tmp_path: Path) -> None:
    """The deadlines fit: the kubelet waits for longer than a stop may take, and the probes ask whom they should."""
    manifests = yaml.safe_dump_all(build(directory))
    command = [sys.executable, "-m", "flaskd", "doctor", "--json", "-"]

    done = subprocess.run(
        command, cwd=tmp_path, input=manifests, capture_output=True, text=True, timeout=PATIENCE
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["findings"] == []


class Kubelet:
    """Does with a daemon what the manifest tells a kubelet to do with a container."""

    def __init__(self, daemon: Daemon, container: Manifest) -> None:
        self.daemon = daemon
        self.container = container
        self.port = int(daemon.instance["health"].rpartition(":")[2])

    def probe(self, name: str) -> bool:
        """Probe once: any status from 200 to 399 is a success."""
        asked: dict[str, Any] = self.container[f"{name}Probe"]["httpGet"]
        url = f"http://127.0.0.1:{self.port}{asked['path']}"
        try:
            with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
                return 200 <= int(answer.status) < 400
        except urllib.error.HTTPError as refused:
            refused.close()
            return False

    def pre_stop(self) -> subprocess.Popen[str]:
        """Start the hook, with this environment's programs."""
        command: list[str] = self.container["lifecycle"]["preStop"]["exec"]["command"]
        path = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])
        return subprocess.Popen(
            command,
            env={**os.environ, "PATH": path},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )


@pytest.mark.live
def test_probes_and_hook_do_what_they_are_for(start_daemon: StartDaemon, tmp_path: Path) -> None:
    """The hook takes the pod out of rotation first, serves on meanwhile, and returns when everything is answered and gone."""
    manifests = build(BASE)
    (container,) = containers(manifests)
    (tmp_path / "shop.py").write_text("from flask import Flask\napp = Flask(__name__, static_folder=None)\n")
    assert container["args"][:2] == ["flaskd", "run"]
    environ = {each["name"]: each["value"] for each in container["env"]} | {"FLASKD_HEALTH": "127.0.0.1:0"}
    daemon = start_daemon(*container["args"][2:], environ=environ)
    kubelet = Kubelet(daemon, container)
    assert [kubelet.probe(name) for name in ("startup", "readiness", "liveness")] == [True, True, True]

    began = time.monotonic()
    with Watch(daemon) as watch, kubelet.pre_stop() as hook:
        watch.until_state("stopping")

        assert [kubelet.probe(name) for name in ("readiness", "liveness")] == [False, True]
        with pytest.raises(urllib.error.HTTPError) as answered:
            urllib.request.urlopen(f"{daemon.url}/", timeout=PATIENCE)
        answered.value.close()
        assert answered.value.code == 404  # the application's own word: it still serves

        told, _ = hook.communicate(timeout=2 * PATIENCE)
    assert hook.returncode == 0, told
    assert daemon.wait() == 0
    words: list[str] = container["lifecycle"]["preStop"]["exec"]["command"]
    lame_duck = float(words[words.index("--lame-duck") + 1])
    assert lame_duck <= time.monotonic() - began < pod(manifests)["spec"]["terminationGracePeriodSeconds"]
