"""The plots of the documentation: bars side by side, ours in colour, with a line from the least to the greatest round."""

import os
import statistics
import textwrap
from collections.abc import Mapping
from typing import Any, Final

import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot
from matplotlib.axes import Axes

from benchmarks.contenders import OURS, in_order
from benchmarks.findings import Rounds
from benchmarks.page import PLOTS

COLOURS: Final = ("#b0b7bf", "#1f6fb2")
"""Theirs and ours."""

INK: Final = "#7a7f87"
"""Of texts and lines: it can be read on white and on black, since there is no ground."""

STYLE: Final[dict[Any, Any]] = {
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK),
    "svg.fonttype": "none",  # texts stay texts: small, and can be searched
    "svg.hashsalt": "flaskd",  # the same numbers, the same file
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def draw(directory: str, rounds: Mapping[str, Rounds]) -> None:
    """Write each plot for which anything was measured."""
    os.makedirs(directory, exist_ok=True)
    for name, plot in PLOTS.items():
        panels = [rounds[key] for key in plot.keys if key in rounds]
        if panels:
            _plot(os.path.join(directory, f"{name}.svg"), panels)


def _plot(path: str, panels: list[Rounds]) -> None:
    names = in_order({name for rounds in panels for name in rounds.numbers})
    with matplotlib.rc_context(STYLE):
        figure, axes = pyplot.subplots(
            1,
            len(panels),
            sharey=True,
            squeeze=False,
            layout="constrained",
            figsize=(9, 0.6 + 0.26 * len(names)),
        )
        for each, rounds in zip(axes[0], panels, strict=True):
            _panel(each, rounds, names)
            each.set_title(textwrap.fill(rounds.what, width=100 // len(panels)), fontsize=9)
        figure.savefig(path, transparent=True, metadata={"Date": None, "Creator": None})
        pyplot.close(figure)


def _panel(axes: Axes, rounds: Rounds, names: list[str]) -> None:
    ours = tuple(each.name for each in OURS)
    for place, name in enumerate(reversed(names)):
        numbers = rounds.numbers.get(name)
        if not numbers:
            axes.text(0, place, " -", va="center", color=INK)
            continue
        middle = statistics.median(numbers)
        axes.barh(place, middle, height=0.7, color=COLOURS[name.startswith(ours)])
        axes.plot([min(numbers), max(numbers)], [place, place], color=INK, linewidth=0.8)
        axes.text(
            max(numbers),
            place,
            f" {middle:,.0f}" if middle >= 100 else f" {middle:.3g}",
            va="center",
            fontsize=7.5,
        )
    axes.set_yticks(range(len(names)), list(reversed(names)))
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel(rounds.unit)
    most = max((number for numbers in rounds.numbers.values() for number in numbers), default=0)
    axes.set_xlim(0, 1.22 * most or 1)
    axes.locator_params(axis="x", nbins=4)  # more of them overlap where panels are narrow
