"""Which instances `--target` means: names and groups of the client's configuration file, URLs, names of instances here.

    ssh_command = ["ssh", "-F", "/etc/deploy/ssh_config"]    # FLASKD_CTL_SSH goes before it

    [targets.web1]
    endpoint = "ssh://deploy@web1.example.org/shop"
    remote_command = ["/opt/shop/bin/flaskd_ctl"]

    [targets.web2]
    endpoint = "tcp://web2.example.org:7400"
    key = "keys/ops.key_secret"                              # beside this file
    server_key = "keys/web2.key"

    [groups]
    web = ["web1", "web2"]

The file is `$XDG_CONFIG_HOME/flaskd/ctl.toml`, or what FLASKD_CTL_CONFIG names. It is read when a target is asked for, and by
`ssh://`; whatever in it is unknown or does not fit is refused, since a misspelt group would leave hosts out.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple

from flaskd_ctl.contract.endpoint import Target, check_name, parse_endpoint, parse_remote
from flaskd_ctl.discovery.instances import Instances
from flaskd_ctl.errors import BadPlace, ControlError, InvalidParams, NotRunning

CONFIG: Final = "FLASKD_CTL_CONFIG"
SSH: Final = "FLASKD_CTL_SSH"


class Entry(NamedTuple):
    """One `[targets.NAME]`; without an endpoint it is the instance `name` of this host."""

    endpoint: str = ""
    name: str = ""
    key: str = ""
    server_key: str = ""
    remote_command: tuple[str, ...] = ()


class Book(NamedTuple):
    """What the configuration file says; `path` is where it is, or would be."""

    path: str
    targets: Mapping[str, Entry] = {}
    groups: Mapping[str, tuple[str, ...]] = {}
    ssh_command: tuple[str, ...] = ("ssh",)
    remote_command: tuple[str, ...] = ("flaskd_ctl",)


class Aim(NamedTuple):
    """One target under the label that it goes by; `find` looks for it anew each time, since an instance may come and go."""

    label: str
    find: Callable[[], Target]


class Keys(NamedTuple):
    """The key files given on the command line, for targets that have none of their own."""

    key: str | None = None
    server_key: str | None = None


def config_path(environ: Mapping[str, str]) -> str:
    """Say where the configuration file is, whether there is one or not."""
    home = environ.get("XDG_CONFIG_HOME") or os.path.join(os.path.expanduser("~"), ".config")
    return environ.get(CONFIG) or os.path.join(home, "flaskd", "ctl.toml")


def read_book(environ: Mapping[str, str] = os.environ) -> Book:
    """Read the configuration file; an empty Book if there is none. Raises InvalidParams for what does not fit."""
    path = config_path(environ)
    try:
        with open(path, "rb") as file:
            import tomllib

            read = tomllib.load(file)
    except FileNotFoundError:
        if environ.get(CONFIG):
            raise InvalidParams(f"{path} does not exist", hint=f"{CONFIG} names it") from None
        return Book(path)
    except OSError as error:
        raise InvalidParams(f"cannot read {path}: {error.strerror}") from None
    except ValueError as error:  # not TOML, or not UTF-8
        raise InvalidParams(f"{path} is not TOML: {error}") from None
    return _Reader(path).book(read)


def ssh_ways(remote_command: tuple[str, ...] = ()) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the user's ssh command, and the one to run on the other host (`remote_command`, where the target has one)."""
    book = read_book()
    own = os.environ.get(SSH, "")
    try:
        ssh = tuple(shlex.split(own)) or book.ssh_command
    except ValueError as error:
        raise InvalidParams(f"{SSH}={own!r} is no command: {error}") from None
    return ssh, remote_command or book.remote_command


def choose(names: Iterable[str], instances: Instances, *, keys: Keys) -> tuple[list[Aim], bool]:
    """Find what the names mean, each once, in the order given; and whether it is several, as a group is whatever is in it.

    Raises InvalidParams for a bad configuration file, BadPlace for what cannot be a target.
    """
    book = read_book()
    aims: dict[str, Aim] = {}
    grouped = False
    for name in names:
        grouped = grouped or name in book.groups
        for member in book.groups.get(name, (name,)):
            aims.setdefault(member, _aim(member, book, instances, keys))
    return list(aims.values()), grouped or len(aims) > 1


def known_names(instances: Instances) -> list[str]:
    """List what can be completed after --target."""
    try:
        book = read_book()
    except ControlError:
        book = Book("")
    return sorted({*book.targets, *book.groups, *instances.names()})


def _aim(name: str, book: Book, instances: Instances, keys: Keys) -> Aim:
    """Make the aim; what cannot be a target is said now, before anything is done elsewhere."""
    entry = Entry(endpoint=name) if "://" in name else book.targets.get(name)
    if entry is None:
        check_name(name)
        return Aim(name, lambda: _here(name, book, instances))
    if not entry.endpoint:
        return Aim(name, lambda: instances.target(entry.name)._replace(name=name))
    target = instances.target(
        endpoint=entry.endpoint,
        key=entry.key or keys.key,
        server_key=entry.server_key or keys.server_key,
    )
    label = target.name if "://" in name else name
    target = target._replace(name=label, remote_command=entry.remote_command)
    return Aim(name, lambda: target)


