"""How grave a line is: told to the journal only, on every line, before any other prefix."""

import contextlib
import io
import logging
import os
from collections.abc import Iterator

import pytest

from flaskd.console import priority
from flaskd.console.priority import Priority
from flaskd.console.say import say


@pytest.fixture
def stderr(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """The stderr of a process whose lines are marked, with logging as `flaskd run` sets it up."""
    stream = io.StringIO()
    monkeypatch.setattr(priority, "_marking", False)
    root = logging.getLogger()
    before = root.handlers[:], root.level
    root.handlers[:] = [logging.StreamHandler(stream)]
    root.setLevel(logging.DEBUG)
    yield stream
    root.handlers[:], root.level = before


def test_journal_is_known_by_device_and_inode() -> None:
    """JOURNAL_STREAM is inherited by everybody, so it says which stream is meant (systemd.exec(5))."""
    reader, writer = os.pipe()
    there = os.fstat(writer)

    assert priority.journal_reads(writer, {"JOURNAL_STREAM": f"{there.st_dev}:{there.st_ino}"})
    assert not priority.journal_reads(writer, {"JOURNAL_STREAM": f"{there.st_dev}:{there.st_ino + 1}"})
    assert not priority.journal_reads(writer, {})
    os.close(writer)
    os.close(reader)
    assert not priority.journal_reads(writer, {"JOURNAL_STREAM": "1:2"})


def test_lines_are_marked_once_that_is_wanted(stderr: io.StringIO) -> None:
    """A terminal would show the marks; what is usual needs none."""
    with contextlib.redirect_stderr(stderr):
        say("flaskd: broken", Priority.ERR)
        priority.mark_lines()
        say("flaskd: broken", Priority.ERR)
        say("flaskd: fine")

    assert stderr.getvalue() == "flaskd: broken\n<3>flaskd: broken\nflaskd: fine\n"


def test_each_line_of_a_record_has_its_level(stderr: io.StringIO) -> None:
    """The journal makes an entry of each line; a traceback is as grave as what it belongs to."""
    with contextlib.redirect_stderr(stderr):
        priority.mark_lines()

    logging.getLogger("shop").error("no\ndatabase")
    logging.getLogger("shop").warning("slow")
    logging.getLogger("shop").info("paid")
    logging.getLogger("shop").debug("cents")

    assert stderr.getvalue() == "<3>no\n<3>database\n<4>slow\npaid\n<7>cents\n"


def test_mark_of_a_worker_stays_in_front(monkeypatch: pytest.MonkeyPatch) -> None:
    """The journal looks at a line's first bytes only; without a journal a line is passed on as it is."""
    monkeypatch.setattr(priority, "_marking", False)
    assert priority.before(b"[2] ", b"<3>no database") == b"[2] <3>no database"

    monkeypatch.setattr(priority, "_marking", True)

    assert priority.before(b"[2] ", b"<3>no database") == b"<3>[2] no database"
    assert priority.before(b"[2] ", b"<b>bold</b>") == b"[2] <b>bold</b>"
    assert priority.before(b"[2] ", b"") == b"[2] "
