"""The law, case by case: what a stop waits for, what it does not wait for, and what it says of what it cut.

Nothing here depends on luck: requests wait at a gate, and the shutdown's own progress tells when to go on.
"""

import concurrent.futures
import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.support.caller import Caller, call
from tests.support.daemons import PATIENCE, Daemon, StartDaemon
from tests.support.gate import Gate
from tests.support.stopping import Shutdown, shut_down

pytestmark = pytest.mark.live


@pytest.fixture(autouse=True)
def werkzeug(runtime_dir: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have every daemon of this module served by Werkzeug; `runtime_dir` clears the settings before."""
    monkeypatch.setenv("FLASKD_ENGINE", "werkzeug")


APP = f"{Path(__file__).parents[1] / 'support' / 'gated.py'}:app"
LINGER = 0.5
BRIEFLY = LINGER + 2.0
"""Seconds for a stop that has nothing to wait for but the linger, on a busy machine."""


@pytest.fixture
def gate(runtime_dir: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    """Serve the gate at which the application's requests wait."""
    with Gate(os.path.join(os.path.dirname(runtime_dir), "gate")) as gate:
        monkeypatch.setenv("GATE", gate.path)
        yield gate


@pytest.fixture
def daemon(start_daemon: StartDaemon, gate: Gate) -> Daemon:
    """Serve the gated application, without a linger: nothing but a request itself may hold the stop."""
    return start_daemon(APP, "--threads", "8", "--linger", "0")


@pytest.fixture
def lingering(start_daemon: StartDaemon, gate: Gate) -> Daemon:
    """Serve the gated application with the linger that is the default."""
    return start_daemon(APP, "--threads", "8")


def assert_ended_well(daemon: Daemon, shutdown: Shutdown, *, answered: int | None = None) -> None:
    """The stop lost nothing, had answered so many when it said that it was done, and the process is gone."""
    result = shutdown.result()
    assert result["clean"]
    assert answered is None or result["answered"] == answered
    assert (result["cut"], result["connections_cut"], result["queued_cut"]) == ([], 0, 0)
    assert daemon.wait() == 0


def test_accept_queue_longer_than_the_threads_is_emptied(start_daemon: StartDaemon, gate: Gate) -> None:
    """Whoever had connected before the stop is answered, however few threads there are."""
    daemon = start_daemon(APP, "--threads", "2", "--linger", "5")
    with contextlib.ExitStack() as stack:
        running, holding = [], []
        for _ in range(
            2
        ):  # one after the other: docs/engines.md says what granian may do with two at the same moment
            running.append(stack.enter_context(Caller(daemon.url)).get("/held"))
            holding.append(gate.wait_for("held"))
        queued = [stack.enter_context(Caller(daemon.url)).get("/") for _ in range(38)]
        shutdown = stack.enter_context(Shutdown(daemon))
        shutdown.wait_begun()
        for held in holding:
            held.let_go()

        assert [caller.text() for caller in running] == ["let go\n"] * 2
        assert [caller.text() for caller in queued] == ["front\n"] * 38
        assert_ended_well(daemon, shutdown, answered=40)


def test_streaming_response_in_flight_finishes(daemon: Daemon, gate: Gate) -> None:
    """A response that has begun is sent to its last byte."""
    with Caller(daemon.url) as caller:
        caller.get("/stream").read(until=len("first part\n"))
        held = gate.wait_for("stream")
        with Shutdown(daemon) as shutdown:
            shutdown.wait_phase("leaving")
            held.let_go()

            assert caller.text() == "first part\nlast part\n"
            assert_ended_well(daemon, shutdown, answered=1)


def test_slow_upload_finishes(daemon: Daemon, gate: Gate) -> None:
    """A request whose body is still on its way is in flight, too."""
    with Caller(daemon.url) as caller:
        caller.post("/upload", b"a" * 1000, length=3000)
        gate.wait_for("upload").let_go()
        with Shutdown(daemon) as shutdown:
            shutdown.wait_phase("leaving")
            caller.send(b"b" * 1000).send(b"c" * 1000)

            assert caller.text() == "3000 bytes\n"
            assert_ended_well(daemon, shutdown, answered=1)


def test_later_connections_are_refused_while_requests_finish(daemon: Daemon, gate: Gate) -> None:
    """They are told at once, so they can go elsewhere; none connects and hangs."""
    with Caller(daemon.url) as caller:
        caller.get("/held")
        held = gate.wait_for("held")
        with Shutdown(daemon) as shutdown:
            shutdown.wait_phase("leaving")
            begun = time.monotonic()
            with pytest.raises(ConnectionRefusedError):
                Caller(daemon.url)
            assert time.monotonic() - begun < 0.5
            held.let_go()

            assert caller.text() == "let go\n"
            assert_ended_well(daemon, shutdown, answered=1)


def test_connection_accepted_before_the_stop_may_send_its_request_within_the_linger(
    start_daemon: StartDaemon, gate: Gate
) -> None:
    """Between a connect and its request there is always some time; a stop in between must not show."""
    daemon = start_daemon(APP, "--threads", "8", "--linger", "20")
    with Caller(daemon.url) as silent, Caller(daemon.url) as half, Shutdown(daemon) as shutdown:
        half.send(b"GET / HTTP/1.1\r\nHo")
        shutdown.wait_phase("leaving")
        silent.get("/")
        half.send(b"st: here\r\n\r\n")

        assert [silent.text(), half.text()] == ["front\n"] * 2
        assert_ended_well(daemon, shutdown, answered=2)


@pytest.mark.parametrize("sent", [b"", b"GET / HT", b"POST /upload HTTP/1.1\r\nHost: x\r\n"])
def test_silence_and_half_a_head_hold_the_stop_no_longer_than_the_linger(
    lingering: Daemon, sent: bytes
) -> None:
    """Nobody can keep a daemon alive by saying nothing; it is no request, so nothing was cut."""
    with Caller(lingering.url) as caller:
        caller.send(sent)
        assert call(lingering.url, "/") == "front\n"  # accepted in turn: by now the silent one is, too
        begun = time.monotonic()
        with Shutdown(lingering) as shutdown:
            assert_ended_well(lingering, shutdown)

        assert time.monotonic() - begun < BRIEFLY
        assert caller.closed_by_peer()


def test_silent_connections_that_take_all_threads_do_not_starve_the_queue(
    start_daemon: StartDaemon, gate: Gate
) -> None:
    """Behind them wait real requests, which are answered."""
    daemon = start_daemon(APP, "--threads", "2")
    with contextlib.ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(Caller(daemon.url))
        waiting = [stack.enter_context(Caller(daemon.url)).get("/") for _ in range(4)]
        shutdown = stack.enter_context(Shutdown(daemon))

        assert [caller.text() for caller in waiting] == ["front\n"] * 4
        assert_ended_well(daemon, shutdown, answered=4)


def test_idle_daemon_stops_at_once(lingering: Daemon) -> None:
    """With nothing open there is nothing to linger for."""
    assert call(lingering.url, "/") == "front\n"
    with Shutdown(lingering) as shutdown:
        assert shutdown.result()["took"] < LINGER
    assert lingering.wait() == 0


def test_request_that_outlives_the_deadline_is_cut_and_named(daemon: Daemon, gate: Gate) -> None:
    """The reply says which, the command's exit code is 6, and the process ends though the application hangs."""
    with Caller(daemon.url) as caller:
        caller.get("/held?secret=1")
        gate.wait_for("held")
        begun = time.monotonic()
        done = shut_down(daemon, "--grace", "0.3")

        assert time.monotonic() - begun < PATIENCE / 3
        assert done.returncode == 6, done.stderr
        assert "/held" in done.stdout + done.stderr
        assert "secret" not in done.stdout + done.stderr
        assert isinstance(daemon.wait(), int)
        with pytest.raises((EOFError, ConnectionResetError)):
            caller.text()


def test_the_reply_tells_what_was_cut_and_what_was_answered(daemon: Daemon, gate: Gate) -> None:
    """Both in the same stop: one request is let go in time, one is not."""
    with Caller(daemon.url) as saved, Caller(daemon.url) as hung:
        saved.get("/held")
        let_go = gate.wait_for("held")
        hung.get("/stream").read(until=1)
        gate.wait_for("stream")
        with Shutdown(daemon, grace=1.0) as shutdown:
            shutdown.wait_phase("leaving")
            let_go.let_go()
            assert saved.text() == "let go\n"
            result = shutdown.result()

        assert not result["clean"]
        assert [(cut["method"], cut["path"]) for cut in result["cut"]] == [("GET", "/stream")]
        assert (result["connections_cut"], result["queued_cut"], result["answered"]) == (1, 0, 1)
        assert 1.0 <= result["took"] < 1.0 + BRIEFLY
        daemon.wait()


@pytest.mark.parametrize("size", [200_000, 30_000_000])
def test_slow_reader_gets_all_of_a_large_response(daemon: Daemon, gate: Gate, size: int) -> None:
    """Also what the application had finished long ago, and what only the kernel still holds."""
    with Caller(daemon.url, receive_buffer=8192) as caller:
        caller.get(f"/bytes/{size}").read(until=1)
        with Shutdown(daemon) as shutdown, concurrent.futures.ThreadPoolExecutor(1) as pool:
            shutdown.wait_begun()
            reading = pool.submit(caller.read)
            assert_ended_well(daemon, shutdown)
            assert reading.result(PATIENCE).body == b"x" * size


def test_response_in_the_kernels_hands_outlives_the_process(daemon: Daemon, gate: Gate) -> None:
    """A small response to a client that does not read yet holds nobody up and is not lost."""
    with Caller(daemon.url, receive_buffer=4096) as caller:
        caller.get("/bytes/60000").read(until=1)
        with Shutdown(daemon) as shutdown:
            assert_ended_well(daemon, shutdown)

        assert caller.read().body == b"x" * 60_000


@pytest.mark.parametrize("way", ["/fork", "/multiprocessing", "/fork-in-c"])
def test_forked_child_keeps_neither_port_nor_control_socket_alive(
    start_daemon: StartDaemon, gate: Gate, way: str
) -> None:
    """It inherits every descriptor; still later clients are refused, and a successor gets name and port."""
    daemon = start_daemon(APP, "--threads", "8")
    url = daemon.url
    with Caller(url) as caller:
        caller.post(way)
        child = gate.wait_for("child")
        assert caller.text() == f"{child.pid}\n"
    with Shutdown(daemon) as shutdown:
        assert shutdown.result()["clean"]
        with pytest.raises(ConnectionRefusedError):
            Caller(url)
    if way == "/multiprocessing":
        child.let_go()  # Python itself waits for such a child when it exits
    assert daemon.wait() == 0
    if way != "/multiprocessing":
        os.kill(child.pid, 0)  # it lives

    with pytest.raises((ConnectionRefusedError, FileNotFoundError)):
        Shutdown(daemon)
    successor = start_daemon(APP, "--bind", urlsplit(url).netloc)
    assert call(successor.url, "/") == "front\n"


def test_client_of_a_forking_application_sees_the_end_of_its_response(daemon: Daemon, gate: Gate) -> None:
    """A child that has inherited somebody else's connection does not keep that client waiting for its end."""
    with Caller(daemon.url) as other:
        other.get("/held")
        held = gate.wait_for("held")
        with Caller(daemon.url) as caller:
            caller.post("/fork")
            gate.wait_for("child")
            caller.text()
        held.let_go()

        assert other.text() == "let go\n"
        assert other.closed_by_peer()