def _here(name: str, book: Book, instances: Instances) -> Target:
    try:
        return instances.target(name)
    except NotRunning as error:
        raise NotRunning(
            str(error),
            hint=f"try `flaskd_ctl list`; {book.path} has no target or group {name}",
            data=error.data,
        ) from None


class _Reader:
    """Reads one file, and says of what does not fit where it stands."""

    def __init__(self, path: str) -> None:
        self._path = path

    def book(self, read: dict[str, Any]) -> Book:
        self._only(read, {"ssh_command", "remote_command", "targets", "groups"}, "")
        targets = {
            name: self._entry(value, f"targets.{name}")
            for name, value in self._table(read, "targets").items()
        }
        groups = {
            name: self._words(value, f"groups.{name}") for name, value in self._table(read, "groups").items()
        }
        for name, members in groups.items():
            if name in targets:
                raise self._bad(f"groups.{name}", "is the name of a target too")
            for member in members:
                if member not in targets and "://" not in member:
                    raise self._bad(
                        f"groups.{name}", f"has {member!r}, which is none of the targets of the file"
                    )
                if "://" in member:
                    self._endpoint(member, f"groups.{name}")
        defaults = Book("")
        return Book(
            self._path,
            targets,
            groups,
            self._words(read.get("ssh_command", [*defaults.ssh_command]), "ssh_command"),
            self._words(read.get("remote_command", [*defaults.remote_command]), "remote_command"),
        )

    def _entry(self, value: Any, where: str) -> Entry:
        if not isinstance(value, dict):
            raise self._bad(where, "is not a table")
        self._only(value, {*Entry._fields}, where)
        texts = {}
        for key in ("endpoint", "name", "key", "server_key"):
            texts[key] = value.get(key, "")
            if not isinstance(texts[key], str):
                raise self._bad(f"{where}.{key}", "is not a text")
        command = (
            self._words(value["remote_command"], f"{where}.remote_command")
            if "remote_command" in value
            else ()
        )
        entry = Entry(
            self._endpoint(texts["endpoint"], f"{where}.endpoint") if texts["endpoint"] else "",
            self._name(texts["name"], f"{where}.name") if texts["name"] else "",
            self._file(texts["key"]),
            self._file(texts["server_key"]),
            command,
        )
        if entry.endpoint.startswith("ssh://"):
            return self._at_another_host(entry, where)
        if command:
            raise self._bad(f"{where}.remote_command", "is for ssh:// only")
        if not entry.endpoint and not entry.name:
            raise self._bad(where, "has neither an endpoint nor the name of an instance of this host")
        return entry

    def _at_another_host(self, entry: Entry, where: str) -> Entry:
        """Let the name stand in the URL or beside it."""
        named = parse_remote(entry.endpoint.removeprefix("ssh://")).name
        if not named and entry.name:
            url = f"{entry.endpoint.rstrip('/')}/{entry.name}"
            return entry._replace(endpoint=self._endpoint(url, f"{where}.name"))
        if entry.name not in {"", named}:
            raise self._bad(f"{where}.name", f"is {entry.name!r}, and the endpoint says {named!r}")
        return entry

    def _endpoint(self, url: str, where: str) -> str:
        try:
            parse_endpoint(url)
        except BadPlace as error:
            raise self._bad(where, f"will not do: {error}", hint=error.hint) from None
        return url

    def _name(self, name: str, where: str) -> str:
        try:
            return check_name(name)
        except BadPlace as error:
            raise self._bad(where, f"will not do: {error}", hint=error.hint) from None

    def _file(self, path: str) -> str:
        """Look for a key beside the configuration file, unless its path says where."""
        return os.path.join(os.path.dirname(self._path), os.path.expanduser(path)) if path else ""

    def _table(self, read: dict[str, Any], name: str) -> dict[str, Any]:
        value = read.get(name, {})
        if not isinstance(value, dict):
            raise self._bad(name, "is not a table")
        for key in value:
            if not key or key.startswith("-") or "://" in key:
                raise self._bad(name, f"has {key!r}, which cannot be given to --target")
        return value

    def _words(self, value: Any, where: str) -> tuple[str, ...]:
        if (
            not isinstance(value, list)
            or not value
            or not all(word and isinstance(word, str) for word in value)
        ):
            raise self._bad(where, "is not a list of texts with one at least")
        return tuple(value)

    def _only(self, read: dict[str, Any], known: set[str], where: str) -> None:
        for key in read:
            if key not in known:
                name = f"{where}.{key}" if where else key
                raise self._bad(name, "is not known", hint=f"known are {', '.join(sorted(known))}")

    def _bad(self, where: str, why: str, *, hint: str = "") -> InvalidParams:
        return InvalidParams(f"{self._path}: {where} {why}", hint=hint, data={"path": where})
