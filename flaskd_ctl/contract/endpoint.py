"""Where an instance is: names, runtime directories, socket paths and endpoint URLs.

Each instance has one directory, mode 0700, `<runtime>/<name>/`:

    lock            held (flock) while the instance runs
    zmq             ZeroMQ, `ipc:///…/zmq`
    sock            plain stream, one JSON object a line, `unix:///…/sock`
    instance.json   name, pid, app, endpoints, listeners

Under systemd, `RuntimeDirectory=flaskd/<name>` *is* that directory. systemd removes it at stop, so what must outlive the
instance is a file `<name>.json` in the state directory. Nothing here touches a socket.
"""

import os
import re
import sys
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from flaskd_ctl.errors import BadPlace

MAX_PATH: Final = 107 if sys.platform == "linux" else 103
"""Longest Unix socket path in bytes: `sun_path` without its terminator (unix(7): 108 on Linux; 104 on macOS)."""

SYSTEM_RUNTIME: Final = "/run/flaskd"
SYSTEM_STATE: Final = "/var/lib/flaskd"
_HOST: Final = "_.:%-"
"""Characters of a host's name besides letters and digits; it must not begin with a dash, which ssh takes for an option."""

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


class Place(NamedTuple):
    """An instance's directory and the files in it."""

    directory: str

    @property
    def name(self) -> str:
        """The instance's name: the last part of its directory."""
        return os.path.basename(self.directory)

    @property
    def lock(self) -> str:
        """Held with flock as long as the instance lives."""
        return os.path.join(self.directory, "lock")

    @property
    def zmq(self) -> str:
        """The ZeroMQ socket's path."""
        return os.path.join(self.directory, "zmq")

    @property
    def sock(self) -> str:
        """The plain stream socket's path."""
        return os.path.join(self.directory, "sock")

    @property
    def tcp(self) -> str:
        """The socket behind tcp:// endpoints, which only the instance itself connects to."""
        return os.path.join(self.directory, "tcp")

    @property
    def instance_file(self) -> str:
        """The facts about the instance, as JSON."""
        return os.path.join(self.directory, "instance.json")

    @property
    def endpoints(self) -> list[str]:
        """The URLs of both transports, ZeroMQ first."""
        return [f"ipc://{self.zmq}", f"unix://{self.sock}"]


class Endpoint(NamedTuple):
    """One way to an instance: `scheme` is "ipc" (ZeroMQ) or "unix" (plain stream), and `path` its socket.

    For "tcp" (ZeroMQ with CURVE keys) `path` is HOST:PORT, for "ssh" (the plain stream through ssh) [USER@]HOST[:PORT]/[NAME].
    """

    scheme: str
    path: str

    @property
    def url(self) -> str:
        """The endpoint as people write it."""
        return f"{self.scheme}://{self.path}"


class Target(NamedTuple):
    """One instance to connect to: its name, for messages, and an endpoint.

    For `tcp://`: `key` is the file with our secret key, `server_key` the file with the instance's public key.
    For `ssh://`: `remote_command` is the command on the other host, if it is not `flaskd_ctl`.
    """

    name: str
    endpoint: Endpoint
    key: str = ""
    server_key: str = ""
    remote_command: tuple[str, ...] = ()


class Remote(NamedTuple):
    """An instance on another host: `ssh://[user@]host[:port]/[name]`; without a name, the only one running there."""

    host: str
    user: str = ""
    port: int | None = None
    name: str = ""

    @property
    def place(self) -> str:
        """Host and name, for messages."""
        return f"{self.host}/{self.name}" if self.name else self.host

    @property
    def destination(self) -> str:
        """The arguments for ssh by hand."""
        user = f"{self.user}@" if self.user else ""
        return f"{f'-p {self.port} ' if self.port else ''}{user}{self.host}"


