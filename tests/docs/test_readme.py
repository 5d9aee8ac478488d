"""What README.md shows is run, or held to the page that is run."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from flaskd_ctl.cli.exits import MEANINGS
from tests.support.daemons import PATIENCE

pytestmark = pytest.mark.live

PROJECT = Path(__file__).parents[2]
README = (PROJECT / "README.md").read_text(encoding="utf-8")
APP = "from flask import Flask\napp = Flask(__name__)\n"


def blocks(language: str, text: str = README) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def shell(script: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a script with this environment's programs first in PATH."""
    path = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])
    return subprocess.run(
        ["sh", "-eu", "-c", script],
        cwd=cwd,
        env={**os.environ, "PATH": path},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
    )


def test_the_two_commands_are_there() -> None:
    """The first two blocks are the whole set-up, and each is one line that starts with a fresh machine's python3."""
    demo, test = blocks("sh")[:2]

    assert (demo, test) == ("python3 .ci/demo.py\n", "python3 .ci/test.py\n")


def test_demonstration_goes_as_it_should() -> None:
    """The story of .ci/demo.py, told with this interpreter's environment: its exit status is its verdict."""
    command = [sys.executable, str(PROJECT / ".ci" / "demo.py"), "--python", sys.executable]

    told = subprocess.run(command, capture_output=True, text=True, timeout=3 * PATIENCE)

    assert told.returncode == 0, told.stdout + told.stderr
    assert "# GET /delay/3: 200 OK" in told.stdout


def test_shell_commands_work_as_printed(tmp_path: Path) -> None:
    """The instance is found without being named, and every line succeeds."""
    (tmp_path / "shop.py").write_text(APP)
    (script,) = (block for block in blocks("sh") if "flaskd start" in block)

    done = shell(script.replace(":8000", ":0"), tmp_path)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "shop serves http://127.0.0.1:" in done.stdout
    assert "shop: running" in done.stdout
    assert "stopped in" in done.stdout


def test_service_is_the_one_that_is_tested() -> None:
    """Every line for systemd is in docs/systemd.md, whose commands a real systemd runs."""
    page = (PROJECT / "docs" / "systemd.md").read_text(encoding="utf-8")

    (excerpt,) = blocks("console")
    assert set(excerpt.splitlines()) <= {
        line for block in blocks("console", page) for line in block.splitlines()
    }


def test_it_is_read_in_a_minute() -> None:
    """At some 300 words a minute, code and the targets of links aside; and it has one picture, for light and for dark."""
    prose = re.sub(r"```.*?```|<picture>.*?</picture>|\]\([^)]*\)", "", README, flags=re.DOTALL)
    pictures = re.findall(r'(?:src|srcset)="(.*?)"', README)

    assert len(prose.split()) <= 300
    assert pictures == ["docs/images/top-wide-dark.svg", "docs/images/top-wide-light.svg"]
    assert all((PROJECT / picture).exists() for picture in pictures)
    assert "![" not in README


def test_exit_codes_are_those_of_the_help() -> None:
    """The table to which it leads says what `flaskd_ctl --help` says, word by word."""
    page = (PROJECT / "docs" / "clients.md").read_text(encoding="utf-8").partition("### Exit codes")[2]
    table = re.findall(r"^\| (\d+) \| (.*) \|$", page.replace("`", ""), re.MULTILINE)

    assert table == [(str(code.value), meaning) for code, meaning in MEANINGS.items()]


@pytest.mark.parametrize("link", re.findall(r"\]\(([^)#:]+)\)", README))
def test_link_leads_somewhere(link: str) -> None:
    """No link of the README is dead."""
    assert (PROJECT / link).exists()
