"""What a daemon costs that is let be, and one that is never let be: no wake-ups, and nothing that grows."""

import contextlib
import os
import time
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from benchmarks import procfs
from tests.support.caller import call
from tests.support.daemons import Daemon, StartDaemon
from tests.support.operating import Watch, children, client

pytestmark = pytest.mark.live

APP: Final = """
import flask
app = flask.Flask(__name__)
@app.get("/")
def front():
    return "front"
"""

WARM: Final = 10
"""Reloads after which whatever is kept for the next one is there."""

RELOADS: Final = int(os.environ.get("RELOADS", "40"))
"""Reloads in all: 200 take a minute or more."""

GROWTH: Final = 1024 * 1024
"""Bytes that the allocator may take meanwhile (it settles after some hundred); thirty workers kept would have more."""


class Size(NamedTuple):
    """What a process has; `memory` is bytes of its own (file pages count as its own or not by who else reads the file)."""

    descriptors: list[str]
    threads: int
    memory: int


def size(daemon: Daemon) -> Size:
    """Look until so many looks show the same: pipes and connections of what is gone are closed a moment later."""
    seen, same = _size(daemon.pid), 0
    with client(daemon) as shop:
        while same < 50:
            shop.ping()
            now = _size(daemon.pid)
            same = same + 1 if now[:2] == seen[:2] else 0
            seen = now
    return seen


def _size(pid: int) -> Size:
    names = []
    for number in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            names.append(os.readlink(f"/proc/{pid}/fd/{number}"))
    kinds = sorted(name.partition(":")[0] for name in names)
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    memory = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Private_Dirty:"))
    return Size(kinds, len(os.listdir(f"/proc/{pid}/task")), memory)


@pytest.fixture
def app(tmp_path: Path) -> Path:
    (tmp_path / "shop.py").write_text(APP)
    return tmp_path


@pytest.mark.parametrize("engine", ["werkzeug", "granian"])
def test_nobody_wakes_up_while_nothing_happens(start_daemon: StartDaemon, app: Path, engine: str) -> None:
    """Neither the supervisor nor a worker, nor a thread of either, after everything that may set a timer.

    The quietest of some windows counts: a timer wakes somebody in each, a page that is read from disk does not.
    """
    daemon = start_daemon("shop:app", "--workers", "2", "--engine", engine, cwd=app)
    with client(daemon) as shop, Watch(daemon) as watch:
        shop.reload()
        while len(shop.workers()) > 2:
            watch.until_worker("gone")
        call(daemon.url, "/")
    woken = {pid: _wake_ups(pid) for pid in (daemon.pid, *children(daemon.pid))}
    assert len(woken) == 3
    assert {pid: min(counts) for pid, counts in woken.items()} == dict.fromkeys(woken, 0)


def _wake_ups(pid: int) -> list[int]:
    counts = []
    for _ in range(3):
        before = procfs.wake_ups([pid])
        time.sleep(1)
        counts.append(procfs.wake_ups([pid]) - before)
        if not counts[-1]:
            break
    return counts


@pytest.mark.timeout(600)
def test_a_daemon_that_is_reloaded_again_and_again_does_not_grow(
    start_daemon: StartDaemon, app: Path
) -> None:
    """Neither descriptors nor threads nor memory of the supervisor."""
    daemon = start_daemon("shop:app", "--engine", "werkzeug", cwd=app)
    _reload(daemon, WARM)
    before = size(daemon)
    _reload(daemon, RELOADS - WARM)
    after = size(daemon)
    assert after.descriptors == before.descriptors
    assert after.threads == before.threads
    assert after.memory - before.memory < GROWTH


def _reload(daemon: Daemon, times: int) -> None:
    """Reload so often, and wait until all old workers are gone."""
    with client(daemon) as shop:
        for _ in range(times):
            shop.reload()
        while len(shop.workers()) > 1:
            pass  # each round is a question to the daemon, and no subscription that would end with the next event only