def check_name(name: str) -> str:
    """Return `name` if it is a valid instance name, else raise BadPlace."""
    if NAME.fullmatch(name):
        return name
    shown = repr(name[:80]) + "..." * (len(name) > 80)
    raise BadPlace(
        f"{shown} cannot name an instance: use 1 to 64 letters, digits, '.', '_' or '-', beginning with a letter or digit",
        hint="choose another with --name",
    )


def check_path(path: str) -> str:
    """Return `path` if it is short enough for a Unix socket, else raise BadPlace with both lengths in bytes."""
    length = len(os.fsencode(path))
    if length <= MAX_PATH:
        return path
    raise BadPlace(
        f"the socket path {path} is {length} bytes long; the limit for Unix sockets is {MAX_PATH} (unix(7))",
        hint="choose a shorter --runtime-dir or --name",
    )


def parse_endpoint(url: str) -> Endpoint:
    """Parse `ipc:///path`, `unix:///path`, `tcp://host:port` or `ssh://host/name`; raise BadPlace for others."""
    scheme, separator, path = url.partition("://")
    if separator and scheme in {"tcp", "ssh"}:
        host_and_port(path) if scheme == "tcp" else parse_remote(path)
        return Endpoint(scheme, path)
    if not separator or scheme not in {"ipc", "unix"} or not path.startswith("/"):
        raise BadPlace(
            f"{url!r} is not an endpoint",
            hint="write unix:///path/to/sock (plain stream), ipc:///path/to/zmq (ZeroMQ), tcp://host:port or ssh://host/name",
        )
    return Endpoint(scheme, check_path(path))


def host_and_port(address: str) -> tuple[str, int]:
    """Parse HOST:PORT or [IPV6]:PORT; raise BadPlace for anything else."""
    host, _, port = address.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        host = ""  # without brackets it is not clear where the port begins
    if not host or not (port.isascii() and port.isdigit()) or int(port) > 65_535:
        raise BadPlace(
            f"{address!r} is not a network address",
            hint="write HOST:PORT or [IPV6]:PORT, with a port up to 65535",
        )
    return host, int(port)


def parse_remote(path: str) -> Remote:
    """Parse what follows `ssh://`; raise BadPlace if it is not `[user@]host[:port]/[name]`.

    ssh and the shell of the other host parse these words again: anything that could be an option, or several words, is refused.
    """
    from urllib.parse import urlsplit  # needed for ssh:// only

    if not path.isprintable():  # urlsplit would drop a newline
        raise _no_remote(path, "it has unprintable characters")
    try:
        parts = urlsplit(f"ssh://{path}")
        host, user, port = parts.hostname or "", parts.username or "", parts.port
    except ValueError as error:
        raise _no_remote(path, str(error)) from None
    written = parts.netloc.rpartition("@")[2]
    if parts.password is not None:
        raise _no_remote(written, "it must not contain a password: ssh asks for it, or uses your keys")
    if parts.query or parts.fragment:
        raise _no_remote(path, "nothing may follow the name")
    at = written.lower().find(host)
    host = written[at : at + len(host)]  # urlsplit makes it lower case, but ssh_config(5) is case-sensitive
    if not _is_word(host, _HOST):
        raise _no_remote(path, f"{host!r} is not a host name or address" if host else "it has no host")
    if user and not _is_word(user, "_.-"):
        raise _no_remote(path, f"{user!r} is not a user name")
    name = parts.path.strip("/")
    return Remote(host, user, port, check_name(name) if name else "")


def place_for(name: str, *, runtime_dir: str | None, environ: Mapping[str, str], uid: int) -> Place:
    """Choose the directory of an instance called `name`. Creates nothing.

    `runtime_dir` (option or FLASKD_RUNTIME_DIR), else systemd's, else /run/flaskd if we may write there, else
    $XDG_RUNTIME_DIR/flaskd, else /tmp/flaskd-<uid>. Raises BadPlace for a bad name, or a path too long for a socket.
    """
    check_name(name)
    explicit = runtime_dir or environ.get("FLASKD_RUNTIME_DIR")
    if explicit:
        return _checked(os.path.join(os.path.abspath(explicit), name))
    granted = [entry for entry in environ.get("RUNTIME_DIRECTORY", "").split(":") if entry]
    for entry in granted:
        if os.path.basename(entry) == name:
            return _checked(entry)
    if granted:
        return _checked(os.path.join(granted[0], name))
    if _writable(SYSTEM_RUNTIME):
        return _checked(os.path.join(SYSTEM_RUNTIME, name))
    return _checked(os.path.join(_user_runtime(environ, uid), name))


