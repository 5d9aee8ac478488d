"""What a person at the terminal reads of a stop."""

import pytest

from flaskd.console import banner
from flaskd_ctl.protocol import InFlight, ShutdownResult


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
