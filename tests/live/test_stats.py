"""The numbers of a real daemon: the sums are those of the clients, whatever became of the workers meanwhile."""

import contextlib
import os
import signal
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from flaskd import Server
from flaskd_ctl import Client
from flaskd_ctl.errors import NotFound, WrongState
from tests.support import shop
from tests.support.daemons import PATIENCE, StartDaemon
from tests.support.exchange import Plan
from tests.support.load import Load
from tests.support.operating import Watch, client, ctl, settled

pytestmark = pytest.mark.live

ENGINES = ["werkzeug", "waitress", "granian"]

APP = """
import flask
app = flask.Flask(__name__)
@app.get("/")
def front():
    return "hello"
@app.get("/broken")
def broken():
    raise ValueError
"""


@pytest.fixture
def app(tmp_path: Path) -> Path:
    (tmp_path / "numbered.py").write_text(APP)
    return tmp_path


def get(url: str, **headers: str) -> int:
    request = urllib.request.Request(
        url, headers={key.replace("_", "-"): value for key, value in headers.items()}
    )
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as response:
            response.read()
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code


@pytest.mark.timeout(120)
@pytest.mark.parametrize("engine", ENGINES)
def test_sums_are_the_clients_own_over_reload_scaling_and_recycling(
    start_daemon: StartDaemon, engine: str
) -> None:
    """No request is counted twice or not at all: by `stats`, in each window, and by `status`."""
    recycling = ["--max-requests", "150", "--max-requests-jitter", "50"]
    daemon = start_daemon("httpbin:app", "--engine", engine, "--workers", "2", *recycling)
    plan = Plan(mode="closed", clients=8, seconds=90)
    with Watch(daemon) as watch, Load(daemon.url, plan) as load, client(daemon) as running:
        for _ in range(3):
            watch.until_worker("leaving")
        running.reload()
        running.scale(3)
        running.stats()
        running.scale(1)
        watch.until_worker("gone")
        running.reload()
        report = load.end(tail=0.3)
        stats, status = settled(running), running.status()

    assert (report.lost, report.refused) == ([], 0)
    assert sum(stats.total.served.values()) == report.ok
    assert stats.total.start.requests == stats.total.hour.requests == report.ok
    assert sum(each.start.requests for each in stats.endpoints) == report.ok
    assert stats.total.served == status.served
    assert stats.starts["reload"] >= 2
    assert sum(stats.ends.values()) == sum(stats.starts.values()) - len(stats.workers)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_killed_worker_takes_no_number_with_it(start_daemon: StartDaemon, app: Path, engine: str) -> None:
    """What it had finished stays counted; only what was in flight is not."""
    daemon = start_daemon("numbered:app", "--engine", engine, "--workers", "1", cwd=app)
    for _ in range(20):
        assert get(daemon.url) == 200
    assert get(f"{daemon.url}/broken") == 500
    with Watch(daemon) as watch, client(daemon) as running:
        (worker,) = running.workers()
        settled(running)
        os.kill(worker.pid, signal.SIGSTOP)
        stopped = running.stats()
        os.kill(worker.pid, signal.SIGKILL)
        watch.until_worker("gone", worker=worker.id)
        dead = running.stats()

    assert stopped.total.served == dead.total.served
    assert (dead.total.served["2xx"], dead.total.served["5xx"], dead.total.start.errors) == (20, 1, 1)
    assert dead.ends == {"crash": 1}
    assert dead.cpu is not None
    assert stopped.cpu is not None
    assert dead.cpu >= stopped.cpu > 0


