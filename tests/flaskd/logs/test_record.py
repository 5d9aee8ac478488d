"""A record on its way to the supervisor: any text arrives, and nothing that a worker sends does harm."""

import time

import pytest
from hypothesis import given, strategies as st

from flaskd.logs.record import LATEST, LONGEST, LONGEST_LINE, LONGEST_NAME, decode, encode


@given(st.text(), st.text())
def test_any_text_arrives(text: str, logger: str) -> None:
    """In one line, whatever characters it has; lone surrogates are escaped."""
    line = encode(1.5, 40, logger, request_id="ab-1", text=text)

    found = decode(line, 3)

    assert line.count(b"\n") == 1
    assert found is not None
    assert (found.at, found.level, found.worker, found.request_id) == (1.5, "error", 3, "ab-1")
    assert found.message == text.encode("utf-8", "backslashreplace").decode()


def test_lone_surrogates_are_escaped() -> None:
    """A file whose name is no UTF-8 has them (os.fsdecode)."""
    found = decode(encode(1.0, 40, "shop\udcff", request_id="", text="cannot read \udcff.txt"), 3)

    assert found is not None
    assert (found.logger, found.message) == ("shop\\udcff", "cannot read \\udcff.txt")


def test_a_text_without_end_is_cut_and_says_so() -> None:
    """Even where each character takes six bytes, it fits what the supervisor reads."""
    line = encode(1.0, 20, "shop", request_id="", text="\0" * (LONGEST + 5))

    found = decode(line, 3)

    assert len(line) < LONGEST_LINE
    assert found is not None
    assert found.message.endswith("\0… (5 more characters)")


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"Traceback (most recent call last):",
        b"[1,2]",
        b'{"at":1}',
        b'["x",20,"a","b","c"]',
        b'[1,20,"a","b","\xff"]',
        b"[" * 100_000,
    ],
)
def test_a_line_that_is_no_record_is_none(line: bytes) -> None:
    """The worker's application may write whatever it likes."""
    assert decode(line, 3) is None


@pytest.mark.parametrize("at", [-1.0, LATEST * 2.0, 1e300])
def test_a_time_that_cannot_be_is_now(at: float) -> None:
    """No worker makes the supervisor fail over a date."""
    found = decode(encode(at, 10**6, "l" * 1000, request_id="r" * 1000, text="x"), 3)

    assert found is not None
    assert abs(found.at - time.time()) < 60
    assert (found.level, len(found.logger), len(found.request_id)) == ("critical", LONGEST_NAME, LONGEST_NAME)
