"""Durations on the command line: seconds, or a number with a unit."""

import click
import pytest

from flaskd_ctl.cli.arguments import Step
from flaskd_ctl.cli.options import Seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("5", 5.0), ("0", 0.0), ("0.5", 0.5), ("5s", 5.0), ("1.5s", 1.5), ("10m", 600.0), ("1h", 3600.0)],
)
def test_a_duration_is_seconds_or_has_a_unit(text: str, seconds: float) -> None:
    """As people write it for other tools."""
    assert Seconds().convert(text, None, None) == seconds


@pytest.mark.parametrize("text", ["", "s", "ten", "5d", "5 min", "1h30m", "5ss", "nan", "10 m\x1b"])
def test_what_is_no_duration_is_refused_with_what_is(text: str) -> None:
    """Nothing is guessed."""
    with pytest.raises(click.UsageError, match="is not"):
        Seconds().convert(text, None, None)


@pytest.mark.parametrize("text", ["-1", "-1s", "25h", "1441m", "86401", "inf"])
def test_a_duration_is_at_most_a_day(text: str) -> None:
    """The protocol's own limit, checked where the units are known."""
    with pytest.raises(click.UsageError, match="is not between 0 and 86400 seconds"):
        Seconds().convert(text, None, None)


def test_a_period_is_more_than_nothing() -> None:
    """`set --for 0` would undo it at once; the sentence is ours, not the protocol's."""
    assert Seconds(zero=False).convert("0.5", None, None) == 0.5
    with pytest.raises(click.UsageError, match="give more than 0 seconds, or leave it out"):
        Seconds(zero=False).convert("0s", None, None)


@pytest.mark.parametrize(
    ("text", "seconds"), [("10", 10), ("30s", 30), ("1m", 60), ("5m", 300), ("300", 300)]
)
def test_a_step_of_the_history_is_whole_periods(text: str, seconds: int) -> None:
    assert Step().convert(text, None, None) == seconds


@pytest.mark.parametrize("text", ["0", "5", "15", "10.5s", "6m", "1h"])
def test_another_step_is_refused_with_what_is_possible(text: str) -> None:
    with pytest.raises(click.UsageError, match="is not a multiple of 10 s between 10 s and 5 min"):
        Step().convert(text, None, None)
