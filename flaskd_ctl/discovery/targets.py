"""Which instances `--target` means: targets and groups of the configuration file, URLs, and names of instances of this host."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from flaskd_ctl.contract.endpoint import Target, check_name
from flaskd_ctl.discovery.config import Config, TargetConfig, read_config
from flaskd_ctl.discovery.instances import Instances
from flaskd_ctl.errors import ControlError, NotRunning


class NamedTarget(NamedTuple):
    """One target and its label; `find` looks for it anew each time, since an instance may come and go."""

    label: str
    find: Callable[[], Target]


class Keys(NamedTuple):
    """The key files given on the command line, for targets that have none of their own."""

    key: str | None = None
    server_key: str | None = None


def choose(names: Iterable[str], instances: Instances, *, keys: Keys) -> tuple[list[NamedTarget], bool]:
    """Find the targets of these names, each once, in the order given; and tell whether to treat them as several.

    A group counts as several, whatever is in it. Raises InvalidParams for an invalid configuration file, BadPlace for a name
    that cannot be a target.
    """
    config = read_config()
    chosen: dict[str, NamedTarget] = {}
    grouped = False
    for name in names:
        grouped = grouped or name in config.groups
        for member in config.groups.get(name, (name,)):
            chosen.setdefault(member, _named_target(member, config, instances, keys))
    return list(chosen.values()), grouped or len(chosen) > 1


def known_names(instances: Instances) -> list[str]:
    """List the names to complete after --target."""
    try:
        config = read_config()
    except ControlError:
        config = Config("")
    return sorted({*config.targets, *config.groups, *instances.names()})


def _named_target(name: str, config: Config, instances: Instances, keys: Keys) -> NamedTarget:
    """Make the target; raise now for a name that cannot be one, before anything is done elsewhere."""
    entry = TargetConfig(endpoint=name) if "://" in name else config.targets.get(name)
    if entry is None:
        check_name(name)
        return NamedTarget(name, lambda: _local(name, config, instances))
    if not entry.endpoint:
        return NamedTarget(name, lambda: instances.target(entry.name)._replace(name=name))
    target = instances.target(
        endpoint=entry.endpoint,
        key=entry.key or keys.key,
        server_key=entry.server_key or keys.server_key,
    )
    label = target.name if "://" in name else name
    target = target._replace(name=label, remote_command=entry.remote_command)
    return NamedTarget(name, lambda: target)


def _local(name: str, config: Config, instances: Instances) -> Target:
    try:
        return instances.target(name)
    except NotRunning as error:
        hint = f"try `flaskd_ctl list`; {config.path} has no target or group {name}"
        if meant := instances.guess(
            name, known="last_stop" in error.data, others={*config.targets, *config.groups}
        ):
            hint = f"{meant} {config.path} has no target or group {name}"
        raise NotRunning(str(error), hint=hint, data=error.data) from None
