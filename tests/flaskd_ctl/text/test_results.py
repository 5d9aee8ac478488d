"""Results for people: whole, aligned, and harmless."""

import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, strategies as st

from flaskd_ctl.contract.commands import COMMANDS
from flaskd_ctl.contract.times import clock, span
from flaskd_ctl.text import layout, results
from tests.flaskd_ctl.fake import CUT, PROGRESS, golden, notifications

UNKNOWN = "in flight unknown (no ledger), 3 queued, 2 open"


@pytest.fixture(autouse=True)
def utc() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


def test_status_at_a_glance() -> None:
    text = results.as_text("status", golden("status") | {"threads": 8, "workers": [], "wanted_workers": 0})

    assert text.startswith("shop: running, ready, since 2026-01-01 00:00:00\n")
    for line in (
        "  app        shop:app (pid 4242, up 86 s)",
        "  serves     http://127.0.0.1:8000",
        "  health     127.0.0.1:8081",
        "  agent      127.0.0.1:8082",
        "  in flight  1 of 8, 3 queued, 2 open",
        "  served     317 (310 2xx, 4 3xx, 2 4xx, 1 5xx)",
        "  engine     granian (auto: granian is installed)",
        "  last error 2026-01-01 00:01:00 GET /price: ZeroDivisionError: division by zero",
    ):
        assert shows(text, line)


def shows(text: str, line: str) -> bool:
    """Tell whether one line of `text` says `line`, however its columns are set."""
    return line.split() in [shown.split() for shown in text.splitlines()]


def test_status_has_a_line_for_each_worker() -> None:
    text = results.as_text("status", golden("status"))

    for line in (
        "in flight 1 of 16, 3 queued, 2 open",
        "workers 1 of 2 serve, generation 2, 1 exited unexpectedly",
        "last failure 2026-01-01 00:01:25 worker 2 (pid 4250): killed by SIGKILL (more: `flaskd_ctl incidents`)",
        "template pid 4250, ready, generation 2, 61/12 MiB",
        "3 4251 serving 46 s 2 1 2 195 62/41 reload",
        "4 4260 starting 0.5 s 2 - - 0 -/- crash: killed by SIGKILL",
    ):
        assert shows(text, line)


def test_requests_in_flight_are_shown_of_all_that_can_be() -> None:
    """In two workers, one of which leaves, and not in one that still starts."""
    one = golden("status")["workers"][0]
    workers = [one | {"state": state} for state in ("serving", "leaving", "starting")]
    busy = {"in_flight": 4, "threads": 2, "workers": workers, "queued": 8}

    assert shows(results.as_text("status", golden("status") | busy), "in flight 4 of 4, 8 queued, 2 open")
    assert shows(
        results.as_text("status", golden("status") | busy | {"queued": 0}), "in flight 4 of 4, 2 open"
    )


@pytest.mark.parametrize(
    ("scaling", "line"),
    [
        ({}, "scaling 2..8, 2 since 2026-01-01 00:00:30: 2 would have been enough for 60 s"),
        (
            {"scaled": 5, "until": 1767226242.0, "why": ""},
            "scaling 5 set by `scale` until 2026-01-01 00:10:42, then 2..8",
        ),
        ({"scaled": 5, "setting": "2"}, "scaling 5 set by `scale` until the instance ends"),
        ({"setting": "auto", "why": "2 CPUs", "since": None}, "scaling auto: 2 CPUs"),
        ({"why": "", "since": None, "limited": "x, but y"}, "scaling 2..8; more are needed: x, but y"),
        ({"setting": "4", "why": "", "since": None}, ""),
    ],
)
def test_status_says_where_the_number_of_workers_comes_from(scaling: dict[str, Any], line: str) -> None:
    """Of a fixed number there is nothing to say."""
    status = golden("status")
    text = results.as_text("status", status | {"scaling": status["scaling"] | scaling})

    assert shows(text, line) if line else "scaling" not in text


@pytest.mark.parametrize(
    ("installed", "line"),
    [
        ("0.2.0", "installed flaskd 0.2.0: restart the instance to use it"),
        (None, "installed flaskd is not completely installed: install it again"),
    ],
)
def test_status_shows_a_flaskd_on_disk_that_is_not_the_one_that_runs(
    installed: str | None, line: str
) -> None:
    text = results.as_text("status", golden("status") | {"installed_flaskd": installed})

    assert shows(text, line)


