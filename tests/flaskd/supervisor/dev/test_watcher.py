"""The watcher, with real files and a real kernel."""

import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flaskd.supervisor.dev import watcher as module
from flaskd.supervisor.dev.files import Watched
from flaskd.supervisor.dev.watcher import Watcher
from tests.support.daemons import PATIENCE
from tests.support.needs import requires

pytestmark = pytest.mark.live

Changes = "queue.Queue[list[str]]"
Begin = Callable[[Watched], tuple[Watcher, "queue.Queue[list[str]]"]]


@pytest.fixture
def begin() -> Iterator[Begin]:
    """Start watchers that watch when this returns."""
    begun: list[Watcher] = []

    def start(watched: Watched) -> tuple[Watcher, "queue.Queue[list[str]]"]:
        changes: queue.Queue[list[str]] = queue.Queue()
        ready = threading.Event()

        class Ready(Watcher):
            def _scan(self) -> dict[str, object]:
                found = super()._scan()
                ready.set()
                return found

        watcher = Ready(watched, changes.put)
        begun.append(watcher)
        watcher.start()
        assert ready.wait(PATIENCE)
        return watcher, changes

    yield start
    for watcher in begun:
        watcher.stop()
        watcher._thread.join(PATIENCE)
        assert not watcher._thread.is_alive()


@pytest.fixture(params=["", "true"], ids=["kernel", "polling"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the kernel and by polling, as watchfiles' own variable says."""
    monkeypatch.setenv("WATCHFILES_FORCE_POLLING", request.param)


@pytest.mark.usefixtures("way")
def test_a_saved_file_is_told_and_others_are_not(tmp_path: Path, begin: Begin) -> None:
    """In place, and as most editors save: another file renamed to it."""
    file = tmp_path / "shop.py"
    file.write_text("1")
    _, changes = begin(Watched(roots=(str(tmp_path),)))

    file.write_text("22")
    assert changes.get(timeout=PATIENCE) == [str(file)]

    (tmp_path / ".shop.py.swp").write_text("x")
    (tmp_path / "shop.db").write_text("x")
    (tmp_path / ".shop.py.new").write_text("333")
    os.replace(tmp_path / ".shop.py.new", file)
    assert changes.get(timeout=PATIENCE) == [str(file)]

    file.unlink()
    assert changes.get(timeout=PATIENCE) == [str(file)]
    assert changes.empty()


@pytest.mark.usefixtures("way")
def test_a_new_directory_is_watched_too(tmp_path: Path, begin: Begin) -> None:
    """With what was in it before the kernel was asked."""
    _, changes = begin(Watched(roots=(str(tmp_path),)))
    package = tmp_path / "cart"
    package.mkdir()
    (package / "models.py").write_text("1")
    assert changes.get(timeout=PATIENCE) == [str(package / "models.py")]

    (package / "models.py").write_text("22")
    assert changes.get(timeout=PATIENCE) == [str(package / "models.py")]


def test_no_change_is_missed_while_other_files_are_watched(tmp_path: Path, begin: Begin) -> None:
    """After each save the set of watched files is another one, as after each reload."""
    (tmp_path / "shop.py").write_text("0")
    (tmp_path / "lib").mkdir()
    watcher, changes = begin(Watched(roots=(str(tmp_path),)))
    for number in range(1, 40):
        (tmp_path / "shop.py").write_text(str(number))
        files = frozenset({str(tmp_path / f"lib/{number}.x")})
        watcher.use(Watched(roots=(str(tmp_path),), files=files))
        assert changes.get(timeout=PATIENCE) == [str(tmp_path / "shop.py")], number


LIMITED = """
import os, sys, threading
open("/proc/sys/user/max_inotify_watches", "w").write("1")
from flaskd.supervisor.dev.watcher import Watcher
from flaskd.supervisor.dev.files import Watched
root = sys.argv[1]
changed = threading.Event()
watcher = Watcher(Watched(roots=(root,)), lambda paths: changed.set())
ready, scan = threading.Event(), watcher._scan
watcher._scan = lambda: (scan(), ready.set())[0]
watcher.start()
assert ready.wait(30)
open(os.path.join(root, "a", "x.py"), "w").write("new")
sys.exit(0 if changed.wait(30) else 1)
"""


@requires("root", "user namespace")
def test_without_watches_left_it_polls_and_says_so(tmp_path: Path) -> None:
    """user_namespaces(7) can have a limit of its own (inotify(7))."""
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
    command = ["unshare", "--user", "--map-root-user", sys.executable, "-c", LIMITED, str(tmp_path)]
    environ = {name: value for name, value in os.environ.items() if name != "WATCHFILES_FORCE_POLLING"}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=2 * PATIENCE, check=False, env=environ
    )
    assert done.returncode == 0, done.stderr
    assert "the kernel cannot watch 4 directories" in done.stderr
    assert f"looks at each file every {module.POLL_PAUSE} ms" in done.stderr