def search_dirs(*, runtime_dir: str | None, environ: Mapping[str, str], uid: int) -> list[str]:
    """List the directories in which a client looks for instances, nearest first.

    An explicit `runtime_dir` (or FLASKD_RUNTIME_DIR) is the only one; otherwise all that `place_for` may have chosen.
    """
    explicit = runtime_dir or environ.get("FLASKD_RUNTIME_DIR")
    if explicit:
        return [os.path.abspath(explicit)]
    found = []
    for entry in environ.get("RUNTIME_DIRECTORY", "").split(":"):
        if entry:
            # RuntimeDirectory=flaskd/<name>, or one for several instances
            found += [os.path.dirname(entry), entry]
    if environ.get("XDG_RUNTIME_DIR"):
        found.append(os.path.join(environ["XDG_RUNTIME_DIR"], "flaskd"))
    found += [SYSTEM_RUNTIME, f"/tmp/flaskd-{uid}"]  # noqa: S108 - used only when ours and 0700
    return list(dict.fromkeys(found))


def client_command(endpoints: Iterable[str], environ: Mapping[str, str], uid: int) -> str:
    """Return the beginning of each command line for the instance with these endpoints: `flaskd_ctl --name shop`.

    It names the directory too if flaskd_ctl would not look there, as seen from a shell of the user `uid`.
    """
    import shlex  # flaskd_ctl itself does not need it

    socket = next(url for url in endpoints if url.startswith("unix://")).removeprefix("unix://")
    runtime, name = os.path.split(os.path.dirname(socket))
    shell = {name: value for name, value in environ.items() if name != "RUNTIME_DIRECTORY"}
    found = runtime in search_dirs(runtime_dir=None, environ=shell, uid=uid)
    return (
        f"flaskd_ctl --name {name}"
        if found
        else f"flaskd_ctl --runtime-dir {shlex.quote(runtime)} --name {name}"
    )


def state_dirs(environ: Mapping[str, str]) -> list[str]:
    """List the directories that may hold an instance's last stop; the first is the one to write to."""
    found = [entry for entry in environ.get("STATE_DIRECTORY", "").split(":")[:1] if entry]
    home = environ.get("XDG_STATE_HOME") or os.path.join(os.path.expanduser("~"), ".local", "state")
    return list(dict.fromkeys([*found, os.path.join(home, "flaskd"), SYSTEM_STATE]))


def _user_runtime(environ: Mapping[str, str], uid: int) -> str:
    if environ.get("XDG_RUNTIME_DIR"):
        return os.path.join(environ["XDG_RUNTIME_DIR"], "flaskd")
    return f"/tmp/flaskd-{uid}"  # noqa: S108 - claim refuses it unless it is ours and 0700


def _writable(directory: str) -> bool:
    """Tell whether we can create an instance's directory in `directory`, or `directory` itself."""
    if os.path.isdir(directory):
        return os.access(directory, os.W_OK | os.X_OK)
    return os.access(os.path.dirname(directory), os.W_OK | os.X_OK)


def _checked(directory: str) -> Place:
    place = Place(directory)
    check_path(place.sock)  # "sock" is the longest socket name in it
    return place


def _is_word(text: str, besides: str) -> bool:
    known = all((char.isascii() and char.isalnum()) or char in besides for char in text)
    return bool(text) and text[0] != "-" and known


def _no_remote(path: str, why: str) -> BadPlace:
    return BadPlace(
        f"{f'ssh://{path}'!r} is not an endpoint: {why}", hint="write ssh://[user@]host[:port]/name"
    )
