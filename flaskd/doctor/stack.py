"""Read Docker's stack and compose files: the services that run flaskd."""

import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from flaskd.doctor.command_lines import find_command, run_options, settings_of, stop_of
from flaskd.doctor.documents import Node, at, interpolated, words
from flaskd.doctor.facts import Health, Task
from flaskd.doctor.reading import DOCKER, cpus, duration, number, signal_name
from flaskd.settings.sources import Found

INTERVAL: Final = "30s"
RETRIES: Final = 3
"""Docker's defaults for a health check."""


def is_stack(documents: Sequence[Node]) -> bool:
    """Recognise a stack or compose file by its one required key."""
    return any(isinstance(document.get("services"), Mapping) for document in documents)


def read(path: str, documents: Sequence[Node], *, local: Found, unseen: list[str]) -> Iterator[Task]:
    """Read each service that runs flaskd; if none names it, the only service of the file."""
    for document in documents:
        services = interpolated(document.get("services", {}), os.environ)
        ours = {name: each for name, each in services.items() if isinstance(each, Mapping) and _is_ours(each)}
        if not ours and len(services) == 1:
            ours = services
        if not ours:
            unseen.append(f"{path}: no service names flaskd")
        for name, service in ours.items():
            yield _task(f"{path}: service {name}", service, local=local, unseen=unseen)


def _is_ours(service: Node) -> bool:
    test = at(service, "healthcheck", "test")
    probe = _split(test)[1:] if isinstance(test, list) else _split(test)
    argv = _argv(service)
    return any(find_command(each) for each in (argv, probe)) or bool(run_options(argv, where="").options)


def _task(where: str, service: Node, *, local: Found, unseen: list[str]) -> Task:
    argv = _argv(service)
    if not argv:
        unseen.append(
            f"{where}: the command is in the image, so settings that are not in `environment` are those of this directory"
        )
    if service.get("env_file"):
        unseen.append(f"{where}: its env_file is not read")
    found = settings_of(argv, environ=_environment(service), local=local, where=where)
    command = find_command(argv)
    deploy = service.get("deploy")
    update = at(deploy, "update_config", default={})
    stop_signal = signal_name(str(service.get("stop_signal", "SIGTERM")))
    return Task(
        where=where,
        settings=found,
        stop=stop_of(None, found, where=where, by=stop_signal),
        shell=command is not None and command.shell,
        cpus=cpus(
            at(deploy, "resources", "limits", "cpus", default=service.get("cpus", 0)), f"{where}: cpus"
        ),
        stop_grace=duration(service.get("stop_grace_period", "10s"), DOCKER, f"{where}: stop_grace_period"),
        stop_signal=stop_signal,
        swarm=isinstance(deploy, Mapping),
        replicas=number(at(deploy, "replicas", default=1), f"{where}: replicas"),
        parallelism=number(update.get("parallelism", 1), f"{where}: parallelism"),
        order=str(update.get("order", "stop-first")),
        delay=duration(update.get("delay", "0s"), DOCKER, f"{where}: delay"),
        health=_health(service.get("healthcheck"), where),
    )


def _health(check: Any, where: str) -> Health | None:
    if not isinstance(check, Mapping):
        return None
    if check.get("disable") or _split(check.get("test")) == ["NONE"]:
        return Health(disabled=True)
    interval = duration(check.get("interval", INTERVAL), DOCKER, f"{where}: interval")
    begun = duration(check.get("start_period", "0s"), DOCKER, f"{where}: start_period")
    return Health(begun + interval * number(check.get("retries", RETRIES), f"{where}: retries"))


def _argv(service: Node) -> list[str]:
    return _split(service.get("entrypoint")) + _split(service.get("command"))


def _split(command: Any) -> list[str]:
    """Split a command, which may be a list, or a text that Docker splits as a shell does."""
    return shlex.split(command) if isinstance(command, str) else words(command)


def _environment(service: Node) -> Mapping[str, str]:
    given = service.get("environment") or {}
    if isinstance(given, list):
        return dict(str(pair).split("=", 1) for pair in given if "=" in str(pair))
    return {str(name): str(value) for name, value in given.items() if value is not None}
