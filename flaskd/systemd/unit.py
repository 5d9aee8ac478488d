"""Make the units that run an application under systemd: a service, and its socket for socket activation. Text from settings."""

import ipaddress
import math
import os
from collections.abc import Sequence
from typing import Final, NamedTuple

from flaskd.errors import ConfigError
from flaskd.listening.addresses import parse
from flaskd.settings.options import Given
from flaskd.settings.schema import Settings, option
from flaskd.shutdown.phases import LameDuck
from flaskd.systemd.status import SPARE
from flaskd.systemd.templates import SERVICE, SOCKET

HEADER: Final = "# Made by `flaskd systemd unit`"
"""The first line of each file that flaskd makes begins with this."""

LOGS: Final = "/var/log"
"""The directory in which LogsDirectory= makes one."""

HOMES: Final = ("/home", "/root", "/run/user")
"""The directories that ProtectHome= hides."""

PRIVATE: Final = ("/tmp", "/var/tmp")  # noqa: S108 - PrivateTmp= hides them
PLAIN: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_./:@=,+[]")


class UnitOptions(NamedTuple):
    """What to make units of.

    `given` are the settings on the command line of the service, `settings` all of them as they hold there. `flaskd` is the
    program, `interpreter` its Python. Without a `user`, systemd allocates one (DynamicUser=). `watchdog` is in seconds, 0 for
    none. A `template` serves one application for each instance name, %i.
    """

    given: Given
    settings: Settings
    directory: str
    flaskd: str
    interpreter: str = ""
    user: str = ""
    socket: bool = False
    template: bool = False
    notify_reload: bool = False
    watchdog: float = 0.0

    @property
    def file(self) -> str:
        """The name of the units, without their suffix."""
        return "flaskd@%i" if self.template else self.settings.name

    @property
    def name(self) -> str:
        """The name of the instance, as a specifier (systemd.unit(5))."""
        return "%i" if self.template else "%N"

    @property
    def app(self) -> str:
        """The application as `Description=` names it."""
        return "%i" if self.template else _quoted(self.settings.app, template=False)


def units(wanted: UnitOptions) -> dict[str, str]:
    """Return the service and, where it is wanted, the socket unit: name to text. Raises ConfigError."""
    stem = wanted.file.removesuffix("%i")
    for path in (wanted.directory, wanted.flaskd, wanted.interpreter):
        if _below(path, PRIVATE):
            raise ConfigError(
                f"the service could not see {path}: it has a /tmp of its own",
                hint="move it to another place, such as /srv or /opt",
            )
    files = {f"{stem}.service": _service(wanted)}
    if wanted.socket:
        files[f"{stem}.socket"] = _socket(wanted)
    return files


def stop_timeout(settings: Settings) -> int:
    """Return TimeoutStopSec=: the longest time that a stop may take, and some spare."""
    duck = LameDuck(settings.lame_duck, settings.wait_unrouted).ordered(None, None)
    hooks = settings.hook_timeout if settings.pre_stop else 0.0
    return math.ceil(duck.longest + settings.grace + settings.linger + hooks + SPARE)


def _service(wanted: UnitOptions) -> str:
    settings, file = wanted.settings, wanted.file
    after = ""
    if wanted.socket:
        after = f"Requires={file}.socket\nAfter={file}.socket\n"
    elif any(_needs_address(address) for address in settings.bind):
        after = "Wants=network-online.target\nAfter=network-online.target\n"
    # If the directory is a link to a release, a reload follows the link again, by this name (docs/workers.md).
    linked = wanted.template or os.path.islink(wanted.directory)
    low = not wanted.socket and any(_port(address) in range(1, 1024) for address in settings.bind)
    capability = "CAP_NET_BIND_SERVICE"
    in_home = any(_below(path, HOMES) for path in (wanted.directory, wanted.flaskd, wanted.interpreter))
    return SERVICE.format(
        header=_header(f"{file}.service"),
        app=wanted.app,
        after=after,
        type="Type=notify-reload\nReloadSignal=SIGCONT" if wanted.notify_reload else "Type=notify",
        user=f"User={wanted.user}" if wanted.user else "DynamicUser=yes",
        directory=wanted.directory,
        pwd=f"Environment=PWD={wanted.directory}\n" if linked else "",
        name=wanted.name,
        flaskd=wanted.flaskd,
        arguments=" ".join(_arguments(wanted)),
        logs=_log_directories(wanted),
        start_timeout=math.ceil(settings.start_timeout + SPARE),
        stop_timeout=stop_timeout(settings),
        watchdog=f"WatchdogSec={wanted.watchdog:g}\n" if wanted.watchdog else "",
        capabilities=f"CapabilityBoundingSet={capability}\nAmbientCapabilities={capability}"
        if low
        else "CapabilityBoundingSet=",
        home="read-only" if in_home else "yes",
        also=f"Also={file.removesuffix('%i')}.socket\n" if wanted.socket else "",
    )


