"""Each file that the documentation names is there."""

import re
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
PAGES = [*PROJECT.glob("*.md"), *(PROJECT / "docs").rglob("*.md")]
NAMED = re.compile(
    r"(?<![\w./-])((?:flaskd|flaskd_ctl|tests|benchmarks|\.ci)/[\w./-]*\w(?:\.\w+)?/?)(?![\w<*])"
)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_files_that_a_page_names_are_there(page: Path) -> None:
    """Modules move; a page that sends its reader to none is worse than one that names none."""
    named = set(NAMED.findall(page.read_text(encoding="utf-8")))
    places = [PROJECT, page.parent]
    there = {
        name
        for name in named
        for place in places
        if (place / name).exists() or (place / f"{name}.py").exists()
    }
    assert not named - there
