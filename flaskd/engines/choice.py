"""Which engine `auto` means here, and why, without importing any: a supervisor that only has to say so stays small.

What is installed, and in which version, is read off the names of the *.dist-info directories on the path ("Recording
installed projects", packaging.python.org): importlib.metadata would tell the same for 3 MiB and 30 ms. The engine that is
chosen looks closer when it is made.
"""

import contextlib
import os
import sys
from collections.abc import Sequence
from typing import Final, NamedTuple

SUPPORTED: Final = "2.8"
"""The minor release of granian that its engine knows; the extra `granian` in pyproject.toml pins it."""


ENGINES: Final = ("auto", "waitress", "granian", "werkzeug")
"""The names that `--engine` takes; `choose` turns the first into one of the others."""

MAX_HEAD: Final = 65_536
"""Bytes of a request's head, if nothing else is said: what a line alone may have in Python's own HTTP."""


class Choice(NamedTuple):
    """An engine's name, and in words why it is this one."""

    name: str
    why: str


def choose(
    name: str, *, embedded: bool = False, tls: bool = False, path: Sequence[str] | None = None
) -> Choice:
    """Turn what `--engine` says into an engine's name. `auto`: granian where the supported version is on `path`.

    Where it is not, werkzeug for what only that can do: HTTPS (`tls`), and WebSockets where simple-websocket is installed, with
    which flask-sock and Flask-SocketIO serve them; else waitress. `embedded` is for a server inside somebody's program, where
    `auto` is werkzeug. `path` is `sys.path` where None.
    """
    if name != "auto":
        return Choice(name, "asked for")
    if embedded:
        return Choice("werkzeug", "the default inside a program")
    version = installed("granian", path)
    if version is not None and version.startswith(f"{SUPPORTED}."):
        return Choice("granian", f"granian {version} is installed")
    why = "granian is not installed" if version is None else f"granian {version} is not {SUPPORTED}"
    if tls:
        return Choice("werkzeug", f"{why}, and waitress has no HTTPS")
    if installed("simple_websocket", path) is not None:
        return Choice("werkzeug", f"{why}, and waitress has no WebSockets (simple-websocket is installed)")
    return Choice("waitress", why)


def installed(distribution: str, path: Sequence[str] | None = None) -> str | None:
    """Return the version of `distribution` that an import would find on `path`, or None. Names are given normalized."""
    for directory in sys.path if path is None else path:
        with contextlib.suppress(OSError):  # an archive, or not there
            for entry in os.listdir(directory or "."):
                name, _, version = entry.removesuffix(".dist-info").partition("-")
                if name == distribution and entry.endswith(".dist-info"):
                    return version
    return None
