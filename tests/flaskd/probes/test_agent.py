"""The agent: what HAProxy is told in each state, and of each load. What HAProxy makes of it: tests/live/test_balancers.py."""

import re
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from flaskd.embedded.server import Server
from flaskd.errors import ConfigError
from flaskd.probes.agent import answer
from flaskd.probes.rotation import Rotation
from flaskd.shutdown.lifecycle import State
from flaskd_ctl import Client
from tests.flaskd.conftest import WAIT, App
from tests.support.daemons import StartDaemon

IDLE = Rotation(State.RUNNING, serving=2, wanted=2, threads=4, in_flight=0)


def told(rotation: Rotation, asked: bytes = b"") -> str:
    line = answer(asked, lambda: rotation)
    assert line is not None
    return line.decode()


@pytest.mark.parametrize(
    ("state", "serving", "line"),
    [
        (State.STARTING, 0, "down #starting\n"),
        (State.RUNNING, 2, "up 100%\n"),
        (State.RUNNING, 0, "down #running, no worker serves\n"),
        (State.DEGRADED, 1, "up 50%\n"),
        (State.DEGRADED, 0, "down #degraded, no worker serves\n"),
        (State.DRAINING, 2, "up 0%\n"),
        (State.STOPPING, 2, "down #stopping\n"),
    ],
)
def test_each_state_has_its_line(state: State, serving: int, line: str) -> None:
    """Who drains is up, with no weight: what the agent takes away, the agent gives back."""
    assert told(IDLE._replace(state=state, serving=serving)) == line


@pytest.mark.parametrize(("in_flight", "line"), [(0, "100%"), (2, "75%"), (7, "13%"), (8, "1%"), (50, "1%")])
def test_the_weight_is_what_is_free(in_flight: int, line: str) -> None:
    """An idle instance gets its whole weight, a busy one less; none at all is for one that drains."""
    assert told(IDLE._replace(in_flight=in_flight)) == f"up {line}\n"


rotations = st.builds(
    Rotation,
    state=st.sampled_from(State),
    serving=st.integers(0, 20),
    wanted=st.integers(1, 20),
    threads=st.integers(1, 1000),
    in_flight=st.integers(0, 50_000),
    saturated=st.booleans(),
    unready=st.booleans(),
)


@given(rotations, st.binary(max_size=20))
def test_whatever_there_is_haproxy_reads_it_and_no_operator_is_overruled(
    rotation: Rotation, asked: bytes
) -> None:
    """One line, the words apart; never those that move the administrative state: `ready`, `drain` and `maint`.

    New requests come just where readiness is told, too; a saturated instance gets the least that there is.
    """
    line = told(rotation, asked)

    assert re.fullmatch(r"up ([0-9]|[1-9][0-9]|100)%\n|down #[a-z ,]+\n", line)
    assert not set(re.split(r"[ #,\n]+", line.partition("#")[0])) & {"ready", "drain", "maint"}
    assert (line.startswith("up ") and line != "up 0%\n") == rotation.in_rotation
    assert rotation.ready == (rotation.in_rotation and not (rotation.saturated and rotation.unready))
    if rotation.in_rotation and rotation.saturated:
        assert line == "up 1%\n"


def test_one_process_without_a_supervisor_refuses_it(app: App) -> None:
    """A `Server` shares its process with the application: it could not answer for it."""
    with pytest.raises(ConfigError, match="agent"):
        Server(app, agent="127.0.0.1:0")


@pytest.mark.live
def test_a_daemon_tells_its_agent(
    start_daemon: StartDaemon, tmp_path: Path, ask: Callable[[str], str]
) -> None:
    """One line a connection, whoever asks, through the whole of its life."""
    (tmp_path / "shop.py").write_text("from flask import Flask\napp = Flask('shop')\n")
    daemon = start_daemon("shop:app", "--agent", "127.0.0.1:0")
    address = daemon.instance["agent"]

    assert ask(address) == "up 100%\n"
    with Client(daemon.name) as shop:
        shop.drain()
        assert ask(address) == "up 0%\n"
        shop.shutdown(lame_duck=60, wait=False)
        assert ask(address) == "down #stopping\n"
        shop.shutdown(lame_duck=0)
    assert daemon.wait() == 0


@pytest.fixture
def ask() -> Callable[[str], str]:
    """Ask an agent, as HAProxy does: connect, read to the end."""

    def read(address: str) -> str:
        host, _, port = address.rpartition(":")
        with socket.create_connection((host, int(port)), timeout=WAIT) as connection:
            return connection.makefile().read()

    return read
