"""Measuring side by side: contenders take turns within one run, and what counts is the ratio of neighbours.

A shared machine is faster and slower by turns; absolute numbers from it mean little, and two runs cannot be
compared. So every round measures each contender once, in a new order, a figure is the median of the rounds'
ratios, and the spread of those ratios is shown beside it.
"""

import argparse
import dataclasses
import json
import os
import platform
import random
import statistics
import sys
from collections.abc import Callable, Mapping
from typing import Literal

Verdict = Literal["reached", "MISSED", "for information", "not measured"]


@dataclasses.dataclass(frozen=True)
class Figure:
    """One line of the result. `goal` None: for information. `exact`: a count, the same on any machine."""

    what: str
    against: str
    value: float | None
    goal: float | None
    detail: str
    exact: bool = False

    @property
    def verdict(self) -> Verdict:
        """Compare with the goal, at the goal's own precision."""
        if self.value is None:
            return "not measured"
        if self.goal is None:
            return "for information"
        return "reached" if round(self.value, 2) <= self.goal else "MISSED"


Measure = Callable[[bool], list[Figure]]
"""A benchmark: takes `quick`, returns its figures."""


def interleave(contenders: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Measure each contender once a round, in an order that changes; return each one's numbers by round."""
    numbers: dict[str, list[float]] = {name: [] for name in contenders}
    order = list(contenders)
    rng = random.Random(rounds)
    for _ in range(rounds):
        rng.shuffle(order)
        for name in order:
            numbers[name].append(contenders[name]())
    return numbers


def ratio(
    what: str, *, ours: list[float], theirs: list[float], against: str, goal: float | None, unit: str
) -> Figure:
    """Make a figure of two contenders' rounds: the median of the ratios of neighbours."""
    ratios = sorted(own / other for own, other in zip(ours, theirs, strict=True))
    detail = (
        f"{statistics.median(ours):.4g} / {statistics.median(theirs):.4g} {unit}, "
        f"ratios {ratios[0]:.2f} to {ratios[-1]:.2f} in {len(ratios)} rounds"
    )
    return Figure(what, against, statistics.median(ratios), goal, detail)


def missing(what: str, against: str, why: str) -> Figure:
    """Make a figure that says why there is none."""
    return Figure(what, against, None, None, why)


def show(figures: list[Figure]) -> None:
    """Print a table."""
    width = max(len(figure.what) for figure in figures)
    peers = max(len(figure.against) for figure in figures)
    for figure in figures:
        value = "-" if figure.value is None else f"{figure.value:.2f}".removesuffix(".00")
        goal = "" if figure.goal is None else f"<= {figure.goal:g}"
        left = f"{figure.what:<{width}}  {figure.against:<{peers}}  {value:>7} {goal:>7}"
        print(f"{left}  {figure.verdict:<15}  {figure.detail}")


def main(measure: Measure) -> None:
    """Run one benchmark, or several as one, from the command line.

    Exit 1 if an exact figure (a count) missed its goal, or with `--strict` if any did.
    """
    parser = argparse.ArgumentParser(description=sys.modules["__main__"].__doc__)
    parser.add_argument("--quick", action="store_true", help="few rounds: shows that it works, not how well")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--strict", action="store_true", help="exit 1 for any goal that was missed")
    options = parser.parse_args()
    figures = measure(options.quick)
    if options.json:
        print(json.dumps([{**dataclasses.asdict(figure), "verdict": figure.verdict} for figure in figures]))
    else:
        print(f"{platform.platform()}, {os.cpu_count()} CPUs, Python {platform.python_version()}")
        show(figures)
    if any(figure.verdict == "MISSED" and (figure.exact or options.strict) for figure in figures):
        sys.exit(1)
