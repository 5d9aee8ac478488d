"""Pages drawn from the code say what the code says now."""

import subprocess
import sys
from pathlib import Path

import pytest

from flaskd.migrate import SERVERS

DOCS = Path(__file__).parents[2] / "docs"


PAGES = ["protocol", "states", "configuration", "doctor"]
PAGES += [f"coming-from/{server}" for server in SERVERS]


@pytest.mark.parametrize("page", PAGES)
def test_page_is_what_the_generator_prints(page: str) -> None:
    """Where this fails, run `python docs/generate.py` and look at what has changed."""
    drawn = subprocess.run(
        [sys.executable, DOCS / "generate.py", page], capture_output=True, check=True, encoding="utf-8"
    )

    assert (DOCS / f"{page}.md").read_text(encoding="utf-8") == drawn.stdout
