"""Threads and processes that cannot be started."""

import errno
import threading

import pytest

from flaskd.errors import ConfigError
from flaskd.process.threads import HINT, check_threads, explained


def test_the_threads_that_were_tried_have_ended() -> None:
    """The check leaves nothing behind."""
    before = threading.active_count()
    check_threads(4)
    assert threading.active_count() == before


def test_too_few_threads_are_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """With how many there can be; those that were started have ended."""
    before, start, left = threading.active_count(), threading.Thread.start, [1, 1]

    def limited(thread: threading.Thread) -> None:
        if not left:
            raise RuntimeError("can't start new thread")
        left.pop()
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", limited)
    with pytest.raises(ConfigError, match="needs 4 threads, and only 2 can be started"):
        check_threads(4)
    assert threading.active_count() == before


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (RuntimeError("can't start new thread"), "no further thread can be started"),
        (OSError(errno.EAGAIN, "Resource temporarily unavailable"), "no further process can be started"),
        (RuntimeError("another"), None),
        (OSError(errno.EMFILE, "Too many open files"), None),
    ],
)
def test_what_the_kernel_refuses_is_told_with_the_next_step(error: Exception, told: str | None) -> None:
    """Other errors are not explained."""
    found = explained(error)
    assert (found and str(found), found and found.hint) == (told, told and HINT)
