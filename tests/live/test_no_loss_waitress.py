"""The law, and its cases, with the waitress engine: what is promised does not depend on who speaks HTTP."""

import contextlib

import pytest

from tests.daemons import PATIENCE, Daemon, StartDaemon
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
    "test_streaming_response_in_flight_finishes",
    "test_the_reply_tells_what_was_cut_and_what_was_answered",
    "test_twenty_stops_under_load_lose_nothing",
]

pytestmark = pytest.mark.live


@pytest.fixture(autouse=True)
def waitress(runtime_dir: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have every daemon of this module served by waitress; `runtime_dir` clears the settings before."""
    monkeypatch.setenv("FLASKD_ENGINE", "waitress")


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


def test_slow_upload_finishes(daemon: Daemon, gate: Gate) -> None:
    """A request whose body is still on its way is in flight, too, though the application has not seen it yet."""
    with Caller(daemon.url) as caller:
        caller.post("/upload", b"a" * 1000, length=3000)
        with Shutdown(daemon) as shutdown:
            shutdown.wait_phase("leaving")
            caller.socket.settimeout(1.0)  # twice the linger
            with pytest.raises(TimeoutError):
                caller.socket.recv(1)
            caller.socket.settimeout(PATIENCE)
            caller.send(b"b" * 1000).send(b"c" * 1000)
            gate.wait_for("upload").let_go()

            assert caller.text() == "3000 bytes\n"
            assert_ended_well(daemon, shutdown, answered=1)
