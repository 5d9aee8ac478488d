"""The law, and its cases, with the granian engine: what is promised does not depend on who speaks HTTP."""

import contextlib
from pathlib import Path

import pytest

from tests.live import test_no_loss, test_no_loss_laws
from tests.live.test_no_loss_laws import APP, assert_ended_well
from tests.support.caller import Caller
from tests.support.daemons import Daemon, StartDaemon
from tests.support.gate import Gate
from tests.support.laws import laws
from tests.support.stopping import Shutdown

pytestmark = pytest.mark.live

OTHERWISE = {
    "test_silent_connections_that_take_all_threads_do_not_starve_the_queue",
    "test_client_of_a_forking_application_sees_the_end_of_its_response",
}
"""What this engine does in another way: see below."""
globals().update(laws(test_no_loss, test_no_loss_laws, but=OTHERWISE))


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
    assert served.wait() == 6
    assert "panic" not in served.output()
