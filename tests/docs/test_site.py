"""The navigation has each page of the documentation, and only pages that are there; Zensical does not look."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parent.parent.parent
DOCS = ROOT / "docs"


def pages(entry: Any) -> Iterator[str]:
    """Give the files of an entry of the navigation, and of those below it."""
    match entry:
        case str():
            yield entry
        case dict():
            for below in entry.values():
                yield from pages(below)
        case list():
            for below in entry:
                yield from pages(below)


def test_the_navigation_has_each_page_once() -> None:
    written = sorted(str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md"))
    one_by_one = [page for page in written if not page.startswith("decisions/0")]
    listed = list(pages(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]))
    assert one_by_one == sorted(listed)


def test_the_list_of_decisions_has_each_decision() -> None:
    index = (DOCS / "decisions" / "index.md").read_text()
    missing = [page.name for page in (DOCS / "decisions").glob("0*.md") if f"]({page.name})" not in index]
    assert missing == []
