"""Chromium for tests, driven by Playwright, and axe-core, which finds what keeps people from using a page.

Playwright needs a later greenlet than another package of the tests' environment allows. So it is installed once into a
directory of its own in that environment (docs/decisions/0186), as pyproject.toml's group `browser` says. axe-core comes
from npm.
"""

import fcntl
import importlib
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[2]
HOME: Final = Path(sys.prefix, "browser")
AXE: Final = "axe-core@4"


class NotInstalledError(Exception):
    """Playwright cannot be installed here: there may be no wheel for this Python or this machine."""


def playwright() -> Any:
    """Return the module `playwright.sync_api`; raises NotInstalledError.

    Its directory is the first of `sys.path` only while it is imported, then the last: what else is looked up in this process,
    such as the version of a package, is found in the environment.
    """
    _install(
        "playwright", [sys.executable, "-m", "pip", "install", "-qq", "--target", str(HOME), *_requirements()]
    )
    with _first_in_path(str(HOME)):
        return importlib.import_module("playwright.sync_api")


def axe() -> str:
    """Return the source of axe-core; raises NotInstalledError."""
    _install(
        "node_modules/axe-core",
        ["npm", "install", "--no-audit", "--no-fund", "--no-save", "--prefix", str(HOME), AXE],
    )
    return Path(HOME, "node_modules", "axe-core", "axe.min.js").read_text(encoding="utf-8")


@contextmanager
def _first_in_path(directory: str) -> Iterator[None]:
    """Look for modules in `directory` before anywhere else; afterwards, after everywhere else."""
    sys.path[:] = [directory, *(each for each in sys.path if each != directory)]
    try:
        yield
    finally:
        sys.path.remove(directory)
        sys.path.append(directory)


@contextmanager
def chromium() -> Iterator[Any]:
    """Run a Chromium without a window, and yield Playwright's Browser."""
    with playwright().sync_playwright() as driver:
        # Its sandbox does not work as root, nor in most containers; it only sees pages of our own. /dev/shm may be small there.
        browser = driver.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        try:
            yield browser
        finally:
            browser.close()


def _requirements() -> list[str]:
    content = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return [str(each) for each in content["dependency-groups"]["browser"]]


def _install(what: str, command: list[str]) -> None:
    """Install something once; the lock is for tests that run side by side."""
    HOME.mkdir(exist_ok=True)
    with open(HOME / "lock", "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (HOME / what).exists():
            return
        done = subprocess.run(
            command,
            env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
            capture_output=True,
            text=True,
            timeout=100,
        )
    if done.returncode:
        raise NotInstalledError(f"{' '.join(command)} failed:\n{done.stderr.strip()}")
