"""How a line of the log is written: nothing that was logged can look like a line of its own."""

import json
import re

import pytest

from flaskd.console.priority import Priority
from flaskd.logs.form import Entry, as_json, as_plain, as_text, for_journal
from flaskd_ctl.contract.log_line import BAR, LEVELS, level_name, rank, timestamp
from flaskd_ctl.protocol import LogLine

AT = 1767225690.25
HEAD = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d (\w+) +\[(\w+)\b")


def record(message: str, *, worker: int | None = 3, request_id: str = "", logger: str = "shop") -> Entry:
    process = "supervisor" if worker is None else "worker"
    line = LogLine(AT, "error", worker, message, request_id=request_id, logger=logger, process=process)
    return Entry(line, priority=Priority.ERR)


def printed(raw: bytes, *, stream: str = "stdout") -> Entry:
    return Entry(LogLine(AT, None, 3, raw.decode("utf-8", "backslashreplace"), stream=stream), raw)


def test_a_record_has_time_level_worker_request_and_logger() -> None:
    """In this order; what is not there leaves no gap."""
    assert (
        as_text(record("no stock", request_id="ab-1")).decode()
        == f"{timestamp(AT)} error    [3 ab-1] shop: no stock\n"
    )
    assert (
        as_text(record("x", worker=None, logger="")).decode() == f"{timestamp(AT)} error    [supervisor] x\n"
    )


def test_a_line_of_the_template_says_so_in_each_format() -> None:
    """It is no worker, so it has no worker's id."""
    raw = Entry(LogLine(AT, None, None, "loaded", stream="stdout", process="template"), b"loaded")
    recorded = Entry(LogLine(AT, "info", None, "loaded", logger="shop", process="template"))

    assert as_text(raw).endswith(b" stdout   [template] loaded\n")
    assert as_text(recorded).endswith(b" info     [template] shop: loaded\n")
    assert for_journal(raw) == b"[template] loaded\n"
    assert json.loads(as_json(raw))["worker"] is None
    assert json.loads(as_json(raw))["process"] == "template"


def test_a_printed_line_keeps_its_bytes() -> None:
    """Its stream stands in the place of a level."""
    raw = b"\xff\x1b[31mred\x1b[0m"

    assert as_text(printed(raw)) == f"{timestamp(AT)} stdout   [3] ".encode() + raw + b"\n"


FORGERIES = ["\x9b2J", "\x7f", "\n", "\r", "\r\n", "\x0b", "\x0c", "\x85", "\u2028", "\u2029", "\n\n"]


@pytest.mark.parametrize("end", FORGERIES)
@pytest.mark.parametrize("field", ["message", "logger", "request_id"])
def test_no_text_begins_a_line_of_another_worker(end: str, field: str) -> None:
    """Whatever ends a line for somebody: each line but the first begins with the bar."""
    forged = f"x{end}{timestamp(AT)} error    [7] bank: robbed"
    values = {"message": "x", "logger": "shop", "request_id": "", field: forged}

    text = as_text(
        record(values["message"], logger=values["logger"], request_id=values["request_id"])
    ).decode()

    first, *rest = text.rstrip("\n").splitlines()
    match = HEAD.match(first)
    assert match
    assert match[2] == "3"
    assert all(line.startswith(BAR) for line in rest)


@pytest.mark.parametrize("end", FORGERIES)
def test_json_is_one_line_that_reads_as_what_was_logged(end: str) -> None:
    """Line ends are escaped, so that nobody sees two lines."""
    entry = record(f"a{end}b", request_id="ab-1")

    written = as_json(entry)

    assert len(written.decode().splitlines()) == 1
    assert written.endswith(b"\n")
    assert written.decode().rstrip("\n").isprintable()
    assert json.loads(written) == {
        "time": timestamp(AT),
        "level": "error",
        "process": "worker",
        "worker": 3,
        "request_id": "ab-1",
        "logger": "shop",
        "stream": None,
        "message": f"a{end}b",
    }


def test_the_journal_is_told_the_priority_of_each_line() -> None:
    """It makes an entry of each; a traceback is as grave as what it belongs to."""
    assert (
        for_journal(record("no\ndatabase", request_id="ab-1")) == b"<3>[3 ab-1] shop: no\n<3>  | database\n"
    )
    assert for_journal(printed(b"hello")) == b"[3] hello\n"


def test_levels_between_two_are_the_lower_one() -> None:
    """A library may have numbers of its own."""
    assert [level_name(number) for number in (-5, 0, 10, 19, 20, 25, 30, 45, 50, 99)] == [
        "debug",
        "debug",
        "debug",
        "debug",
        "info",
        "info",
        "warning",
        "error",
        "critical",
        "critical",
    ]
    assert sorted(LEVELS, key=rank) == list(LEVELS)
    assert rank(None) == rank("info")


def test_times_have_an_offset_and_never_go_back() -> None:
    """A second is rounded up together with its milliseconds."""
    assert timestamp(1767225690.9996)[:23] == timestamp(1767225691.0)[:23]
    assert re.fullmatch(r"2026-01-01T0\d:01:30\.250[+-]\d\d:\d\d|20.*", timestamp(AT))


def test_plain_lines_have_neither_time_nor_worker() -> None:
    """What was printed is as it was printed; flaskd's own lines need no level, and nothing logged acts on a terminal."""
    assert as_plain(printed(b"\xff\x1b[31mred\x1b[0m")) == b"\xff\x1b[31mred\x1b[0m\n"
    assert as_plain(record("no\x1b[31m\nstock", request_id="ab-1")) == b"error shop: no\\x1b[31m\nstock\n"
    assert as_plain(record("reloaded", logger="flaskd", worker=None)) == b"flaskd: reloaded\n"
    assert as_plain(record("  http  x", logger="", worker=None)) == b"  http  x\n"
