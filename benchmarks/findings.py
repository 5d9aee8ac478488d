"""What a benchmark finds: figures, which may have a goal, and the rounds that tables and plots are made of."""

import statistics
from typing import Literal

import msgspec

Verdict = Literal["reached", "missed", "for information", "not measured"]


class Figure(msgspec.Struct, frozen=True):
    """One line of the result, mostly a ratio. `goal` None: for information. `exact`: a count, the same on any machine.

    `low` and `high` are the least and the greatest of the rounds.
    """

    what: str
    against: str
    value: float | None
    goal: float | None
    detail: str
    exact: bool = False
    low: float | None = None
    high: float | None = None

    @property
    def verdict(self) -> Verdict:
        """Compare with the goal, at the goal's own precision."""
        if self.value is None:
            return "not measured"
        if self.goal is None:
            return "for information"
        return "reached" if round(self.value, 2) <= self.goal else "missed"


class Rounds(msgspec.Struct, frozen=True):
    """What each contender measured, round by round. `key` names it for tables and plots."""

    key: str
    what: str
    unit: str
    numbers: dict[str, list[float]]


class Findings(msgspec.Struct, frozen=True):
    """All that one benchmark found."""

    figures: list[Figure]
    rounds: list[Rounds] = []


def ratio(
    what: str, *, ours: list[float], theirs: list[float], against: str, goal: float | None, unit: str
) -> Figure:
    """Make a figure of two contenders' rounds: the median of the ratios of neighbours."""
    ratios = sorted(own / other for own, other in zip(ours, theirs, strict=True))
    detail = f"{statistics.median(ours):.4g} / {statistics.median(theirs):.4g} {unit}, {len(ratios)} rounds"
    return Figure(what, against, statistics.median(ratios), goal, detail, low=ratios[0], high=ratios[-1])


def count(what: str, number: int, *, goal: int | None, detail: str = "") -> Figure:
    """Make a figure of something that is counted, against nothing; with a goal it is held to it on any machine."""
    return Figure(what, "", number, goal, detail, exact=goal is not None)


def missing(what: str, against: str, why: str, *, goal: float | None = None) -> Figure:
    """Make a figure that says why there is none."""
    return Figure(what, against, None, goal, why)
