"""How values of uWSGI's options become settings of flaskd, where that takes more than copying."""

import os
import re
from collections.abc import Iterator
from typing import Any, Final

from flaskd.migrate.gunicorn.conversions import LARGEST_HEADER
from flaskd.migrate.option import Note, Set, Step, Suggest, Values
from flaskd.migrate.surroundings import worker_user
from flaskd.settings.schema import FIELDS

HTTP: Final = ("http", "http-socket", "https")
SOCKETS: Final = (*HTTP, "socket")
PROXY: Final = (
    "uWSGI speaks its own protocol here; flaskd speaks HTTP. In nginx write `proxy_pass` in place of `uwsgi_pass`, with "
    "`proxy_set_header` for Host, X-Forwarded-For and X-Forwarded-Proto"
)


def sockets(kind: str) -> Any:
    """Convert the addresses of one kind; those of all kinds are set together."""

    def convert(value: Any, values: Values) -> Iterator[Step]:
        yield Set(
            "bind", tuple(_address(word) for each in SOCKETS for word in values[each] or () if _address(word))
        )
        if kind == "socket":
            yield Note(PROXY)
        if any(word.startswith("fd://") for word in value):
            yield Note("`fd://` is a socket of systemd's, which flaskd takes by itself")
        if any(_address(word).startswith("unix:") for word in value):
            yield Note(
                "a client needs permission to write to a Unix socket (`chmod-socket`): set `UMask=` in the unit, or let "
                "systemd open the socket (`SocketMode=`)"
            )

    return convert


def https(value: Any, values: Values) -> Iterator[Step]:
    """`https = ADDRESS,CERTIFICATE,KEY`."""
    yield from sockets("https")(value, values)
    _, *files = value[0].split(",")
    for setting, file in zip(("tls_cert", "tls_key"), files, strict=False):
        yield Set(setting, file)
    if len(files) > 2:
        yield Note(
            "ciphers and the check of client certificates are not taken over: terminate TLS in a proxy for them"
        )


def _address(word: str) -> str:
    """Write an address as flaskd does. `*:80`, `:80` and `0.0.0.0:80` are all addresses; `/path` is a Unix socket."""
    word = word.partition(",")[0].strip()
    if word.startswith("fd://"):
        return ""
    if word.startswith("@") or not re.search(r":\d+$", word):
        return f"unix:{word.removeprefix('unix:')}"
    return f"0.0.0.0:{word.rpartition(':')[2]}" if word.startswith(("*:", ":")) else word


def application(_: Any, values: Values) -> Iterator[Step]:
    """The module or the file, and the callable: `application`, if none is named."""
    where = values["module"] or values["wsgi-file"]
    if not where:
        return
    module, _, inner = where.partition(":")
    yield Set("app", f"{module}:{values['callable'] or inner or 'application'}")


def workers(value: Any, values: Values) -> Iterator[Step]:
    """Make a range where uWSGI starts and stops workers by itself."""
    yield Set("workers", f"{values['cheaper']}..{value}" if values["cheaper"] else value)


def threads(value: Any, values: Values) -> Iterator[Step]:
    """Without threads, a process serves one request at a time."""
    if values["gevent"]:
        return
    yield Set("threads", max(1, value))
    if value <= 1:
        yield Note(
            "uWSGI without `threads` serves one request at a time in each process, so `threads` is 1. If the application is "
            f"thread-safe, remove the line: each worker then serves {FIELDS['threads'].default}"
        )


def greenlets(value: Any, _: Values) -> Iterator[Step]:
    """Give each greenlet's request a thread: `gevent = 100` means 100 requests at once."""
    if value:
        yield Set("threads", value)
        yield Note(
            "flaskd gives each request a thread. Remove `monkey.patch_all()` from the application: flaskd refuses it"
        )


def mebibytes(setting: str) -> Any:
    """Convert a size that uWSGI has in MiB."""
    return lambda value, _: [Set(setting, f"{value}M")] if value else []


def request_limit(value: Any, _: Values) -> Iterator[Step]:
    """The buffer holds the request's variables: its line and headers."""
    if value > FIELDS["max_request_header_size"].default:
        yield Set("max_request_header_size", min(value, LARGEST_HEADER))


def access_log(value: Any, values: Values) -> Iterator[Step]:
    """Log requests unless uWSGI is told not to."""
    if not value:
        yield Set("access_log", "combined")


def log_file(value: Any, _: Values) -> Iterator[Step]:
    """An address (`127.0.0.1:514`) is for UDP."""
    if re.search(r":\d+$", value):
        yield Note("flaskd does not log over the network: under systemd the journal forwards its log")
    else:
        yield Set("log_file", value)


def user(_: Any, values: Values) -> Iterator[Step]:
    """Both as one setting."""
    yield from worker_user(values["uid"], values["gid"])


def virtualenv(value: Any, _: Values) -> Iterator[Step]:
    """The environment's own programs use it."""
    yield Note(f"install flaskd in this environment, and run {os.path.join(value, 'bin', 'flaskd')}")


def stats(value: Any, _: Values) -> Iterator[Step]:
    """An HTTP address may become that of /metrics."""
    if re.search(r":\d+$", value):
        yield Suggest("health", value)
    yield Note()
