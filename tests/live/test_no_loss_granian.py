"""The law, and its cases, with the granian engine: what is promised does not depend on who speaks HTTP."""

import contextlib
from pathlib import Path

import pytest

from tests.daemons import Daemon, StartDaemon
from tests.live.caller import Caller
from tests.live.gate import Gate
from tests.live.stopping import Shutdown
from tests.live.test_no_loss import (
    test_a_daemon_without_privilege_loses_nothing_either,
    test_other_listeners_lose_nothing_either,
    test_twenty_stops_under_load_lose_nothing,
)
from tests.live.test_no_loss_laws import (
    APP,
    assert_ended_well,
    daemon,
    gate,
    lingering,
    test_accept_queue_longer_than_the_threads_is_emptied,
    test_connection_accepted_before_the_stop_may_send_its_request_within_the_linger,
    test_forked_child_keeps_neither_port_nor_control_socket_alive,
    test_idle_daemon_stops_at_once,
    test_later_connections_are_refused_while_requests_finish,
    test_request_that_outlives_the_deadline_is_cut_and_named,
    test_response_in_the_kernels_hands_outlives_the_process,
    test_silence_and_half_a_head_hold_the_stop_no_longer_than_the_linger,
    test_slow_reader_gets_all_of_a_large_response,
    test_slow_upload_finishes,
    test_streaming_response_in_flight_finishes,
    test_the_reply_tells_what_was_cut_and_what_was_answered,
)

__all__ = [
    "daemon",
    "gate",
    "lingering",
    "test_a_daemon_without_privilege_loses_nothing_either",
    "test_accept_queue_longer_than_the_threads_is_emptied",
    "test_connection_accepted_before_the_stop_may_send_its_request_within_the_linger",
    "test_forked_child_keeps_neither_port_nor_control_socket_alive",
    "test_idle_daemon_stops_at_once",
    "test_later_connections_are_refused_while_requests_finish",
    "test_other_listeners_lose_nothing_either",
    "test_request_that_outlives_the_deadline_is_cut_and_named",
    "test_response_in_the_kernels_hands_outlives_the_process",
    "test_silence_and_half_a_head_hold_the_stop_no_longer_than_the_linger",
    "test_slow_reader_gets_all_of_a_large_response",
    "test_slow_upload_finishes",
    "test_streaming_response_in_flight_finishes",
    "test_the_reply_tells_what_was_cut_and_what_was_answered",
    "test_twenty_stops_under_load_lose_nothing",
]

pytestmark = pytest.mark.live


@pytest.fixture(autouse=True)
def granian(runtime_dir: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have every daemon of this module served by granian; `runtime_dir` clears the settings before."""
    monkeypatch.setenv("FLASKD_ENGINE", "granian")


def test_silent_connections_do_not_starve_the_queue(start_daemon: StartDaemon, gate: Gate) -> None:
    """They hold no thread, so that nobody waits behind them."""
    served = start_daemon(APP, "--threads", "2")
    with contextlib.ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(Caller(served.url))
        waiting = [stack.enter_context(Caller(served.url)).get("/") for _ in range(4)]
        shutdown = stack.enter_context(Shutdown(served))

        assert [caller.text() for caller in waiting] == ["front\n"] * 4
        assert_ended_well(served, shutdown)


def test_client_of_a_forking_application_sees_the_end_of_its_connection(daemon: Daemon, gate: Gate) -> None:
    """A child that has inherited somebody else's connection does not keep that client waiting for its end."""
    with Caller(daemon.url) as other:
        other.send(b"GET /held HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        held = gate.wait_for("held")
        with Caller(daemon.url) as caller:
            caller.post("/fork")
            gate.wait_for("child")
            caller.text()
        held.let_go()

        assert other.text() == "let go\n"
        assert other.closed_by_peer()


SPINNING = """
def app(environ, start_response):
    while True:
        pass
"""


def test_request_that_never_lets_go_does_not_spoil_the_end(start_daemon: StartDaemon, tmp_path: Path) -> None:
    """A thread that is in Python when the interpreter ends would die beneath Rust's frames, in a panic."""
    (tmp_path / "spinning.py").write_text(SPINNING)
    served = start_daemon("spinning.py:app")
    with Caller(served.url) as caller, Shutdown(served, grace=1.0) as shutdown:
        caller.get("/")
        result = shutdown.result()

    assert [cut["path"] for cut in result["cut"]] == ["/"]
    assert served.wait() == 0
    assert "panic" not in served.output()
