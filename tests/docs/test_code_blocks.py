"""The Python on each page runs: the blocks of a page one after the other, in one namespace.

A page that needs something before its first block (a running instance, say) makes it in an HTML comment:
`<!--- invisible-code-block: python`. What cannot be run is marked with `<!--- skip: next -->`, and why.
"""

import contextlib
from pathlib import Path

import pytest
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser, SkipParser

PROJECT = Path(__file__).parents[2]
PAGES = [PROJECT / "README.md", *sorted((PROJECT / "docs").rglob("*.md"))]


@pytest.mark.live
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_python_on_the_page_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No example that is shown can be wrong without being noticed."""
    monkeypatch.chdir(tmp_path)
    sybil = Sybil(parsers=[PythonCodeBlockParser(), SkipParser()], path=str(page.parent))
    document = sybil.parse(page)

    with contextlib.ExitStack() as cleanup:
        # A page may leave in `cleanup` what is to be closed at its end.
        document.namespace.update({"__name__": "page", "cleanup": cleanup})
        for example in document.examples():
            example.evaluate()
