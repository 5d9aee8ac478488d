"""The first worker's process is there before the supervisor knows what for; it becomes a worker like any other, or ends."""

import _socket
import json
import os
import select
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from flaskd.supervisor import early_worker
from flaskd.supervisor.early_worker import FIRST, LARGEST, EarlyWorker
from flaskd_ctl import Client
from tests.flaskd.conftest import WAIT
from tests.support.daemons import StartDaemon
from tests.support.needs import requires
from tests.support.operating import children, client

# Python 3.12 and later warn of a fork beside other threads, which the tests have and `flaskd run` has not.
pytestmark = pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")

APP = """
import os, signal, sys, flask
app = flask.Flask("shop")
SIGNALS = ("SigBlk", "SigIgn", "SigCgt")
app.add_url_rule("/", "front", lambda: {
    "notify": os.environ.get("NOTIFY_SOCKET"), "argv": sys.argv, "pid": os.getpid(), "session": os.getsid(0),
    "marked": os.environ.get("MARKED"), "directory": os.getcwd(), "tty": sys.stdout.isatty(),
    "path": sys.path, "main": sys.modules["__main__"].__spec__.name, "input": os.readlink("/proc/self/fd/0"),
    "streams": [sys.stdout.encoding.lower(), sys.stderr.encoding.lower(), sys.stderr.errors],
    "signals": [line for line in open("/proc/self/status").read().splitlines() if line.startswith(SIGNALS)],
})
"""

RECEIVER = """
import json, os, sys
from flaskd.worker.handover import receive
channel, role = receive(int(sys.argv[1]))
found = {"channel": channel, "role": role, "environ": os.environ.get("MARKED"), "other": os.environ.get("OTHER")}
found["files"] = {number: os.fstat(number).st_ino for number in (1, 2, channel, channel + 3)}
os.write(channel, json.dumps(found).encode())
"""


@pytest.fixture
def early() -> Iterator[EarlyWorker]:
    """A process that waits."""
    early = EarlyWorker()
    yield early
    early.end()


def gone(pid: int) -> bool:
    """Wait for the end of a process."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], WAIT)[0])
    finally:
        os.close(descriptor)


def test_it_gets_descriptors_under_the_numbers_that_it_is_told_and_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What it had before is gone, with what systemd said to the supervisor alone."""
    monkeypatch.setenv("MARKED", "caf\udce9")
    early = EarlyWorker.__new__(EarlyWorker)
    early._ours, theirs = _socket.socketpair()
    receiver = subprocess.Popen(
        [sys.executable, "-c", RECEIVER, str(theirs.fileno())],
        pass_fds=[theirs.fileno()],
        env={**os.environ, "OTHER": "left over"},
    )
    theirs.close()
    read_end, write_end = os.pipe()
    files = [open(tmp_path / name, "wb") for name in ("stdout", "stderr", "table")]  # noqa: SIM115 - closed below
    try:
        numbers = early.give([write_end, *(file.fileno() for file in files)], "template")

        assert numbers is not None
        assert [numbers[each] for each in (write_end, *(file.fileno() for file in files))] == [
            FIRST,
            1,
            2,
            FIRST + 3,
        ]
        os.close(write_end)
        found = json.loads(os.read(read_end, 65_536))
        assert (found["environ"], found["other"], found["role"]) == ("caf\udce9", None, "template")
        assert found["files"]["1"] == os.fstat(files[0].fileno()).st_ino
        assert found["files"][str(FIRST + 3)] == os.fstat(files[2].fileno()).st_ino
    finally:
        os.close(read_end)
        for file in files:
            file.close()
        assert receiver.wait(WAIT) == 0


