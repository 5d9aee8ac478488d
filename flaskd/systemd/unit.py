"""The units that run an application under systemd: a service, and its socket for socket activation. Text from settings.

The service gets only what it needs (docs/systemd.md explains each line). These stricter options are left out on purpose:

PrivateUsers=   callers are known by their uid (SO_PEERCRED); all users but root and the service's own would become nobody.
ProtectProc=    the audit log names the command line of a caller; the processes of other users would be hidden.
~@resources     `flaskd run` raises its limit of descriptors to the hard limit (prlimit64), and libzmq sets the scheduling
                policy of its threads (sched_setscheduler), or aborts the process if it may not (src/thread.cpp).
~AF_NETLINK     sock_diag(7) counts connections twenty times faster than /proc does.
"""

import ipaddress
import math
import os
from collections.abc import Sequence
from typing import Final, NamedTuple

from flaskd.errors import ConfigError
from flaskd.listening.listeners import parse
from flaskd.settings.options import Given
from flaskd.settings.schema import Settings, option
from flaskd.shutdown.phases import LameDuck
from flaskd.systemd.status import SPARE

HEADER: Final = "# Made by `flaskd systemd unit`"
"""The first line of each file that flaskd makes begins with this."""

SANDBOX: Final = """\
NoNewPrivileges=yes
{capabilities}
ProtectSystem=strict
ProtectHome={home}
PrivateTmp=yes
PrivateDevices=yes
PrivateMounts=yes
DevicePolicy=closed
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
RemoveIPC=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
UMask=0077
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallFilter=prlimit64 setrlimit sched_setscheduler
SystemCallErrorNumber=EPERM"""

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
    settings, sandbox_paths = wanted.settings, [wanted.directory, wanted.flaskd, wanted.interpreter]
    name, file = wanted.name, wanted.file
    control = f"{wanted.flaskd}_ctl --name {name}"
    unit = [f"Description=The Flask application {wanted.app}", "After=network.target"]
    if wanted.socket:
        unit += [f"Requires={file}.socket", f"After={file}.socket"]
    elif any(_needs_address(address) for address in settings.bind):
        unit += ["Wants=network-online.target", "After=network-online.target"]
    unit += ["StartLimitIntervalSec=0"]  # when systemd gives up a service, it closes the socket too
    service = ["Type=notify-reload", "ReloadSignal=SIGCONT"] if wanted.notify_reload else ["Type=notify"]
    service += [f"User={wanted.user}"] if wanted.user else ["DynamicUser=yes"]
    service += [
        f"WorkingDirectory={wanted.directory}",
        # If it is a link to a release, a reload follows the link again, by this name (docs/workers.md).
        *(
            [f"Environment=PWD={wanted.directory}"]
            if wanted.template or os.path.islink(wanted.directory)
            else []
        ),
        f"RuntimeDirectory=flaskd/{name}",
        "RuntimeDirectoryMode=0700",
        f"StateDirectory=flaskd/{name}",
        "StateDirectoryMode=0700",
        f"ExecStart={' '.join([wanted.flaskd, 'run', *_arguments(wanted)])}",
        f"ExecReload={control} reload",
        f"ExecStop={control} shutdown --missing-ok",
        f"TimeoutStartSec={math.ceil(settings.start_timeout + SPARE)}",
        f"TimeoutStopSec={stop_timeout(settings)}",
        "KillMode=mixed",
        "Restart=on-failure",
        "RestartSec=2",
        "OOMPolicy=continue",
    ]
    if wanted.watchdog:
        service += [f"WatchdogSec={wanted.watchdog:g}"]
    low = not wanted.socket and any(_port(address) in range(1, 1024) for address in settings.bind)
    bound = "CapabilityBoundingSet=" + ("CAP_NET_BIND_SERVICE" if low else "")
    sandbox = SANDBOX.format(
        capabilities=f"{bound}\nAmbientCapabilities=CAP_NET_BIND_SERVICE" if low else bound,
        home="read-only" if any(_below(path, HOMES) for path in sandbox_paths) else "yes",
    )
    also = [f"Also={file.replace('%i', '')}.socket"] if wanted.socket else []
    install = ["WantedBy=multi-user.target", *also]
    return _text(f"{file}.service", Unit=unit, Service=[*service, "", sandbox], Install=install)


def _socket(wanted: UnitOptions) -> str:
    listen = [_listen_stream(address) for address in wanted.settings.bind]
    socket = [f"ListenStream={stream}" for stream in listen]
    socket += [f"Backlog={wanted.settings.backlog}", "FileDescriptorName=http"]
    if any(stream.startswith("/") for stream in listen):
        socket += ["RemoveOnStop=yes"]
    return _text(
        f"{wanted.file}.socket",
        Unit=[f"Description=Listening sockets of the Flask application {wanted.app}"],
        Socket=socket,
        Install=["WantedBy=sockets.target"],
    )


def _text(file: str, **sections: Sequence[str]) -> str:
    edit = file.replace("%i", "NAME")
    lines = [f"{HEADER}. Change it with `systemctl edit {edit}`, or make it again."]
    for name, entries in sections.items():
        lines += [*([""] if len(lines) > 1 else []), f"[{name}]", *entries]
    return "\n".join(lines) + "\n"


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
