"""What options of other servers are called here: the guesses for typing mistakes that no spelling tells.

Somebody who comes from `flask run`, gunicorn, uvicorn, waitress or uWSGI types what those take. Letters do not say that
`--port` is part of `--bind`. The words are without dashes, as options, environment variables and TOML keys have them in common.
"""

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from flaskd.settings.schema import FIELDS, option
from flaskd_ctl.contract.guess import closest


class Instead(NamedTuple):
    """What to use: one of these settings (with a value to show), or what `words` says."""

    settings: tuple[str, ...] = ()
    value: str = ""
    words: str = ""


_WHERE: Final = "127.0.0.1:8000"
_BIND: Final = Instead(("bind",), _WHERE)
_WORKERS: Final = Instead(("workers",), "4")
_ENGINE: Final = Instead(("engine",))
_START: Final = Instead(words="use `flaskd start`, which returns when it serves")
_PID: Final = Instead(words="`flaskd_ctl status` shows the pid; no file is needed")
_TIMEOUT: Final = Instead(("worker_timeout", "request_timeout"), "60")
_USER: Final = Instead(("worker_user",), "NAME")
_DEV: Final = Instead(words="use `flaskd dev`, which reloads when you save and has a debugger")
_APP: Final = Instead(words="name the application without an option: flaskd run shop:app")

ELSEWHERE: Final[Mapping[str, Instead]] = {
    "port": _BIND,
    "host": _BIND,
    "p": _BIND,
    "b": _BIND,
    "address": _BIND,
    "listen": _BIND,
    "http": _BIND,
    "http-socket": _BIND,
    "uds": Instead(("bind",), "unix:/run/shop.sock"),
    "unix-socket": Instead(("bind",), "unix:/run/shop.sock"),
    "socket": Instead(("bind",), "unix:/run/shop.sock"),
    "fd": Instead(words="use systemd's socket activation: flaskd systemd unit --socket"),
    "w": _WORKERS,
    "processes": _WORKERS,
    "worker": _WORKERS,
    "thread": Instead(("threads",), "8"),
    "k": _ENGINE,
    "worker-class": _ENGINE,
    "server": _ENGINE,
    "t": _TIMEOUT,
    "timeout": _TIMEOUT,
    "harakiri": _TIMEOUT,
    "graceful-timeout": Instead(("grace",), "30"),
    "timeout-graceful-shutdown": Instead(("grace",), "30"),
    "keep-alive": Instead(("head_timeout",), "30"),
    "timeout-keep-alive": Instead(("head_timeout",), "30"),
    "D": _START,
    "daemon": _START,
    "daemonize": _START,
    "detach": _START,
    "pid": _PID,
    "pidfile": _PID,
    "loglevel": Instead(("log_level",), "debug"),
    "error-logfile": Instead(("log_file",), "FILE"),
    "access-logfile": Instead(("access_log_file", "access_log")),
    "accesslog": Instead(("access_log",), "common"),
    "logto": Instead(("log_file",), "FILE"),
    "certfile": Instead(("tls_cert",), "FILE"),
    "cert": Instead(("tls_cert",), "FILE"),
    "ssl-certfile": Instead(("tls_cert",), "FILE"),
    "keyfile": Instead(("tls_key",), "FILE"),
    "key": Instead(("tls_key",), "FILE"),
    "ssl-keyfile": Instead(("tls_key",), "FILE"),
    "proxy-headers": Instead(("trusted_proxies",), "1"),
    "forwarded-allow-ips": Instead(("trusted_proxies",), "1"),
    "trusted-proxy": Instead(("trusted_proxies",), "1"),
    "u": _USER,
    "user": _USER,
    "group": Instead(("worker_user",), "UID:GID"),
    "reload": _DEV,
    "debug": _DEV,
    "debugger": _DEV,
    "reload-on-rss": Instead(("max_worker_memory",), "512M"),
    "limit-max-requests": Instead(("max_requests",), "1000"),
    "c": Instead(words="use --config FILE"),
    "app": _APP,
    "A": _APP,
    "wsgi": _APP,
    "module": _APP,
    "factory": Instead(words="name the factory: flaskd run 'shop:create_app()'"),
    "chdir": Instead(words="change to the directory first: cd DIRECTORY"),
    "master": Instead(words="leave it out: there is always a supervisor"),
}
"""By the name elsewhere, without dashes in front."""


def instead(word: str, write: Callable[[str], str] = option, *, assign: str = " ") -> str:
    """Return what to use instead of `word`, or a guess by its spelling; "" if nothing is known.

    `write` writes a setting as an option, a variable or a key; `assign` stands between it and a value.
    """
    name = word.lstrip("-")
    plain = name if len(name) == 1 else name.lower().replace("_", "-")
    found = ELSEWHERE.get(plain)
    if found is None:
        meant = closest(name, FIELDS)
        return f"did you mean {write(meant)}?" if meant else ""
    if found.words:
        return found.words
    value = f"{assign}{found.value}" if found.value and assign else ""
    return f"use {' or '.join(f'{write(name)}{value}' for name in found.settings)}"