def test_it_inherits_nothing_but_its_end_of_the_socket() -> None:
    """Not what the supervisor has from systemd, or from whoever has started it."""
    read_end, write_end = os.pipe()
    os.set_inheritable(write_end, True)
    early = EarlyWorker()
    os.close(write_end)
    try:
        assert select.select([read_end], [], [], WAIT)[0]
        assert os.read(read_end, 1) == b""  # nobody has the other end
        assert os.waitid(os.P_PID, early.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    finally:
        early.end()
        os.close(read_end)


def test_it_ends_with_the_supervisor(tmp_path: Path) -> None:
    """Also if that is killed before it has handed anything over."""
    code = (
        "import os; from flaskd.supervisor import early_worker\n"
        "if early_worker.begin(): early_worker.serve()\n"
        "print(early_worker._waiting.pid, flush=True); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=WAIT
    )
    assert gone(int(done.stdout))


def test_one_that_does_not_fit_is_ended(early: EarlyWorker, monkeypatch: pytest.MonkeyPatch) -> None:
    """It runs elsewhere, or not as the user that is wanted; whoever asks next starts one of its own."""
    for directory, fits in (("/elsewhere", True), (early.directory, False)):
        other = EarlyWorker()
        monkeypatch.setattr(early_worker, "_waiting", other)
        assert early_worker.take(directory, fits=fits) is None
        assert gone(other.pid)
    monkeypatch.setattr(early_worker, "_waiting", early)
    assert early_worker.take(early.directory, fits=True) is early
    assert early_worker.take(early.directory, fits=True) is None


def test_one_that_has_died_or_cannot_be_told_all_is_not_used(
    early: EarlyWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then a worker is started as any other."""
    dead = EarlyWorker()
    dead.send_signal(9)
    assert gone(dead.pid)
    read_end, write_end = os.pipe()
    try:
        assert dead.give([write_end] * 3) is None
        assert dead.wait() == -9
        monkeypatch.setenv("LONG", "x" * LARGEST)
        assert early.give([write_end] * 3) is None
        assert gone(early.pid)
    finally:
        os.close(read_end)
        os.close(write_end)


AGENT = """
import threading
threading.Thread(target=threading.Event().wait, daemon=True).start()
"""


@pytest.mark.live
@pytest.mark.parametrize("way", ["forked", "executed anew", "output closed", "template"])
def test_the_first_worker_is_a_worker_like_any_other(
    start_daemon: StartDaemon, tmp_path: Path, way: str
) -> None:
    """What it sees of itself is what the next one sees, which is executed; but the first one shares the supervisor's memory."""
    (tmp_path / "shop.py").write_text(APP)
    environ = {"MARKED": "yes"}
    if way == "executed anew":  # Python loads this first, so there is a thread before any worker
        (tmp_path / "agent").mkdir()
        (tmp_path / "agent" / "sitecustomize.py").write_text(AGENT)
        environ["PYTHONPATH"] = str(tmp_path / "agent")
    options = ["--preload"] if way == "template" else []
    prefix = ["sh", "-c", 'exec "$@" >&- 2>&-', "sh"] if way == "output closed" else []
    daemon = start_daemon("shop:app", *options, cwd=tmp_path, environ=environ, prefix=prefix)
    with client(daemon) as shop:
        first = seen(daemon.url)
        started = newest(daemon.pid, shop, template=way == "template")
        assert (command_of(started) == command_of(daemon.pid)) is (way != "executed anew")
        assert (shared_kib(started) > LEAST_SHARED) is (way != "executed anew")
        shop.reload()
        second = seen(daemon.url)
        started = newest(daemon.pid, shop, template=way == "template")
        assert command_of(started) != command_of(daemon.pid)
    for found in (first, second):
        assert found.pop("pid") == found.pop("session")
        argv = found["argv"]
        assert isinstance(argv, list)
        argv[1] = "descriptor"
    assert first == second
    assert (second["notify"], second["marked"], second["directory"], second["tty"]) == (
        None,
        "yes",
        str(tmp_path),
        False,
    )


@pytest.mark.live
@requires("root")
def test_where_it_cannot_be_used_none_is_left(start_daemon: StartDaemon) -> None:
    """A worker of another user is not this process."""
    daemon = start_daemon("httpbin:app", environ={"FLASKD_WORKER_USER": "root"})
    assert [command_of(pid)[1:4] for pid in children(daemon.pid)] == [[b"-P", b"-m", b"flaskd.worker"]]


@pytest.mark.live
@pytest.mark.parametrize(
    "words", [["nosuch:app"], ["shop:app", "--threads", "none"], ["shop:app", "--nonsense"], []]
)
def test_a_start_that_fails_leaves_no_process(words: list[str], tmp_path: Path) -> None:
    """Whatever it fails for."""
    marked = f"early-{os.getpid()}-{tmp_path.name}"
    environ = {**os.environ, "MARKED": marked, "XDG_RUNTIME_DIR": str(tmp_path)}
    command = [sys.executable, "-m", "flaskd", "run", *words, "--bind", "127.0.0.1:0"]
    done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, timeout=60, check=False)
    assert done.returncode in {1, 2}, done.stderr
    left = []
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            if marked.encode() in (directory / "environ").read_bytes():
                left.append(directory.name)
        except OSError:
            continue
    assert not left


LEAST_SHARED = 2048
"""KiB of memory that are written and yet shared: fewer come from the C library and Python alone."""


def shared_kib(pid: int) -> int:
    """Return how much of its memory a process has in common with others, files aside."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Shared_Dirty"))


def command_of(pid: int) -> list[bytes]:
    """Return the command line of a process."""
    return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")


def newest(supervisor: int, shop: Client, *, template: bool) -> int:
    """Return the newest worker's process, or the newest template's."""
    workers = {each.id: each.pid for each in shop.workers()}
    return max(set(children(supervisor)) - set(workers.values())) if template else workers[max(workers)]


def seen(url: str) -> dict[str, object]:
    """Ask the application for what it sees."""
    from tests.support.caller import call

    found: dict[str, object] = json.loads(call(url, "/"))
    return found
