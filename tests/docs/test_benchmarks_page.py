"""The tables on the page of benchmarks say what was found."""

from pathlib import Path

from benchmarks import page

DOCS = Path(__file__).parents[2] / "docs"


def test_tables_are_drawn_from_the_findings() -> None:
    """Where this fails, run `python -m benchmarks.all --draw docs` and look at what has changed."""
    text = (DOCS / page.PAGE).read_text(encoding="utf-8")

    assert page.drawn(text, page.read(str(DOCS))) == text
