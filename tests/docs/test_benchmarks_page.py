"""The tables and plots of the documentation say what was found."""

from pathlib import Path

import pytest

from benchmarks import page
from benchmarks.findings import Findings, Rounds

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("name", page.PAGES)
def test_tables_and_plots_are_drawn_from_the_findings(name: str) -> None:
    """Where this fails, run `python -m benchmarks.all --draw docs` and look at what has changed."""
    text = (DOCS / name).read_text(encoding="utf-8")

    assert page.drawn(text, page.read(str(DOCS))) == text


def test_each_plot_is_on_a_page_once_it_is_measured() -> None:
    """Whoever adds one shows it; before, nobody sees a picture that is not there."""
    for name, plot in page.PLOTS.items():
        rounds = [Rounds(key, "", "s", {"flaskd on waitress": [1.0]}) for key in plot.keys]
        notes = {"all": page.Note("2026-01-01", "", {}, Findings([], rounds))}
        shown = f"![{plot.shows}](benchmarks/{name}.svg)"
        texts = [(DOCS / each).read_text(encoding="utf-8") for each in page.PAGES]

        assert any(shown in page.drawn(text, notes) for text in texts), name
        assert all(shown not in page.drawn(text, {}) for text in texts), name
        assert (DOCS / "benchmarks" / f"{name}.svg").exists() == any(shown in text for text in texts), name