@pytest.mark.parametrize("engine", ENGINES)
def test_a_request_without_a_free_thread_waits_and_is_counted(
    start_daemon: StartDaemon, tmp_path: Path, engine: str
) -> None:
    """In the worker, or with Werkzeug in the accept queue; and by the time that it waited once it has ended."""
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    daemon = start_daemon(
        "tests.support.shop:app",
        *("--engine", engine, "--workers", "1", "--threads", "2"),
        environ={"SHOP_GATE": str(gate)},
    )
    asked = [threading.Thread(target=get, args=[f"{daemon.url}/held"]) for _ in range(4)]
    for thread in asked:
        thread.start()
    with client(daemon) as running:

        def waiting() -> int:
            stats = running.stats()
            if stats.in_flight != 2:
                return 0
            return (stats.listeners[0].queue or 0) if engine == "werkzeug" else stats.queue.waiting

        while waiting() != 2:
            pass  # pytest's time limit ends it
        began = time.monotonic()
        while any(thread.is_alive() for thread in asked):
            with contextlib.suppress(OSError):  # nobody has opened the other end yet
                os.close(os.open(gate, os.O_WRONLY | os.O_NONBLOCK))
            asked[-1].join(0.01)
        stats = settled(running)
        queue, (worker,) = stats.queue, stats.workers

    assert (worker.in_flight, worker.waiting, worker.served["2xx"]) == (0, 0, 4)
    if engine != "werkzeug":
        assert (queue.waiting, queue.waited) == (0, 2)
        assert 0 < queue.seconds < 2 * (time.monotonic() - began + PATIENCE)


def test_a_proxys_word_counts_only_if_it_is_trusted(start_daemon: StartDaemon, app: Path) -> None:
    """Anybody can send X-Request-Start."""
    for trusted, waits in (("0", 0), ("1", 1)):
        daemon = start_daemon("numbered:app", "--trusted-proxies", trusted, name=f"behind-{trusted}", cwd=app)
        assert get(daemon.url, X_Request_Start="t=1767225600.25") == 200  # too long ago to be true
        with client(daemon) as running:
            assert settled(running).queue.waited == 0
        assert get(daemon.url, X_Request_Start=f"t={time.time() - 5}") == 200
        with client(daemon) as running:
            queue = settled(running).queue
        assert queue.waited == waits
        assert (queue.seconds > 4.9) is bool(waits)


def test_one_worker_or_endpoint_can_be_looked_at(start_daemon: StartDaemon, app: Path) -> None:
    """What is not there is refused, with the next step."""
    daemon = start_daemon("numbered:app", "--workers", "2", cwd=app)
    for path in ("/", "/", "/broken", "/nowhere"):
        get(f"{daemon.url}{path}")
    with client(daemon) as running:
        workers = settled(running).workers
        front = running.stats("front")
        each = [running.stats(worker=worker.worker) for worker in workers]
        with pytest.raises(NotFound, match="there is no worker 9"):
            running.stats(worker=9)
        with pytest.raises(NotFound, match="no request of the endpoint 'nowhere'"):
            running.stats("nowhere")

    assert [(one.endpoint, one.rule, one.served["2xx"]) for one in front.endpoints] == [("front", "/", 2)]
    assert sum(one.total.start.requests for one in each) == 4
    assert [len(one.workers) for one in each] == [1, 1]
    shown = ctl(daemon.name, "stats")
    assert shown.returncode == 0
    assert "(no route)" in shown.stdout
    assert ctl(daemon.name, "stats", "--endpoint", "front").returncode == 0
    assert ctl(daemon.name, "stats", "--worker", "9").returncode == 1


def test_without_the_ledger_there_are_no_numbers(start_daemon: StartDaemon, app: Path) -> None:
    """That is said, rather than zeros."""
    daemon = start_daemon("numbered:app", "--no-ledger", cwd=app)
    with client(daemon) as running, pytest.raises(WrongState, match=r"the ledger of requests is off"):
        running.stats()


def test_a_server_in_a_program_has_numbers(runtime_dir: str) -> None:
    """Of its one process."""
    with Server(shop.app, bind="127.0.0.1:0", name="inside") as server, Client("inside") as inside:
        for _ in range(3):
            assert get(server.status().listeners[0]) == 200
        stats = settled(inside)
        with pytest.raises(WrongState, match="which has no workers"):
            inside.stats(worker=1)

    assert (stats.total.served["2xx"], stats.endpoints[0].endpoint) == (3, "front")
    assert [(one.worker, one.pid) for one in stats.workers] == [(0, os.getpid())]
