"""The pages for every day: what they show runs as it stands there."""

import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.support.daemons import PATIENCE

pytestmark = pytest.mark.live

DOCS: Final = Path(__file__).parents[2] / "docs"
FILE: Final = re.compile(r"```python\n# (\w+\.py)\n(.*?)```", re.DOTALL)


def files(page: str) -> dict[str, str]:
    """Return the files on a page: Python code that begins with the file's name."""
    return dict(FILE.findall((DOCS / page).read_text(encoding="utf-8")))


def test_the_tests_on_the_page_pass(pytester: pytest.Pytester) -> None:
    """With xdist too, of which each process has its own server."""
    found = files("testing.md")
    assert found.keys() == {"shop.py", "test_shop.py", "conftest.py", "test_site.py", "test_typed.py"}
    for name, text in found.items():
        (pytester.path / name).write_text(text)
    pytester.makeini("[pytest]\npythonpath = .\nfilterwarnings =\n    error\naddopts = -p no:dash\n")
    pytester.runpytest_subprocess("-n", "2", timeout=PATIENCE + 60).assert_outcomes(passed=4)


@pytest.mark.parametrize("page", ["python-app.md", "ide.md"])
def test_the_script_on_the_page_serves_until_it_is_interrupted(page: str, tmp_path: Path) -> None:
    """By Ctrl-C, which ends it with 0; only its port is another one here."""
    (name, text), *_ = files(page).items()
    assert name == "app.py"
    assert "port=8000" in text
    (tmp_path / name).write_text(text.replace("port=8000", "port=0"))
    process = subprocess.Popen(
        [sys.executable, name], cwd=tmp_path, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True
    )
    try:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("  stop "):
                break
        process.send_signal(signal.SIGINT)
        rest = process.communicate(timeout=PATIENCE)[1]
    finally:
        process.kill()
        process.wait()
    assert "nothing lost" in rest
    assert process.returncode == 0
