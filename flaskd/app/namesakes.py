"""Modules of the application that have the name of one of Python's or of a library's: `queue.py` beside `shop.py`.

`flask run` puts the application's directory on sys.path after it has imported Flask. The names that are taken by then stay
Python's; any other finds the application's module first. flaskd has imported more than Flask by then. It takes out of
sys.modules what has a namesake in that directory, so that the application gets its own; flaskd goes on with what it has.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from importlib.machinery import PathFinder
from typing import Final

OURS: Final = {"flaskd", "flaskd_ctl"}

_LIST: Final = "import flask.cli, sys; print(*sys.modules)"


def release(directory: str, kept: Callable[[], Iterable[str]]) -> None:
    """Let the application import what `directory` holds, except for the modules that `kept` names and flaskd's."""
    there = {name.partition(".")[0] for name in os.listdir(directory or ".")}
    loaded = {name.partition(".")[0] for name in sys.modules}
    foreign = {name for name in (there & loaded) - OURS if _is_another(name, directory)}
    if not foreign:
        return
    foreign.difference_update(name.partition(".")[0] for name in kept())
    for name in [name for name in sys.modules if name.partition(".")[0] in foreign]:
        del sys.modules[name]


def modules_of_flask() -> list[str]:
    """List the modules that `flask` has imported before it imports an application, with this Python."""
    command = [sys.executable, "-P", "-c", _LIST]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


def _is_another(name: str, directory: str) -> bool:
    """Whether the directory has another module of this name, which an import would find."""
    loaded = sys.modules[name].__spec__
    if loaded is None or loaded.origin in {"built-in", "frozen"}:  # found before anything on sys.path
        return False
    found = PathFinder.find_spec(name, [directory])
    return found is not None and found.loader is not None and found.origin != loaded.origin
