"""How values of gunicorn's settings become settings of flaskd, where that takes more than copying."""

import re
from collections.abc import Iterator
from typing import Any, Final

from flaskd.errors import FlaskdError
from flaskd.migrate.option import Note, Set, Step, Suggest, Values
from flaskd.migrate.surroundings import worker_user
from flaskd.settings.schema import FIELDS

GREENLETS: Final = ("gevent", "eventlet", "tornado")
"""Worker classes that serve many requests on one thread."""

THREADS_FOR_GREENLETS: Final = 64
"""Threads in place of a worker's greenlets: enough for requests that wait, few enough for the memory of their stacks."""

LOOPBACK: Final = ("127.", "localhost:", "[::1]:", "unix:")
LARGEST_HEADER: Final = 1_048_576


def serves_one(values: Values) -> bool:
    """Whether a worker serves one request at a time: the sync worker, which more than one thread turns into gthread."""
    return str(values["worker_class"]) in {"sync", "gunicorn.workers.sync.SyncWorker"} and (
        values["threads"] <= 1
    )


def on_greenlets(values: Values) -> bool:
    """Whether the worker class is one of those that serve many requests on one thread."""
    return any(word in str(values["worker_class"]).lower() for word in GREENLETS)


def application(value: Any, _: Values) -> Iterator[Step]:
    """`shop` means shop:application, as in gunicorn."""
    if name := str(value or ""):
        yield Set("app", name if ":" in name else f"{name}:application")


def bind(value: Any, _: Values) -> Iterator[Step]:
    """Convert each address; those of systemd's sockets come from systemd."""
    given = [value] if isinstance(value, str) else list(value)
    words = [word.strip() for each in given for word in str(each).split(",") if word.strip()]
    addresses = [_address(word) for word in words if not word.startswith("fd://")]
    if addresses:
        yield Set("bind", tuple(addresses))
    if len(addresses) < len(words):
        yield Note(
            "`fd://` is a socket of systemd's: flaskd takes every socket that systemd passes, and needs no `bind` for it. "
            "`flaskd systemd unit --socket` makes such a unit"
        )
    if any(address.startswith("unix:") for address in addresses):
        yield Note(
            "a client needs permission to write to a Unix socket. gunicorn sets its umask to 0, so that everybody may; flaskd "
            "keeps the umask that it is started with: set `UMask=0000` in the unit, or let systemd open the socket "
            "(`SocketMode=`)"
        )


def _address(word: str) -> str:
    """Write one of gunicorn's addresses as flaskd does; without a port it is 8000."""
    if word.startswith("unix:"):
        return "unix:" + re.sub("^/+", "/", word.removeprefix("unix:"))
    word = word.removeprefix("tcp://")
    host = re.fullmatch(r"(\[[^]]*\]|[^:]*)(?::(\d*))?", word)
    return f"{host[1] or '0.0.0.0'}:{host[2] or 8000}" if host else word


def worker_class(value: Any, values: Values) -> Iterator[Step]:
    """Refuse what serves ASGI; say what replaces greenlets."""
    name = str(value)
    if "uvicorn" in name.lower() or "asgi" in name.lower():
        raise FlaskdError(
            f"gunicorn's worker class {name} serves ASGI applications, and flaskd serves WSGI applications only",
            hint="keep this server for it, or serve the application through a WSGI adapter such as a2wsgi.ASGIMiddleware",
        )
    if on_greenlets(values):
        yield Set("threads", THREADS_FOR_GREENLETS)
        yield Note(
            f"{name} serves up to {values['worker_connections']} requests on one thread; flaskd gives each request a thread, "
            f"{THREADS_FOR_GREENLETS} in a worker: raise `threads` if more requests wait at the same time. Remove "
            "`monkey.patch_all()` from the application: flaskd refuses it"
        )
    elif name not in {"sync", "gthread"} and not name.startswith("gunicorn.workers."):
        yield Note(f"the worker class {name} is the application's own: flaskd has no worker classes")


