"""The project's own virtual environment, `.venv`: made and kept up with pyproject.toml by `ready`.

Only python3 and a package index are assumed. Where Python comes without ensurepip (Debian's python3 without
python3-venv), pip itself is fetched from the index.

    python3 .ci/environment.py test lint     with these dependency groups of pyproject.toml
"""

import hashlib
import importlib.util
import os
import re
import shlex
import subprocess
import sys
import tempfile
import tomllib
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"


def say(line: str) -> None:
    """Print a line at once, so that it stands before what it announces."""
    print(line, flush=True)  # noqa: T201 - these programs speak to people


def show(command: Sequence[str | os.PathLike[str]]) -> None:
    """Print a command as one would type it in the project's directory."""
    words = (os.fspath(word).removeprefix(f"{ROOT}/") for word in command)
    say(f"$ {shlex.join(words)}")


def run(command: Sequence[str | os.PathLike[str]], *, environ: Mapping[str, str] | None = None) -> None:
    """Show a command, run it in the project's directory, and end with its status if it fails."""
    show(command)
    status = subprocess.run(command, cwd=ROOT, env=environ, check=False).returncode
    if status:
        raise SystemExit(f"{os.fspath(command[0])} failed with {status}")


def group(name: str) -> list[str]:
    """Read one of pyproject.toml's dependency groups (older versions of pip cannot)."""
    content = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return [str(requirement) for requirement in content["dependency-groups"][name]]


def ready(requirements: Sequence[str]) -> Path:
    """Make `.venv` if need be, install the project and `requirements`, and return the environment's Python.

    What was installed before from the same pyproject.toml is not installed again.
    """
    wanted = hashlib.sha256((ROOT / "pyproject.toml").read_bytes())
    wanted.update("\n".join([sys.version, *sorted(requirements)]).encode())
    stamp = VENV / f"installed-{wanted.hexdigest()[:16]}"
    if stamp.exists():
        return PYTHON
    if not PYTHON.exists():
        with_pip = importlib.util.find_spec("ensurepip") is not None
        run([sys.executable, "-m", "venv", *([] if with_pip else ["--without-pip"]), VENV])
        if not with_pip:
            fetch_pip()
    quiet = ["-qq", "--disable-pip-version-check"]
    run([PYTHON, "-m", "pip", "install", *quiet, "--editable", ".", *requirements])
    stamp.touch()
    return PYTHON


def fetch_pip() -> None:
    """Install pip with itself, run from its wheel: the newest that the index has (PEP 503)."""
    index = os.environ.get("PIP_INDEX_URL", "https://pypi.org/simple").rstrip("/") + "/pip/"
    say(f"# this Python has no ensurepip: fetching pip from {index}")
    with urllib.request.urlopen(index, timeout=60) as answer:  # noqa: S310 - the index is the user's own
        links = re.findall(r'"([^"]*pip-([0-9.]+)-py3-none-any\.whl)[#"]', answer.read().decode())
    link, version = max(links, key=lambda found: [int(part) for part in found[1].split(".")])
    with tempfile.TemporaryDirectory() as directory:
        wheel = Path(directory, f"pip-{version}-py3-none-any.whl")
        with urllib.request.urlopen(urllib.parse.urljoin(index, link), timeout=60) as answer:  # noqa: S310
            wheel.write_bytes(answer.read())
        run([PYTHON, wheel / "pip", "install", "-qq", "--disable-pip-version-check", f"pip=={version}"])


if __name__ == "__main__":
    ready([requirement for name in sys.argv[1:] for requirement in group(name)])