def _log_directories(wanted: UnitOptions) -> str:
    """Return what lets the service write its log files. Raises ConfigError for one directly in /var/log."""
    settings = wanted.settings
    paths = [
        os.path.join(wanted.directory, path) for path in (settings.log_file, settings.access_log_file) if path
    ]
    lines = []
    for directory in dict.fromkeys(os.path.dirname(os.path.normpath(path)) for path in paths):
        if directory == LOGS:
            raise ConfigError(
                f"the service cannot write to {LOGS} itself, only to a directory of its own there",
                hint=f"use {LOGS}/{wanted.settings.name or 'NAME'}/…",
            )
        if _below(directory, (LOGS,)):
            place = os.path.relpath(directory, LOGS)
            lines.append(
                f"LogsDirectory={_quoted(place, template=wanted.template)}\nLogsDirectoryMode=0750\n"
            )
        else:
            lines.append(f"ReadWritePaths={_quoted(directory, template=wanted.template)}\n")
    return "".join(lines)


def _socket(wanted: UnitOptions) -> str:
    streams = [_listen_stream(address) for address in wanted.settings.bind]
    return SOCKET.format(
        header=_header(f"{wanted.file}.socket"),
        app=wanted.app,
        listen="\n".join(f"ListenStream={stream}" for stream in streams),
        backlog=wanted.settings.backlog,
        remove="RemoveOnStop=yes\n" if any(stream.startswith("/") for stream in streams) else "",
    )


def _header(file: str) -> str:
    return f"{HEADER}. Change it with `systemctl edit {file.replace('%i', 'NAME')}`, or make it again."


def _arguments(wanted: UnitOptions) -> list[str]:
    """Return the arguments of `flaskd run`: the given settings. The others can be changed in flaskd.toml."""
    app, file = wanted.given.options.get("app"), wanted.given.file
    words = [*([app] if app else []), *(["--config", file] if file else []), "--name", wanted.name]
    for name, value in wanted.given.options.items():
        if name in {"app", "name"} or (name == "bind" and wanted.socket) or value is None:
            continue
        if isinstance(value, bool):
            words += [option(name) if value else f"--no-{option(name)[2:]}"]
        else:
            many = value if isinstance(value, (tuple, list)) else [value]
            words += [word for each in many for word in (option(name), str(each))]
    return [word if word == wanted.name else _quoted(word, template=wanted.template) for word in words]


def _quoted(word: str, *, template: bool) -> str:
    """Quote a word for systemd.service(5); a template keeps its specifiers."""
    word = word.replace("$", "$$") if template else word.replace("$", "$$").replace("%", "%%")
    if word and all(char in PLAIN or char in "%$" for char in word):
        return word
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def _listen_stream(address: str) -> str:
    """Write an address for ListenStream= (systemd.socket(5)). Raises ConfigError for a host name, or port 0."""
    parsed = parse(address)
    if isinstance(parsed, str):
        return parsed
    host, port = parsed
    try:
        number = ipaddress.ip_address(host)
    except ValueError:
        raise ConfigError(
            f"a socket unit cannot listen on {address}: systemd takes IP addresses, not names",
            hint="use an IP address: 127.0.0.1:8000",
        ) from None
    if not port:
        raise ConfigError(f"a socket unit cannot listen on {address}: it needs a port", hint="choose one")
    return f"[{number}]:{port}" if number.version == 6 else f"{number}:{port}"


def _needs_address(address: str) -> bool:
    """Whether `address` can be bound only when the network is up. Raises ConfigError for a path."""
    parsed = parse(address)
    if isinstance(parsed, str):
        raise ConfigError(
            f"the service cannot bind {address}: it may write only to its own directories",
            hint="let systemd make the socket: --socket",
        )
    try:
        number = ipaddress.ip_address(parsed[0])
    except ValueError:
        return parsed[0] != "localhost"
    return not (number.is_loopback or number.is_unspecified)


def _port(address: str) -> int:
    parsed = parse(address)
    return 0 if isinstance(parsed, str) else parsed[1]


def _below(path: str, directories: Sequence[str]) -> bool:
    return any(path == directory or path.startswith(directory + os.sep) for directory in directories)
