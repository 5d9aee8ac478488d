"""The ring: bounded, whatever is logged; a reader that is slow learns exactly how much it has missed."""

import threading

import pytest

from flaskd.logs.ring import LONGEST_MESSAGE, Ring, Wanted, shortened
from flaskd_ctl.protocol import LogLine

WAIT = 10.0


def line(
    message: str = "x", *, worker: int | None = 1, level: str | None = "info", request_id: str = ""
) -> LogLine:
    return LogLine(1.0, level, worker, message, request_id=request_id)


def numbered(*numbers: int) -> list[LogLine]:
    return [line(str(number)) for number in numbers]


def messages(lines: list[LogLine]) -> list[str]:
    return [each.message for each in lines]


def test_the_oldest_lines_go_first() -> None:
    """Those that are kept are the newest; the others are counted."""
    ring = Ring(lines=3)
    ring.append(numbered(1, 2, 3, 4, 5))

    found = ring.newest(Wanted(), 2)

    assert messages(found.lines) == ["4", "5"]
    assert (found.left_out, found.dropped, found.end) == (1, 2, 5)


def test_large_lines_are_bounded_by_their_size() -> None:
    """Also non-ASCII ones, which take more memory."""
    ring = Ring(size=1_000_000)
    for _ in range(100):
        ring.append([line("ü€" * 25_000)])

    found = ring.newest(Wanted(), 1000)

    assert 1 <= len(found.lines) <= 10
    assert found.dropped == 100 - len(found.lines)


def test_a_line_that_is_too_large_alone_is_not_kept() -> None:
    """Memory is bounded also then."""
    ring = Ring(size=1000)
    ring.append([line("x" * 2000)])

    assert ring.newest(Wanted(), 10).lines == []
    assert ring.newest(Wanted(), 10).dropped == 1


def test_a_reader_gets_each_line_once_in_order() -> None:
    """However it divides its reading."""
    ring = Ring()
    ring.append(numbered(*range(10)))
    position, read = 0, []
    while position < ring.end:
        lines, position, lost = ring.since(position, 3)
        read += messages(lines)
        assert lost == 0

    assert read == [str(number) for number in range(10)]
    assert ring.since(position, 3) == ([], 10, 0)


def test_a_slow_reader_is_told_how_many_it_has_missed() -> None:
    """Exactly, and it goes on with the oldest that is left."""
    ring = Ring(lines=4)
    ring.append(numbered(*range(10)))

    lines, position, lost = ring.since(1, 100)

    assert (messages(lines), position, lost) == (["6", "7", "8", "9"], 10, 5)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (Wanted(), ["a", "b", "c", "d"]),
        (Wanted(worker=2), ["b"]),
        (Wanted(process="worker"), ["a", "b", "c", "d"]),
        (Wanted(process="template"), []),
        (Wanted(level="warning"), ["b", "c"]),
        (Wanted(level="info"), ["a", "b", "c", "d"]),
        (Wanted(level="critical"), []),
        (Wanted(request_id="r-1"), ["a", "c"]),
        (Wanted(worker=1, level="error", request_id="r-1"), ["c"]),
    ],
)
def test_lines_are_chosen_by_worker_level_and_request(wanted: Wanted, expected: list[str]) -> None:
    """A printed line counts as info."""
    ring = Ring()
    ring.append(
        [
            line("a", request_id="r-1"),
            line("b", worker=2, level="warning"),
            line("c", level="error", request_id="r-1"),
            line("d", worker=None, level=None),
        ]
    )

    assert messages(ring.newest(wanted, 10).lines) == expected


def test_who_waits_is_woken_once_and_by_the_next_line() -> None:
    """From the thread that writes; who waits no longer is not woken."""
    ring, woken, gone = Ring(), threading.Event(), threading.Event()
    ring.wake_at_next(woken.set)
    ring.wake_at_next(gone.set)
    ring.sleep_on(gone.set)

    writer = threading.Thread(target=ring.append, args=([line()],))
    writer.start()

    assert woken.wait(WAIT)
    writer.join(WAIT)
    woken.clear()
    ring.append([line()])
    assert not woken.is_set()
    assert not gone.is_set()


def test_a_long_message_is_cut_for_a_reply_and_says_so() -> None:
    """A traceback of some hundred lines is not."""
    assert shortened(line("x" * LONGEST_MESSAGE)).message == "x" * LONGEST_MESSAGE
    assert shortened(line("x" * (LONGEST_MESSAGE + 7))).message.endswith("x… (7 more characters)")