def threads(value: Any, values: Values) -> Iterator[Step]:
    """One thread stays one: an application that was served by sync workers may rely on it."""
    if on_greenlets(values):
        return
    yield Set("threads", max(1, value))
    if serves_one(values):
        yield Note(
            "gunicorn's sync worker serves one request at a time, so `threads` is 1. If the application is thread-safe, remove "
            f"the line: each worker then serves {FIELDS['threads'].default} at a time"
        )


def preload(value: Any, _: Values) -> Iterator[Step]:
    """Keep it, with what flaskd does not accept."""
    if value:
        yield Set("preload", value)
        yield Note()


def timeout(value: Any, values: Values) -> Iterator[Step]:
    """A sync worker is silent while it serves, so its timeout is a limit for requests; other workers' is not."""
    if not value:
        return
    if "timeout" not in values:
        if serves_one(values):
            yield Suggest("worker_timeout", float(value))
            yield Note(
                f"gunicorn kills a sync worker whose request takes longer than {value} s, by default. flaskd has no such limit "
                "unless you set `worker_timeout`"
            )
    elif serves_one(values):
        yield Set("worker_timeout", float(value))
    else:
        yield Suggest("worker_timeout", float(value))
        yield Note(
            "gunicorn's timeout for this worker class is for a worker that hangs, not for a request. `worker_timeout` is for "
            "both: choose more than your longest legitimate request takes, and remove the comment sign"
        )


def keepalive(value: Any, _: Values) -> Iterator[Step]:
    """A pause between requests is limited by head_timeout; a longer one may be there for a balancer."""
    if value > FIELDS["head_timeout"].default:
        yield Set("head_timeout", float(value))


def header_limit(value: Any, _: Values) -> Iterator[Step]:
    """0 means no limit."""
    if value == 0 or value > FIELDS["max_request_header_size"].default:
        yield Set("max_request_header_size", min(value or LARGEST_HEADER, LARGEST_HEADER))


def forwarded(value: Any, values: Values) -> Iterator[Step]:
    """Trust one proxy where gunicorn was told to trust some; by default it trusts those of this host."""
    if "forwarded_allow_ips" in values:
        if value:
            yield Set("trusted_proxies", 1)
            yield Note(
                "gunicorn believes the scheme that these addresses send. flaskd believes all X-Forwarded-* headers of the "
                "nearest proxy, whatever its address: let only the proxy reach flaskd, and let it overwrite these headers "
                "(X-Forwarded-For, -Proto, -Host, -Port, -Prefix). With two proxies in a row, set 2"
            )
        return
    addresses = [values["bind"]] if isinstance(values["bind"], str) else values["bind"]
    if all(str(address).startswith(LOOPBACK) for address in addresses):
        yield Suggest("trusted_proxies", 1)
        yield Note(
            "gunicorn believes the scheme (X-Forwarded-Proto) that a proxy on this host sends. flaskd believes no proxy by "
            "default: if one is in front and overwrites all X-Forwarded-* headers, set `trusted_proxies = 1`, or URLs begin "
            "with http://"
        )


def access_log(value: Any, values: Values) -> Iterator[Step]:
    """Write gunicorn's default format as `combined`, which has the worker and the trace, too."""
    if not value:
        return
    as_json = str(values["access_log_format"]).lstrip().startswith("{")
    yield Set("access_log", "json" if as_json else "combined")
    if value != "-":
        yield Set("access_log_file", value)


def access_log_format(value: Any, values: Values) -> Iterator[Step]:
    """The formats are fixed."""
    if values["accesslog"]:
        yield Note()


def error_log(value: Any, _: Values) -> Iterator[Step]:
    """`-` is stderr for both."""
    if value and value != "-":
        yield Set("log_file", value)


def log_level(value: Any, _: Values) -> Iterator[Step]:
    """Take a name in any case, as gunicorn does."""
    yield Set("log_level", str(value).lower())


def user(_: Any, values: Values) -> Iterator[Step]:
    """Both as one setting."""
    yield from worker_user(values["user"], values["group"])