def test_status_of_a_daemon_that_does_not_know_what_is_installed_says_nothing_of_it() -> None:
    status = golden("status")
    older = {name: value for name, value in status.items() if name != "installed_flaskd"}

    assert "installed flaskd" not in results.as_text("status", status)
    assert "installed flaskd" not in results.as_text("status", older)


def test_without_a_ledger_nobody_knows_what_is_in_flight() -> None:
    assert shows(results.as_text("status", golden("status") | {"in_flight": None}), UNKNOWN)


def test_a_degraded_instance_says_what_fails() -> None:
    failure = {"at": 0.0, "worker": 7, "pid": 99, "reason": "worker 7 could not start: SyntaxError\nand more"}
    text = results.as_text("status", golden("status") | {"state": "degraded", "last_failure": failure})

    assert text.startswith("shop: degraded, ready, ")
    assert "worker 7 (pid 99): could not start: SyntaxError (more:" in text


def test_a_reload_says_what_it_replaced_and_which_settings_changed() -> None:
    assert results.as_text("reload", golden("reload") | {"name": "shop"}).splitlines() == [
        "reloaded shop: 1 worker replaced in 0.75 s, generation 2",
        "  changed settings: threads",
        "  changed, but takes effect only after a restart of the daemon: bind",
    ]
    quiet = golden("reload") | {"name": "shop", "changed": [], "needs_restart": [], "joined": True}
    assert results.as_text("reload", quiet) == (
        "reloaded shop: 1 worker replaced in 0.75 s, generation 2, joined to a reload already in progress"
    )


def test_scale_and_restart_say_what_there_was_before() -> None:
    held = golden("scale") | {"name": "shop"}
    assert (
        results.as_text("scale", held)
        == "scaled shop: 2 workers, 1 before, in 0.5 s, until 2026-01-01 00:10:42"
    )
    scaled = held | {"until": None}
    assert results.as_text("scale", scaled) == "scaled shop: 2 workers, 1 before, in 0.5 s"
    assert results.as_text("scale", scaled | {"was": 2}) == "scaled shop: 2 workers, as before"
    assert results.as_text("restart_worker", golden("restart_worker")) == (
        "restarted: worker 5 in place of 3, in 2.2 s"
    )


def test_an_incident_in_full_has_its_requests_and_stacks() -> None:
    text = results.as_text("incident", golden("incidents"))

    for line in (
        "2026-01-01 00:01:30 incident 2, hung: worker 3 (pid 4251): a request took longer than 30 s",
        "17 3 30 s GET /delay/3 delay_response /delay/<delay> 127.0.0.1 flaskd-http-2",
        "1 connection with unknown requests lost",
        'File "/srv/shop/shop.py", line 21 in price',
    ):
        assert shows(text, line)
    short = results.as_text("incidents", golden("incidents"))
    assert shows(short, "2 2026-01-01 00:01:30 hung 3 4251 2 a request took longer than 30 s")
    assert "shop.py" not in short


def test_only_where_there_are_workers_requests_have_a_column_for_them() -> None:
    requests = golden("requests")["requests"]
    assert "WORKER" in results.as_text("requests", {"requests": requests})
    assert "WORKER" not in results.as_text("requests", {"requests": [requests[0] | {"worker": 0}]})


def test_each_event_is_one_line() -> None:
    lines = [results.event_line(event) for event in notifications("events")]

    assert lines[:5] == [
        "2026-01-01 00:00:36 scaled from 1 to 2 workers (1..8): 16 of 16 threads were busy for 2 s",
        "2026-01-01 00:00:39 template (pid 4250) has loaded the application, generation 2",
        "2026-01-01 00:00:40 worker 3 (pid 4251) starts: reload, generation 2",
        "2026-01-01 00:01:20 slow, more than 10 s: GET /delay/3 (10 s)",
        "2026-01-01 00:01:30 incident 2, hung: worker 3 (pid 4251): a request took longer than 30 s",
    ]
    assert not any("\n" in line for line in lines)


def test_columns_are_aligned() -> None:
    assert layout.table([("a", 1), ("long", "x")], head=("N", "VALUE")) == "N     VALUE\na     1\nlong  x"


def test_colour_does_not_move_columns() -> None:
    rows = [("shop", "running", 1), ("b", "stale", 2)]
    coloured = layout.table(rows, coloured=1)

    assert "\x1b[32mrunning\x1b[0m" in coloured
    assert coloured.replace("\x1b[32m", "").replace("\x1b[31m", "").replace("\x1b[0m", "") == layout.table(
        rows
    )


