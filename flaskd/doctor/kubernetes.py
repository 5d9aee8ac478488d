"""Read Kubernetes manifests: Deployments, StatefulSets, DaemonSets and Pods with a container that runs flaskd."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from flaskd.doctor.command_lines import find_command, run_options, settings_of, stop_of
from flaskd.doctor.documents import Node, at, words
from flaskd.doctor.facts import Pod, Probe
from flaskd.doctor.reading import Unreadable, cpus, number
from flaskd.settings.sources import Found

KINDS: Final = {"Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Pod"}


def is_manifest(documents: Sequence[Node]) -> bool:
    """Recognise manifests by the keys that each of them has."""
    return any("apiVersion" in document and "kind" in document for document in documents)


def config_maps(documents: Sequence[Node]) -> dict[str, Mapping[str, str]]:
    """Return the data of ConfigMaps by name: containers may take their environment from them."""
    return {
        str(at(document, "metadata", "name")): {
            str(key): str(value) for key, value in at(document, "data", default={}).items()
        }
        for document in documents
        if document.get("kind") == "ConfigMap"
    }


def read(
    path: str,
    documents: Sequence[Node],
    *,
    maps: Mapping[str, Mapping[str, str]],
    local: Found,
    unseen: list[str],
) -> Iterator[Pod]:
    """Read each workload in which flaskd runs."""
    if not any(document.get("kind") in KINDS for document in documents):
        unseen.append(f"{path}: it has no workload")
    for document in documents:
        if document.get("kind") == "Kustomization":
            unseen.append(f"{path} only combines other files: pipe the output of `kubectl kustomize` to -")
        if document.get("kind") not in KINDS:
            continue
        where = f"{path}: {document['kind']} {at(document, 'metadata', 'name', default='?')}"
        spec = at(document, "spec", default={})
        pod = spec if document["kind"] == "Pod" else at(spec, "template", "spec", default={})
        container = _ours(at(pod, "containers", default=[]))
        if container is None:
            unseen.append(f"{where}: no container names flaskd")
            continue
        yield _pod(where, document, pod, container, maps=maps, local=local, unseen=unseen)


def _ours(containers: Sequence[Node]) -> Node | None:
    """Find the container that runs flaskd: by its command, its hook, or because it is the only one."""
    for container in containers:
        hook = words(at(container, "lifecycle", "preStop", "exec", "command"))
        argv = words(container.get("command")) + words(container.get("args"))
        if find_command(argv) or find_command(hook) or run_options(argv, where="").options:
            return container
    return containers[0] if len(containers) == 1 else None


def _pod(
    where: str,
    document: Node,
    pod: Node,
    container: Node,
    *,
    maps: Mapping[str, Mapping[str, str]],
    local: Found,
    unseen: list[str],
) -> Pod:
    environ = _environment(where, container, maps, unseen)
    argv = [
        _expanded(word, environ) for word in words(container.get("command")) + words(container.get("args"))
    ]
    if not argv:
        unseen.append(
            f"{where}: the command is in the image, so settings that are not in `env` are those of this directory"
        )
    found = settings_of(argv, environ=environ, local=local, where=where)
    command = find_command(argv)
    hook = words(at(container, "lifecycle", "preStop", "exec", "command"))
    spec = at(document, "spec", default={})
    strategy = at(spec, "strategy", default={})
    return Pod(
        where=where,
        settings=found,
        stop=stop_of(hook, found, where=where, by="SIGTERM", before=_slept(container, hook)),
        shell=command is not None and command.shell,
        cpus=cpus(at(container, "resources", "limits", "cpu", default=0), f"{where}: resources.limits.cpu"),
        grace_period=float(number(pod.get("terminationGracePeriodSeconds", 30), where)),
        replicas=number(spec.get("replicas", 1), where),
        strategy=str(strategy.get("type", "RollingUpdate")),
        max_unavailable=_percentage(at(strategy, "rollingUpdate", "maxUnavailable", default="25%"), where),
        rolled=document["kind"] == "Deployment",
        readiness=_probe(container, "readinessProbe", where),
        liveness=_probe(container, "livenessProbe", where),
        startup=_probe(container, "startupProbe", where),
    )


def _environment(
    where: str, container: Node, maps: Mapping[str, Mapping[str, str]], unseen: list[str]
) -> Mapping[str, str]:
    environ: dict[str, str] = {}
    for source in container.get("envFrom") or []:
        name = at(source, "configMapRef", "name")
        if name in maps:
            environ.update(maps[name])
        else:
            unseen.append(f"{where}: its environment is from {name or 'a Secret'}, which no file has")
    for pair in container.get("env") or []:
        name = at(pair, "valueFrom", "configMapKeyRef", "name")
        if "value" in pair:
            environ[str(pair["name"])] = str(pair["value"])
        elif name in maps:
            environ[str(pair["name"])] = maps[name].get(at(pair, "valueFrom", "configMapKeyRef", "key"), "")
        elif str(pair.get("name", "")).startswith("FLASKD_"):
            unseen.append(f"{where}: {pair['name']} comes from a source that no file has")
    return environ


def _expanded(word: str, environ: Mapping[str, str]) -> str:
    """Replace $(NAME) in a command, as the kubelet does."""
    return re.sub(r"\$\(([A-Za-z_]\w*)\)", lambda match: environ.get(match[1], match[0]), word)


def _slept(container: Node, hook: Sequence[str]) -> float:
    """Return how many seconds a preStop hook sleeps."""
    native = at(container, "lifecycle", "preStop", "sleep", "seconds")
    if native is not None:
        return float(native)
    sleeps = re.search(r"\bsleep (\d+(?:\.\d+)?)", " ".join(hook))
    return float(sleeps[1]) if sleeps else 0.0


def _probe(container: Node, name: str, where: str) -> Probe | None:
    """Read a probe; by default the API probes every 10 s and allows three failures."""
    probe = container.get(name)
    if not isinstance(probe, Mapping):
        return None

    def count(key: str, default: int) -> int:
        return number(probe.get(key, default), f"{where}: {name}: {key}")

    budget = count("initialDelaySeconds", 0) + count("periodSeconds", 10) * count("failureThreshold", 3)
    action = at(probe, "httpGet", default=at(probe, "tcpSocket", default={}))
    return Probe(budget, _port(action.get("port", 0), container), str(action.get("path", "")))


def _port(port: Any, container: Node) -> int:
    """Return a port that may be given by its name; 0 if that is not declared."""
    if isinstance(port, int) or str(port).isdecimal():
        return int(port)
    declared = container.get("ports") or []
    return next((int(each["containerPort"]) for each in declared if each.get("name") == port), 0)


def _percentage(value: Any, where: str) -> str:
    text = str(value)
    if not text.removesuffix("%").isdecimal():
        raise Unreadable(f"{where}: maxUnavailable cannot be {text!r}", hint="give a number or a percentage")
    return text
