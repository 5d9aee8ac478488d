"""The servers that are compared: how each is run with 8 threads a worker, and operated.

Every one listens on 127.0.0.1, on a port that the kernel chooses, and is stopped and reloaded as its documentation
says: by a signal or through a FIFO, flaskd by `flaskd_ctl`.
"""

import dataclasses
import importlib.util
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterable
from typing import Final

from benchmarks.running import ROOT, Running, Setup, script
from benchmarks.timing import command_seconds

THREADS: Final = "8"

Way = Callable[[Running], None]
"""A way to ask a server for something."""


def signalled(number: signal.Signals) -> Way:
    """Ask by a signal to the first process."""
    return lambda running: running.process.send_signal(number)


def ordered(command: str) -> Way:
    """Ask by `flaskd_ctl`, and wait for it as people do."""

    def ask(running: Running) -> None:
        command_seconds([*running.ctl, command])

    return ask


def chained(running: Running) -> None:
    """Ask uWSGI to replace one worker after the other; while its master is still at the last time, it would not listen."""
    while (log := running.log()).count("chain reload starting") > log.count("chain reloading complete"):
        time.sleep(0.01)
    with open(os.path.join(running.directory, "fifo"), "wb", buffering=0) as fifo:
        fifo.write(b"c")


TERM: Final = signalled(signal.SIGTERM)
HUP: Final = signalled(signal.SIGHUP)


@dataclasses.dataclass(frozen=True)
class Contender:
    """A server. `modules` are what must be installed; `reload` None: it has no way to load the application anew.

    `most_workers` 1: it serves in one process only.
    """

    name: str
    modules: tuple[str, ...]
    command: Callable[[Setup], list[str]]
    stop: Way = TERM
    reload: Way | None = HUP
    most_workers: int = 999

    @property
    def installed(self) -> bool:
        """It can be run here."""
        return all(importlib.util.find_spec(each) or shutil.which(script(each)) for each in self.modules)


def python(*args: str) -> list[str]:
    """Spell out a command of this interpreter."""
    return [sys.executable, *args]


def flaskd(*options: str, name: str, engine: str) -> Contender:
    """Return flaskd with this engine and these options of `flaskd run`."""

    def command(setup: Setup) -> list[str]:
        common = f"--threads {THREADS} --workers {setup.workers} --bind 127.0.0.1:{setup.port}".split()
        place = ["--name", "bench", "--runtime-dir", setup.directory]
        return python("-m", "flaskd", "run", setup.app, "--engine", engine, *common, *place, *options)

    return Contender(name, (engine,), command, stop=ordered("shutdown"), reload=ordered("reload"))


def gunicorn(parser: str, *modules: str, name: str) -> Contender:
    """Return gunicorn's threaded worker with this HTTP parser."""

    def command(setup: Setup) -> list[str]:
        served = f"--bind 127.0.0.1:{setup.port} --workers {setup.workers} --threads {THREADS}".split()
        return python(
            *("-m", "gunicorn", *served, "--http-parser", parser, "--log-level", "error"),
            *("--control-socket", f"{setup.directory}/gunicorn.ctl", setup.app),
        )

    return Contender(name, ("gunicorn", *modules), command)


FLASKD: Final = flaskd(name="flaskd on waitress", engine="waitress")  # what `pip install flaskd` gives
FLASKD_WERKZEUG: Final = flaskd(name="flaskd on Werkzeug", engine="werkzeug")
FLASKD_GRANIAN: Final = flaskd(name="flaskd on granian", engine="granian")
OURS: Final = (FLASKD_GRANIAN, FLASKD, FLASKD_WERKZEUG)
GUNICORN: Final = gunicorn("python", name="gunicorn gthread")
GUNICORN_C: Final = gunicorn("fast", "gunicorn_h1c", name="gunicorn gthread, C parser")
GRANIAN: Final = Contender(
    "granian",
    ("granian",),
    lambda setup: python(
        *f"-m granian --interface wsgi --port {setup.port} --workers {setup.workers}".split(),
        *f"--blocking-threads {THREADS} --no-log {setup.app}".split(),
    ),
)
UVICORN: Final = Contender(
    "uvicorn + a2wsgi",
    ("uvicorn", "a2wsgi"),
    lambda setup: python(
        *f"-m uvicorn --port {setup.port} --workers {setup.workers} --log-level error".split(),
        "benchmarks.asgi_app:app",
    ),
)
UWSGI: Final = Contender(
    "uWSGI",
    ("uwsgi",),
    lambda setup: [
        *(script("uwsgi"), "--home", sys.prefix, "--pythonpath", ROOT, "--module", setup.app),
        *f"--http-socket 127.0.0.1:{setup.port} --master --workers {setup.workers} --lazy-apps".split(),
        *f"--threads {THREADS} --disable-logging --master-fifo {setup.directory}/fifo".split(),
        *("--buffer-size", "32768"),  # longer request heads; and it closes each connection without saying so
        *("--add-header", "Connection: close"),
        *("--hook-master-start", "unix_signal:15 gracefully_kill_them_all"),
    ],
    reload=chained,
)
WAITRESS: Final = Contender(
    "waitress",
    ("waitress",),
    lambda setup: python(
        *f"-m waitress --listen=127.0.0.1:{setup.port} --threads={THREADS} {setup.app}".split()
    ),
    stop=signalled(signal.SIGINT),  # it has no handler for SIGTERM; for SIGINT it has its own graceful way
    reload=None,
    most_workers=1,
)
WERKZEUG: Final = Contender(
    "Werkzeug's own server",
    ("werkzeug",),
    lambda setup: python("-m", "benchmarks.bare_werkzeug", setup.app, str(setup.port)),
    reload=None,
    most_workers=1,
)
PEERS: Final = (GRANIAN, GUNICORN, GUNICORN_C, UVICORN, UWSGI, WAITRESS, WERKZEUG)
ALL: Final = (*OURS, *PEERS)


def in_order(names: Iterable[str]) -> list[str]:
    """Sort names of contenders as they are listed here, each one's variants after it."""
    listed = [each.name for each in ALL]

    def place(name: str) -> tuple[int, str]:
        bases = [listed.index(base) for base in listed if name == base or name.startswith(f"{base}, ")]
        return max(bases, default=len(listed)), name

    return sorted(names, key=place)