def test_what_was_cut_without_a_name_is_counted() -> None:
    """The connection of a request that is named is no second loss."""
    text = results.as_text("shutdown", CUT | {"connections_cut": 3, "queued_cut": 2})

    assert "but cut: 1 request, 2 connections of unknown requests, 2 in the accept queue\n" in text


def test_what_was_cut_is_named() -> None:
    text = results.as_text("shutdown", CUT)

    assert "but cut: 1 request\n" in text
    assert "\n  cut GET /delay/3 (1.5 s)" in text


def test_the_deadline_is_a_time_of_day() -> None:
    """A countdown that only moves when something else does would be a lie."""
    now = time.time()

    assert f"deadline {clock(now + 8)}" in results.progress_line(PROGRESS | {"at": now, "deadline_left": 8.0})


@pytest.mark.parametrize("method", [name for name in COMMANDS if name != "events"])
def test_fields_that_are_missing_do_no_harm(method: str) -> None:
    """An older or newer daemon may leave some out."""
    assert results.as_text(method, {})


@given(st.text())
def test_nothing_that_is_shown_can_steer_a_terminal(text: str) -> None:
    assert layout.printable(text).isprintable()
    one = {
        "method": text,
        "path": text,
        "age": 1.0,
        "endpoint": text,
        "rule": text,
        "client": text,
        "thread": text,
    }
    shown = results.as_text("requests", {"requests": [one]}).replace("\n", "")
    worker = {"id": 1, "state": text, "why": text}
    shown += results.as_text("workers", {"workers": [worker]}).replace("\n", "")
    incident = {"kind": text, "reason": text, "requests": [one], "stacks": text, "traceback": text}
    shown += results.as_text("incident", {"incidents": [incident]}).replace("\n", "")
    shown += results.as_text("incidents", {"incidents": [incident]}).replace("\n", "")
    settings = {"name": text, "changed": [text], "needs_restart": [text]}
    shown += results.as_text("reload", settings).replace("\n", "")
    failure = {"worker": 1, "pid": 1, "reason": text}
    shown += results.as_text("status", {"last_failure": failure, "engine_why": text}).replace("\n", "")
    for event in ({"event": "worker", "why": text}, {"event": "incident", "incident": incident}):
        shown += results.event_line(event)
    shown += results.event_line(
        {"event": "state", "at": 0.0, "was": text, "state": text, "by": {"via": text}}
    )
    shown += results.event_line({"event": text, "more": text})
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


@pytest.fixture
def narrow() -> Iterator[None]:
    layout.use_terminal_width(40)
    yield
    layout.use_terminal_width(0)


def test_a_table_is_cut_to_the_terminal(narrow: None) -> None:
    """Where it is widest; elsewhere than on a terminal it is whole."""
    rows = [("shop", "x" * 60, "y" * 30), ("b", "short", "z")]
    head, first, second = layout.table(rows, head=("NAME", "WHAT", "WHY")).splitlines()
    assert first == f"shop  {'x' * 15}…  {'y' * 15}…"
    assert len(first) == 40
    assert head.split() == ["NAME", "WHAT", "WHY"]
    assert second.split() == ["b", "short", "z"]
    assert "x" * 60 in layout.table(rows)

    layout.use_terminal_width(0)
    assert "x" * 60 in layout.table(rows, head=("NAME", "WHAT", "WHY"))


@given(
    st.lists(st.tuples(st.integers(1, 200), st.integers(1, 20)), min_size=1, max_size=10),
    st.integers(20, 200),
)
def test_columns_are_as_wide_as_the_room_allows(columns: list[tuple[int, int]], room: int) -> None:
    """No short text is cut, only the head above it; the room is used up before anything is cut."""
    contents = [content for content, _ in columns]
    widths = [max(column) for column in columns]
    fitting = layout.fitted(widths, contents, room)
    least = [
        min(was, max(min(content, layout.SHORTEST), 3)) for was, content in zip(widths, contents, strict=True)
    ]
    assert all(low <= now <= was for low, now, was in zip(least, fitting, widths, strict=True))
    assert fitting in (widths, least) or sum(fitting) + 2 * (len(widths) - 1) == room


def test_the_workers_fit_on_a_terminal_of_80_columns() -> None:
    """With their numbers whole; the heads are shorter."""
    layout.use_terminal_width(80)
    try:
        *_, head, first, second = results.as_text("status", golden("status")).splitlines()
    finally:
        layout.use_terminal_width(0)
    assert max(map(len, (head, first, second))) <= 80
    assert first.split()[:9] == ["3", "4251", "serving", "46", "s", "2", "1", "2", "195"]
    assert head.split()[:4] == ["ID", "PID", "STATE", "AGE"]
