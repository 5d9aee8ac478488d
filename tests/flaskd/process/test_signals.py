"""Which signals are orders of their own."""

import pytest

from flaskd.process.signals import DUPLICATE_WINDOW, Duplicates
from flaskd_ctl.protocol import Actor

TIMEOUT = Actor(via="signal", detail="SIGTERM", uid=1000, pid=7)
OTHER = Actor(via="signal", detail="SIGTERM", uid=1000, pid=8)
INT = Actor(via="signal", detail="SIGINT", uid=1000, pid=7)
KERNEL = Actor(via="signal", detail="SIGINT")


@pytest.mark.parametrize(
    ("first", "second", "pause", "echo"),
    [
        (TIMEOUT, TIMEOUT, 0.0, True),
        (TIMEOUT, TIMEOUT, DUPLICATE_WINDOW / 2, True),
        (TIMEOUT, TIMEOUT, DUPLICATE_WINDOW, False),
        (TIMEOUT, OTHER, 0.0, False),
        (TIMEOUT, INT, 0.0, False),
        (KERNEL, KERNEL, 0.0, False),
    ],
)
def test_a_signal_to_us_and_then_to_our_group_is_one_order(
    first: Actor, second: Actor, pause: float, echo: bool
) -> None:
    """As timeout(1) sends it. Who presses Ctrl-C twice means it, and so does who waits a moment, or sends another signal."""
    echoes = Duplicates()
    assert not echoes.is_duplicate(first, 100.0)
    assert echoes.is_duplicate(second, 100.0 + pause) is echo


def test_echoes_do_not_put_off_the_next_order() -> None:
    """The time counts from the order itself."""
    echoes = Duplicates()
    assert not echoes.is_duplicate(TIMEOUT, 100.0)
    assert echoes.is_duplicate(TIMEOUT, 100.0 + DUPLICATE_WINDOW * 0.9)
    assert not echoes.is_duplicate(TIMEOUT, 100.0 + DUPLICATE_WINDOW)
