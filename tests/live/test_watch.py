"""Workers of a real daemon that hang, wear out or have slow requests: what is done about them, and what is told."""

import contextlib
import itertools
from pathlib import Path
from typing import Final

import pytest

from pytest_flaskd.ready import NotServing
from tests.support.balancers import wait_until
from tests.support.caller import Caller, call
from tests.support.daemons import Daemon, StartDaemon
from tests.support.operating import Watch, client

pytestmark = pytest.mark.live

APP: Final = """
import ctypes, os, signal, time, flask
app = flask.Flask(__name__)
hoard = []
@app.get("/")
def index():
    return str(os.getpid())
@app.get("/sleep/<float:seconds>")
def nap(seconds):
    time.sleep(seconds)
    return "slept"
@app.get("/fail/<float:seconds>")
def fail(seconds):
    time.sleep(seconds)
    raise SystemError("late")
@app.get("/drip/<float:seconds>")
def drip(seconds):
    def parts():
        yield "begun "
        time.sleep(seconds)
        yield "ended"
    return flask.Response(parts())
@app.get("/gil")
def hold_gil():
    ctypes.PyDLL(None).sleep(60)
@app.get("/stop")
def stop():
    os.kill(os.getpid(), signal.SIGSTOP)  # returns before the process stops where another thread takes the signal
    time.sleep(60)
@app.get("/grow/<int:mebibytes>")
def grow(mebibytes):
    hoard.append(b"x" * (mebibytes << 20))
    return "grown"
"""

ENGINES: Final = ["werkzeug", "granian"]


def start(start_daemon: StartDaemon, tmp_path: Path, *args: str) -> Daemon:
    (tmp_path / "shop.py").write_text(APP)
    return start_daemon("shop:app", *args, cwd=tmp_path)


def broken(caller: Caller) -> bool:
    try:
        caller.read()
    except (EOFError, ConnectionResetError):
        return True
    return False


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("path", "seen", "said"),
    [
        ("/sleep/60.0", "in nap", ""),
        ("/gil", "in hold_gil", ""),
        ("/stop", "", "it could not write its stacks (it is stopped, as by SIGSTOP)"),
    ],
)
def test_a_hung_worker_is_replaced_with_its_stacks_and_requests_kept(
    start_daemon: StartDaemon, tmp_path: Path, engine: str, path: str, seen: str, said: str
) -> None:
    """Also where C code holds the GIL; a stopped process can say nothing, and that is said."""
    daemon = start(start_daemon, tmp_path, "--engine", engine, "--worker-timeout", "1")
    with Watch(daemon) as watch, Caller(daemon.url) as caller:
        caller.get(path)
        incident = watch.until_incident()
        assert broken(caller)
        watch.until_worker("serving")
    assert (incident["kind"], incident["worker"], incident["stacks"]) == ("hung", 1, "")
    assert "(--worker-timeout" in incident["reason"]
    assert said in incident["reason"]
    with client(daemon) as shop:
        (shown,) = shop.incidents(incident["id"])
        assert ([request.path for request in shown.requests], shown.unnamed) == ([path], 0)
        assert seen in shown.stacks
        assert bool(seen) == bool(shown.stacks)
        assert shop.status().restarts == 1
    assert call(daemon.url, "/") != str(incident["pid"])


def test_without_a_ledger_a_worker_hangs_that_gives_no_sign_of_life(
    start_daemon: StartDaemon, tmp_path: Path
) -> None:
    """Its requests have no names, so the connection that is lost is counted."""
    daemon = start(start_daemon, tmp_path, "--no-ledger", "--worker-timeout", "1", "--engine", "werkzeug")
    with Watch(daemon) as watch, Caller(daemon.url) as caller:
        caller.get("/gil")
        incident = watch.until_incident()
    assert incident["reason"] == "gave no sign of life for 1 s (--worker-timeout)"
    assert (incident["requests"], incident["unnamed"]) == ([], 1)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_worker_that_has_answered_enough_is_replaced_new_before_old(
    start_daemon: StartDaemon, tmp_path: Path, engine: str
) -> None:
    """And every request is answered."""
    daemon = start(start_daemon, tmp_path, "--engine", engine, "--max-requests", "5")
    with Watch(daemon) as watch:
        first = call(daemon.url, "/")
        answers = [call(daemon.url, "/") for _ in range(4)]
        assert set(answers) == {first}
        told = [watch.until(lambda event: event["event"] == "worker") for _ in range(4)]
    assert [(event["worker"], event["state"], event["why"]) for event in told] == [
        (2, "starting", "max requests"),
        (2, "serving", "max requests"),
        (1, "leaving", "max requests"),
        (1, "gone", "exit code 0"),
    ]
    assert call(daemon.url, "/") != first
    with client(daemon) as shop:
        assert (shop.status().restarts, shop.incidents()) == (0, [])  # nothing went wrong


