"""Results for people: whole, aligned, and harmless."""

import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flaskd_ctl import render
from flaskd_ctl.commands import COMMANDS
from flaskd_ctl.times import clock, span
from tests.flaskd_ctl.fake import CUT, PROGRESS, golden


@pytest.fixture(autouse=True)
def utc() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


def test_status_at_a_glance() -> None:
    text = render.as_text("status", golden("status") | {"threads": 8, "workers": [], "wanted_workers": 0})

    assert text.startswith("shop: running, ready, since 2026-01-01 00:00:00\n")
    for line in (
        "  app        shop:app (pid 4242, up 86 s)",
        "  serves     http://127.0.0.1:8000",
        "  in flight  1 of 8 threads, 2 open",
        "  served     317 (310 2xx, 4 3xx, 2 4xx, 1 5xx)",
        "  engine     granian (auto: granian is installed)",
        "  last error 2026-01-01 00:01:00 GET /price: ZeroDivisionError: division by zero",
    ):
        assert line.split() in [shown.split() for shown in text.splitlines()]


def test_columns_are_aligned() -> None:
    assert render.table([("a", 1), ("long", "x")], head=("N", "VALUE")) == "N     VALUE\na     1\nlong  x"


def test_colour_does_not_move_columns() -> None:
    rows = [("shop", "running", 1), ("b", "stale", 2)]
    coloured = render.table(rows, coloured=1)

    assert "\x1b[32mrunning\x1b[0m" in coloured
    assert coloured.replace("\x1b[32m", "").replace("\x1b[31m", "").replace("\x1b[0m", "") == render.table(
        rows
    )


def test_what_was_cut_without_a_name_is_counted() -> None:
    """The connection of a request that is named is no second loss."""
    text = render.as_text("shutdown", CUT | {"connections_cut": 3, "queued_cut": 2})

    assert "but cut: 1 request, 2 connections of which no more is known, 2 in the accept queue\n" in text


def test_what_was_cut_is_named() -> None:
    text = render.as_text("shutdown", CUT)

    assert "but cut: 1 request\n" in text
    assert "\n  cut GET /delay/3 (1.5 s)" in text


def test_the_deadline_is_a_time_of_day() -> None:
    """A countdown that only moves when something else does would be a lie."""
    now = time.time()

    assert f"deadline {clock(now + 8)}" in render.progress_line(PROGRESS | {"at": now, "deadline_left": 8.0})


@pytest.mark.parametrize("method", [name for name in COMMANDS if name != "events"])
def test_fields_that_are_missing_do_no_harm(method: str) -> None:
    """An older or newer daemon may leave some out."""
    assert render.as_text(method, {})


@given(st.text())
def test_nothing_that_is_shown_can_steer_a_terminal(text: str) -> None:
    assert render.printable(text).isprintable()
    one = {
        "method": text,
        "path": text,
        "age": 1.0,
        "endpoint": text,
        "rule": text,
        "client": text,
        "thread": text,
    }
    shown = render.as_text("requests", {"requests": [one]}).replace("\n", "")
    shown += render.event_line({"event": "state", "at": 0.0, "was": text, "state": text, "by": {"via": text}})
    shown += render.event_line({"event": text, "more": text})
    assert shown.isprintable()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 ms"),
        (0.0421, "42 ms"),
        (0.42, "0.42 s"),
        (4.25, "4.2 s"),
        (12.4, "12 s"),
        (119.4, "119 s"),
        (200, "3 min 20 s"),
        (3600, "1 h"),
        (18_120, "5 h 2 min"),
        (2 * 86_400 + 3 * 3600, "2 d 3 h"),
        (400 * 86_400, "400 d"),
        (-1, "0 ms"),
    ],
)
def test_a_length_of_time(seconds: float, text: str) -> None:
    assert span(seconds) == text


def test_a_time_of_day_has_its_date_when_it_is_not_today() -> None:
    assert clock(50.0, now=100.0) == "00:00:50"
    assert clock(50.0, now=100_000.0) == "1970-01-01 00:00:50"
    assert clock(1e30) == "at an unknown time"
