"""The client's configuration file: targets and groups for `--target`, and the commands for `ssh://`.

    ssh_command = ["ssh", "-F", "/etc/deploy/ssh_config"]    # FLASKD_CTL_SSH takes precedence

    [targets.web1]
    endpoint = "ssh://deploy@web1.example.org/shop"
    remote_command = ["/opt/shop/bin/flaskd_ctl"]

    [targets.web2]
    endpoint = "tcp://web2.example.org:7400"
    key = "keys/ops.key_secret"                              # relative to this file
    server_key = "keys/web2.key"

    [groups]
    web = ["web1", "web2"]

The file is `$XDG_CONFIG_HOME/flaskd/ctl.toml`, or the one that FLASKD_CTL_CONFIG names. It is read for `--target` and `ssh://`
only. Anything unknown or invalid in it is refused: a misspelt group would leave hosts out.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from flaskd_ctl.contract.endpoint import check_name, parse_endpoint, parse_remote
from flaskd_ctl.errors import BadPlace, InvalidParams

CONFIG: Final = "FLASKD_CTL_CONFIG"
SSH: Final = "FLASKD_CTL_SSH"


class TargetConfig(NamedTuple):
    """One `[targets.NAME]`; without an endpoint it is the instance `name` of this host."""

    endpoint: str = ""
    name: str = ""
    key: str = ""
    server_key: str = ""
    remote_command: tuple[str, ...] = ()


class Config(NamedTuple):
    """The content of the configuration file; `path` is where it is, or would be."""

    path: str
    targets: Mapping[str, TargetConfig] = {}
    groups: Mapping[str, tuple[str, ...]] = {}
    ssh_command: tuple[str, ...] = ("ssh",)
    remote_command: tuple[str, ...] = ("flaskd_ctl",)


def config_path(environ: Mapping[str, str]) -> str:
    """Return the path of the configuration file, whether it exists or not."""
    home = environ.get("XDG_CONFIG_HOME") or os.path.join(os.path.expanduser("~"), ".config")
    return environ.get(CONFIG) or os.path.join(home, "flaskd", "ctl.toml")


def read_config(environ: Mapping[str, str] = os.environ) -> Config:
    """Read the configuration file; an empty Config if there is none. Raises InvalidParams if it is not valid."""
    path = config_path(environ)
    try:
        with open(path, "rb") as file:
            import tomllib

            read = tomllib.load(file)
    except FileNotFoundError:
        if environ.get(CONFIG):
            raise InvalidParams(f"{path} does not exist", hint=f"{CONFIG} names it") from None
        return Config(path)
    except OSError as error:
        raise InvalidParams(f"cannot read {path}: {error.strerror}") from None
    except ValueError as error:  # not TOML, or not UTF-8
        raise InvalidParams(f"{path} is not TOML: {error}") from None
    return _Reader(path).config(read)


def ssh_ways(remote_command: tuple[str, ...] = ()) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the user's ssh command, and the one to run on the other host (`remote_command` if the target has one)."""
    config = read_config()
    own = os.environ.get(SSH, "")
    try:
        ssh = tuple(shlex.split(own)) or config.ssh_command
    except ValueError as error:
        raise InvalidParams(f"{SSH}={own!r} is not a command: {error}") from None
    return ssh, remote_command or config.remote_command


class _Reader:
    """Reads one file, and says where in it a mistake is."""

    def __init__(self, path: str) -> None:
        self._path = path

    def config(self, read: dict[str, Any]) -> Config:
        self._only(read, {*Config._fields} - {"path"}, "")
        targets = {
            name: self._target(value, f"targets.{name}") for name, value in self._table(read, "targets")
        }
        groups = {name: self._words(value, f"groups.{name}") for name, value in self._table(read, "groups")}
        for name, members in groups.items():
            if name in targets:
                raise self._bad(f"groups.{name}", "is the name of a target too")
            for member in members:
                if "://" in member:
                    self._valid(parse_endpoint, member, f"groups.{name}")
                elif member not in targets:
                    raise self._bad(f"groups.{name}", f"has {member!r}, which is not a target in this file")
        commands = {
            key: self._words(read[key], key) for key in ("ssh_command", "remote_command") if key in read
        }
        return Config(self._path, targets, groups, **commands)

    def _target(self, value: Any, where: str) -> TargetConfig:
        if not isinstance(value, dict):
            raise self._bad(where, "is not a table")
        self._only(value, {*TargetConfig._fields}, where)
        for key in value.keys() - {"remote_command"}:
            if not isinstance(value[key], str):
                raise self._bad(f"{where}.{key}", "is not a string")
        if "remote_command" in value:
            value["remote_command"] = self._words(value["remote_command"], f"{where}.remote_command")
        for key in value.keys() & {"key", "server_key"}:
            value[key] = os.path.join(os.path.dirname(self._path), os.path.expanduser(value[key]))
        target = TargetConfig(**value)
        if target.endpoint:
            self._valid(parse_endpoint, target.endpoint, f"{where}.endpoint")
        if target.name:
            self._valid(check_name, target.name, f"{where}.name")
        if target.endpoint.startswith("ssh://"):
            return self._with_name(target, where)
        if target.remote_command:
            raise self._bad(f"{where}.remote_command", "is for ssh:// only")
        if not target.endpoint and not target.name:
            raise self._bad(where, "has neither an endpoint nor the name of an instance of this host")
        return target

    def _with_name(self, target: TargetConfig, where: str) -> TargetConfig:
        """Add the name to an ssh:// URL that has none."""
        named = parse_remote(target.endpoint.removeprefix("ssh://")).name
        if not named and target.name:
            return target._replace(endpoint=f"{target.endpoint.rstrip('/')}/{target.name}")
        if target.name not in {"", named}:
            raise self._bad(f"{where}.name", f"is {target.name!r}, but the endpoint says {named!r}")
        return target

    def _valid(self, check: Callable[[str], Any], value: str, where: str) -> None:
        try:
            check(value)
        except BadPlace as error:
            raise self._bad(where, f"is not valid: {error}", hint=error.hint) from None

    def _table(self, read: dict[str, Any], name: str) -> Any:
        value = read.get(name, {})
        if not isinstance(value, dict):
            raise self._bad(name, "is not a table")
        for key in value:
            if not key or key.startswith("-") or "://" in key:
                raise self._bad(name, f"has {key!r}, which cannot be given to --target")
        return value.items()

    def _words(self, value: Any, where: str) -> tuple[str, ...]:
        if (
            not isinstance(value, list)
            or not value
            or not all(word and isinstance(word, str) for word in value)
        ):
            raise self._bad(where, "is not a list of one or more strings")
        return tuple(value)

    def _only(self, read: dict[str, Any], known: set[str], where: str) -> None:
        for key in read.keys() - known:
            name = f"{where}.{key}" if where else key
            raise self._bad(name, "is not known", hint=f"known are {', '.join(sorted(known))}")

    def _bad(self, where: str, why: str, *, hint: str = "") -> InvalidParams:
        return InvalidParams(f"{self._path}: {where} {why}", hint=hint, data={"path": where})