def test_workers_are_replaced_at_their_age_for_ever(start_daemon: StartDaemon, tmp_path: Path) -> None:
    """One after the other."""
    daemon = start(start_daemon, tmp_path, "--max-worker-age", "0.5")
    with Watch(daemon) as watch:
        for worker in itertools.islice(itertools.count(2), 2):
            event = watch.until_worker("serving")
            assert (event["worker"], event["why"]) == (worker, "max age")


def test_a_worker_that_has_grown_too_large_is_replaced(start_daemon: StartDaemon, tmp_path: Path) -> None:
    """Resident memory counts; the new one is small again."""
    daemon = start(start_daemon, tmp_path, "--max-worker-memory", "150M")
    with Watch(daemon) as watch:
        first = call(daemon.url, "/")
        assert call(daemon.url, "/grow/200") == "grown"
        event = watch.until_worker("leaving")
        watch.until_worker("gone")
    assert event["worker"] == 1
    assert event["why"].startswith("max memory: 2")
    assert call(daemon.url, "/") != first


def test_a_slow_request_is_told_and_answered(start_daemon: StartDaemon, tmp_path: Path) -> None:
    """When it has become slow, once, with its worker; a quick one is not told."""
    daemon = start(start_daemon, tmp_path, "--request-timeout", "1")
    with Watch(daemon) as watch, Caller(daemon.url) as caller:
        call(daemon.url, "/")
        caller.get("/sleep/3.0")
        told = watch.until(lambda event: event["event"] == "slow")
        assert caller.text() == "slept"
        with client(daemon) as shop:
            shop.shutdown()
        assert not [event for event in watch.events() if event["event"] == "slow"]
    request = told["request"]
    assert (request["path"], request["worker"], told["limit"]) == ("/sleep/3.0", 1, 1.0)
    assert 1.0 <= request["age"] < 3.0


@pytest.mark.parametrize("engine", ["granian", "waitress"])
def test_a_slow_request_may_be_answered_in_the_place_of_the_application(
    start_daemon: StartDaemon, tmp_path: Path, engine: str
) -> None:
    """With 503, when it has become slow; what the application says later is dropped, and what has begun goes on."""
    args = [
        "--engine",
        engine,
        "--request-timeout",
        "0.4",
        "--request-timeout-answer",
        "--access-log",
        "common",
    ]
    daemon = start(start_daemon, tmp_path, *args, "--threads", "8")
    with contextlib.ExitStack() as stack:
        paths = ["/sleep/1.2", "/fail/1.2", "/drip/1.2", "/sleep/0.0"]
        callers = [stack.enter_context(Caller(daemon.url)).get(path) for path in paths]
        headless = stack.enter_context(Caller(daemon.url))
        headless.send(b"HEAD /sleep/1.2 HTTP/1.1\r\nHost: x\r\n\r\n")
        late, failing, begun, quick = [caller.read() for caller in callers]
        with headless.socket.makefile("rb") as sent:
            answered = sent.read()
        assert (answered[:12], answered[-4:]) == (b"HTTP/1.1 503", b"\r\n\r\n")
        with client(daemon) as shop:
            # A request ends after its response: the client may have that a moment before.
            wait_until(lambda: {each.path for each in shop.requests()} <= {"/sleep/1.2", "/fail/1.2"})
            assert shop.shutdown().clean  # it waits for what the application still does
    assert (late.status, failing.status) == (503, 503)
    assert late.headers["x-request-id"]
    assert late.headers["connection"] == "close"
    assert (begun.status, begun.body) == (200, b"begun ended")
    assert (quick.status, quick.body) == (200, b"slept")
    daemon.wait()
    assert '"GET /sleep/1.2 HTTP/1.1" 503' in daemon.output()


def test_an_engine_that_cannot_answer_late_is_refused(start_daemon: StartDaemon, tmp_path: Path) -> None:
    """With the reason and a way out."""
    with pytest.raises(NotServing, match="ended with exit code 1") as caught:
        start(
            start_daemon,
            tmp_path,
            "--engine",
            "werkzeug",
            "--request-timeout",
            "1",
            "--request-timeout-answer",
        )
    assert "--request-timeout-answer does not work with the werkzeug engine" in str(caught.value)
