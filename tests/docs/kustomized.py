"""What `kustomize build` makes of a directory, as far as docs/deploy/kubernetes uses it: resources, images, namespace, and
patches that are merged strategically (lists by the keys that Kubernetes' API gives them, else replaced whole).
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml

Manifest = dict[str, Any]

MERGE_KEYS: Final = {
    "containers": "name",
    "env": "name",
    "volumes": "name",
    "volumeMounts": "mountPath",
    "ports": "containerPort",
    "topologySpreadConstraints": "topologyKey",
}
"""`x-kubernetes-patch-merge-key` of the lists in a pod."""

KNOWN: Final = {"apiVersion", "kind", "resources", "namespace", "images", "patches"}
"""The fields of a kustomization that are understood here."""


def build(directory: Path) -> list[Manifest]:
    """Return the manifests that the kustomization in `directory` stands for."""
    (told,) = read(directory / "kustomization.yaml")
    assert told.keys() <= KNOWN, f"not understood here: {told.keys() - KNOWN}"
    made = [each for name in told["resources"] for each in _resource(directory / name)]
    for patch in told.get("patches", []):
        for change in read(directory / patch["path"]):
            (at,) = [index for index, each in enumerate(made) if _identity(each) == _identity(change)]
            made[at] = merged(made[at], change)
    for image in told.get("images", []):
        for container in containers(made):
            if container["image"].partition(":")[0] == image["name"]:
                container["image"] = f"{image.get('newName', image['name'])}:{image['newTag']}"
    for each in made if "namespace" in told else []:
        each["metadata"]["namespace"] = told["namespace"]
    return made


def read(file: Path) -> list[Manifest]:
    """Read a file's documents."""
    return list(yaml.safe_load_all(file.read_text(encoding="utf-8")))


def containers(manifests: list[Manifest]) -> Iterator[Manifest]:
    """Yield the containers of all Deployments."""
    for each in manifests:
        if each["kind"] == "Deployment":
            yield from each["spec"]["template"]["spec"]["containers"]


def merged(base: Any, change: Any, *, field: str = "") -> Any:
    """Merge a patch into what is there; raise AssertionError where a list cannot be merged by its key."""
    if isinstance(base, dict) and isinstance(change, dict):
        new = dict(base)
        for name, value in change.items():
            new[name] = merged(base[name], value, field=name) if name in base else value
        return new
    if isinstance(base, list) and isinstance(change, list) and (key := MERGE_KEYS.get(field)):
        by_key = {each[key]: each for each in base}
        for each in change:
            by_key[each[key]] = merged(by_key.get(each[key], {}), each)
        return list(by_key.values())
    return change


def _resource(path: Path) -> list[Manifest]:
    return build(path.resolve()) if path.is_dir() else read(path)


def _identity(manifest: Manifest) -> tuple[str, str, str]:
    return manifest["apiVersion"], manifest["kind"], manifest["metadata"]["name"]
