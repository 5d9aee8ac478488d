"""Rows, columns and lines of `top`, without a screen."""

import re
from pathlib import Path
from typing import Any

from hypothesis import given, strategies as st

from flaskd_ctl.errors import NotRunning
from flaskd_ctl.live.seen import Seen
from flaskd_ctl.top import header
from flaskd_ctl.top.panels import GAP, PANELS, arranged, cells, fitted, rate
from tests.flaskd_ctl.fake import golden

BY_NAME = {panel.name: panel for panel in PANELS}


def counted(served: int, *, cpu: float = 0.0) -> dict[str, Any]:
    return {
        "total": {"served": {"2xx": served - served // 10, "5xx": served // 10}},
        "workers": [{"worker": 1, "cpu": cpu}],
    }


def seen() -> Seen:
    one = Seen("shop")
    one.found({"x-caller": {"role": "admin", "may": ["drain"]}})
    for method in ("status", "stats", "requests", "errors"):
        one.answered(method, golden(method), 1.0)
    return one


def test_rates_are_those_between_two_looks() -> None:
    one = seen()
    one.answered("stats", counted(8000), 10.0)
    one.answered("stats", counted(8100, cpu=1.0), 12.0)
    assert one.rates[-1] == 50.0
    assert one.errors_per_second == 5.0
    assert one.cpu == {1: 50.0}


def test_a_restart_makes_no_negative_rate() -> None:
    one = seen()
    one.answered("stats", counted(8000), 10.0)
    one.answered("stats", counted(5), 11.0)
    assert all(each >= 0 for each in one.rates)
    one.answered("stats", counted(7), 12.0)
    assert one.rates[-1] == 2.0


def test_what_is_away_has_no_rates_and_may_nothing_but_keeps_what_was_seen() -> None:
    one = seen()
    one.lost(NotRunning("shop is not running"))
    assert one.state == "away"
    assert not one.may
    assert one.status
    assert "AWAY" in header.instance_line(one)
    assert "shop is not running" in header.numbers_line(one)


def test_an_answer_of_an_old_instance_that_lacks_fields_is_shown() -> None:
    one = Seen("shop")
    one.found({})
    for method in ("status", "stats", "requests", "errors"):
        one.answered(method, {}, 1.0)
    assert [row for panel in PANELS for row in panel.rows(one)] == []
    assert header.instance_line(one)
    assert header.numbers_line(one)


def test_workers_join_what_status_and_stats_say() -> None:
    rows = {row["worker"]: row for row in BY_NAME["workers"].rows(seen())}
    assert {1, 2, 3, 4} == set(rows)
    assert rows[3]["why"] == "reload"
    assert rows[1]["minute"] == 2763


def test_the_page_says_which_command_has_each_panel() -> None:
    """For programs; tests/live/test_top_as_json.py shows that it is all there."""
    page = (Path(__file__).parents[3] / "docs" / "top.md").read_text(encoding="utf-8")
    told = dict(re.findall(r"^\| (\w+) \| `flaskd_ctl --json ([a-z]+)", page, re.MULTILINE))
    assert told == {panel.name: panel.method for panel in PANELS}


@given(st.integers(20, 300), st.sampled_from(PANELS), st.lists(st.text(max_size=60), max_size=3))
def test_columns_never_take_more_than_the_width_unless_all_are_at_their_narrowest(
    width: int, panel: Any, texts: list[str]
) -> None:
    lines = [[text] * len(panel.columns) for text in texts]
    columns = fitted(panel, lines, sort=panel.sort, width=width)
    taken = sum(each + GAP for _, each in columns)
    cannot = all(each <= 8 or not panel.columns[number].shrink for number, each in columns)
    assert taken <= width or cannot
    assert {number for number, column in enumerate(panel.columns) if not column.extra} <= {
        number for number, _ in columns
    }


@given(
    st.sampled_from(PANELS),
    st.lists(st.one_of(st.none(), st.integers(), st.floats(allow_nan=False), st.text(max_size=5))),
    st.booleans(),
)
def test_every_mixture_can_be_sorted_and_nothing_is_lost(
    panel: Any, values: list[Any], reverse: bool
) -> None:
    field = panel.columns[0].field
    rows = [{field: value, "number": number} for number, value in enumerate(values)]
    sorted_rows = (
        arranged(panel, rows, sort=field, reverse=reverse, wanted="") if panel.name != "errors" else rows
    )
    assert sorted(row["number"] for row in sorted_rows) == list(range(len(values)))


def test_a_filter_looks_at_each_column_whatever_the_case() -> None:
    panel, rows = BY_NAME["errors"], BY_NAME["errors"].rows(seen())
    assert rows == arranged(panel, rows, sort="last", reverse=False, wanted="OUTofstock")
    assert arranged(panel, rows, sort="last", reverse=False, wanted="nothing like it") == []


def test_cells_cannot_act_on_a_terminal() -> None:
    panel = BY_NAME["requests"]
    assert "\\x1b[2J" in "".join(cells(panel, {"path": "\x1b[2J"}))


def test_rates_are_short() -> None:
    assert [rate(each) for each in (None, 0.0, 0.25, 12.3, 1234.0)] == ["-", "0", "0.25", "12.3", "1234"]


def test_the_line_of_rates_fits() -> None:
    one = seen()
    one.rates.extend([0.0, 50.0, 100.0] * 40)
    assert len(header.rate_line(one, width=78)) <= 78
    assert "100 req/s at most" in header.rate_line(one, width=78)


def test_a_line_of_no_worker_says_which_process_wrote_it() -> None:
    """The supervisor, or the template of --preload."""
    one = seen()
    one.logged(
        [{"message": "a", "process": "template"}, {"message": "b"}, {"message": "c", "worker": 2}], anew=True
    )

    assert [row["worker"] for row in BY_NAME["log"].rows(one)] == [2, "supervisor", "template"]
