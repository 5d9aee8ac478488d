"""Measuring side by side: contenders take turns within one run, and what counts is the ratio of neighbours.

A shared machine is faster and slower by turns; absolute numbers from it mean little, and two runs cannot be
compared. So every round measures each contender once, in a new order, a figure is the median of the rounds'
ratios, and the spread of those ratios is shown beside it.
"""

import argparse
import os
import platform
import random
import statistics
import sys
from collections.abc import Callable, Mapping

import msgspec

from benchmarks.findings import Figure, Findings, Rounds

Measure = Callable[[bool], Findings]
"""A benchmark: takes `quick`, returns what it found."""


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


def options_parser() -> argparse.ArgumentParser:
    """Make a parser of the options that each benchmark has, and all of them as one."""
    parser = argparse.ArgumentParser(
        description=sys.modules["__main__"].__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="few rounds: shows that it works, not how well")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--strict", action="store_true", help="exit 1 for any goal that was missed")
    return parser


def tell(findings: Findings, *, as_json: bool, strict: bool) -> None:
    """Print the findings; exit 1 if an exact figure (a count) missed its goal, with `strict` if any did."""
    if as_json:
        print(msgspec.json.encode(findings).decode())
    else:
        print(f"{platform.platform()}, {os.cpu_count()} CPUs, Python {platform.python_version()}")
        show(findings.figures)
        for rounds in findings.rounds:
            if rounds.unit != "requests":  # counts are in the figures
                show_rounds(rounds)
    if any(figure.verdict == "missed" and (figure.exact or strict) for figure in findings.figures):
        sys.exit(1)


def show(figures: list[Figure]) -> None:
    """Print a table."""
    width = max((len(figure.what) for figure in figures), default=0)
    peers = max((len(figure.against) for figure in figures), default=0)
    for figure in figures:
        value = "-" if figure.value is None else f"{figure.value:.2f}".removesuffix(".00")
        goal = "" if figure.goal is None else f"<= {figure.goal:g}"
        left = f"{figure.what:<{width}}  {figure.against:<{peers}}  {value:>7} {goal:>7}"
        spread = "" if figure.low is None else f"{figure.low:.2f} to {figure.high:.2f}; "
        print(f"{left}  {figure.verdict:<15}  {spread}{figure.detail}")


def show_rounds(rounds: Rounds) -> None:
    """Print each contender's median and range."""
    print(f"\n{rounds.what}, {rounds.unit}")
    for name, numbers in rounds.numbers.items():
        told = f"{statistics.median(numbers):.4g}  ({min(numbers):.4g} to {max(numbers):.4g})"
        print(f"  {name:<36} {told}")


def main(measure: Measure) -> None:
    """Run one benchmark from the command line."""
    options = options_parser().parse_args()
    tell(measure(options.quick), as_json=options.json, strict=options.strict)
