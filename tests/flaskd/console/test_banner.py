"""What a person at the terminal reads of a stop."""

import json
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from flaskd.console import banner
from flaskd_ctl.protocol import Actor, InFlight, ProgressEvent, ShutdownResult, StateEvent, StatusResult

GOLDEN: Final = Path(__file__).parents[2] / "golden"


def said(capsys: pytest.CaptureFixture[str], **changes: object) -> list[str]:
    facts = {"clean": False, "cut": [], "connections_cut": 0, "queued_cut": 0, "answered": 0} | changes
    rest = {"took": 1.0, "grace": 1.0, "joined": False, "pid": 1, "process_exits": True}
    banner.farewell("shop", ShutdownResult(**facts, **rest))  # type: ignore[arg-type]
    return capsys.readouterr().err.splitlines()


def request(path: str) -> InFlight:
    return InFlight(id=1, method="GET", path=path, age=2.0, client="127.0.0.1", thread="t")


def test_a_clean_stop_lost_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, clean=True) == ["flaskd: shop stopped after 1 s, nothing lost"]


def test_what_was_cut_is_named_and_counted_once(capsys: pytest.CaptureFixture[str]) -> None:
    """A request's own connection is no second loss."""
    lines = said(capsys, cut=[request("/slow")], connections_cut=2, queued_cut=3, workers_lost=1)
    assert lines == [
        "flaskd: cut GET /slow after 2 s (client 127.0.0.1)",
        "flaskd: shop stopped after 1 s, cut: 1 request, 1 connection, 3 in the accept queue, 1 worker",
    ]


def test_a_path_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Who is cut chose the path."""
    first, _ = said(capsys, cut=[request("/a\x1b[2J\nflaskd: b")], connections_cut=1)
    assert first == r"flaskd: cut GET /a\x1b[2J\nflaskd: b after 2 s (client 127.0.0.1)"


class Instance:
    """An instance that has this status."""

    name = "shop"

    def __init__(self, **changes: Any) -> None:
        known = json.loads((GOLDEN / "status.json").read_text())["reply"]["result"] | changes
        self._status = msgspec.convert(known, StatusResult)

    def status(self) -> StatusResult:
        """Return it."""
        return self._status


def endpoints(runtime: str) -> list[str]:
    return [f"ipc://{runtime}/shop/zmq", f"unix://{runtime}/shop/sock"]


def test_the_banner_says_how_to_ask_and_how_to_stop(
    capsys: pytest.CaptureFixture[str], runtime_dir: str
) -> None:
    """And where the probes are answered: with port 0 nobody knows it before."""
    banner.greet(Instance(endpoints=endpoints(runtime_dir), probes={"health": "127.0.0.1:8081"}))
    lines = capsys.readouterr().err.splitlines()
    assert "  health   127.0.0.1:8081" in lines
    assert lines[-2:] == [
        "  ask      flaskd_ctl --name shop status",
        "  stop     flaskd_ctl --name shop shutdown",
    ]


def test_an_instance_in_an_unusual_place_is_named_with_it(capsys: pytest.CaptureFixture[str]) -> None:
    """The line can be copied into a shell."""
    banner.greet(Instance(endpoints=endpoints("/srv/our place")))
    assert (
        "  ask      flaskd_ctl --runtime-dir '/srv/our place' --name shop status\n" in capsys.readouterr().err
    )


def test_without_a_control_socket_there_is_nothing_to_ask(capsys: pytest.CaptureFixture[str]) -> None:
    """Ctrl-C is told only where it reaches us; the output of a test has no terminal."""
    banner.greet(Instance(endpoints=[], probes={}))
    assert capsys.readouterr().err.splitlines()[-1].startswith("  http     ")


@pytest.mark.parametrize(
    ("by", "cut"),
    [
        (Actor(via="signal", detail="SIGINT"), "; to cut it, press Ctrl-C again"),
        (Actor(via="application", pid=7), ""),
    ],
)
def test_a_stop_without_a_control_socket_says_what_it_waits_for_too(
    by: Actor, cut: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """And how to cut it only if there is a way."""
    take = banner.announcer(Instance(endpoints=[]))
    take(StateEvent(at=1, was="running", state="stopping", by=by))
    take(ProgressEvent(at=1, phase="draining", in_flight=1, connections=1, deadline_left=30))
    assert capsys.readouterr().err.splitlines()[1] == f"flaskd: shop waits for 1 request, at most 30 s{cut}"


@pytest.mark.parametrize(
    ("by", "cut"),
    [
        (Actor(via="signal", detail="SIGINT"), "to cut them, press Ctrl-C again"),
        (Actor(via="signal", detail="SIGTERM", uid=0, pid=7), "to cut them, send SIGTERM again"),
        (Actor(via="control", uid=0), "to cut them, use `flaskd_ctl --name shop shutdown --grace 0`"),
    ],
)
def test_a_stop_says_once_what_it_waits_for_and_how_to_cut_it(
    by: Actor, cut: str, capsys: pytest.CaptureFixture[str], runtime_dir: str
) -> None:
    """Ctrl-C with a slow request in flight looks like a server that hangs."""
    take = banner.announcer(Instance(endpoints=endpoints(runtime_dir)))
    progress = ProgressEvent(
        at=1, phase="draining", in_flight=2, connections=2, deadline_left=30, slowest=request("/slow")
    )
    take(progress)
    take(StateEvent(at=1, was="running", state="stopping", by=by))
    take(msgspec.structs.replace(progress, in_flight=0))
    take(progress)
    take(progress)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert lines[1] == (
        f"flaskd: shop waits for 2 requests (the oldest: GET /slow, 2 s), at most 30 s; {cut}"
    )
