"""The law, and its cases, with the waitress engine: what is promised does not depend on who speaks HTTP."""

import contextlib

import pytest

from tests.live import test_no_loss, test_no_loss_laws
from tests.live.test_no_loss_laws import APP, assert_ended_well
from tests.support.caller import Caller
from tests.support.daemons import PATIENCE, Daemon, StartDaemon
from tests.support.gate import Gate
from tests.support.laws import laws
from tests.support.stopping import Shutdown

pytestmark = pytest.mark.live

OTHERWISE = {
    "test_silent_connections_that_take_all_threads_do_not_starve_the_queue",
    "test_client_of_a_forking_application_sees_the_end_of_its_response",
    "test_slow_upload_finishes",
}
"""What this engine does in another way: see below."""
globals().update(laws(test_no_loss, test_no_loss_laws, but=OTHERWISE))


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
