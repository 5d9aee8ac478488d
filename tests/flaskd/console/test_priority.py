"""How grave a line is: told to the journal only, on every line, before any other prefix."""

import contextlib
import io
import os

import pytest

from flaskd.console import priority
from flaskd.console.priority import Priority
from flaskd.console.say import say


@pytest.fixture
def stderr(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """The stderr of a process whose lines are not marked yet."""
    monkeypatch.setattr(priority, "_marking", False)
    return io.StringIO()


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


def test_a_printed_line_may_choose_its_priority(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the journal would have it (sd-daemon(3)); without a journal a line is passed on as it is."""
    monkeypatch.setattr(priority, "_marking", False)
    assert priority.of(b"<3>no database") == (Priority.INFO, b"<3>no database")

    monkeypatch.setattr(priority, "_marking", True)

    assert priority.of(b"<3>no database") == (Priority.ERR, b"no database")
    assert priority.of(b"<0>no machine") == (Priority.ERR, b"no machine")
    assert priority.of(b"<b>bold</b>") == (Priority.INFO, b"<b>bold</b>")
    assert priority.of(b"") == (Priority.INFO, b"")
