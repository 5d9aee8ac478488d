"""Chooses the engine that `auto` stands for, without importing any: the supervisor only reports it, and stays small.

The installed versions are read from the names of the *.dist-info directories on the path ("Recording installed projects",
packaging.python.org); importlib.metadata would cost 3 MiB and 30 ms for that. The chosen engine checks more when it is made.
"""

import contextlib
import os
import sys
from collections.abc import Sequence
from typing import Final, NamedTuple

SUPPORTED: Final = "2.8"
"""The minor release of granian that its engine supports; the extra `granian` in pyproject.toml pins it."""

ENGINES: Final = ("auto", "waitress", "granian", "werkzeug")
"""The values of `--engine`; `choose` turns the first into one of the others."""

MAX_HEAD: Final = 65_536
"""Default limit for a request's head, in bytes: Python's http.server allows as much for a single line."""


class Choice(NamedTuple):
    """An engine's name, and the reason for it in words."""

    name: str
    why: str


def choose(
    name: str, *, embedded: bool = False, tls: bool = False, path: Sequence[str] | None = None
) -> Choice:
    """Turn the value of `--engine` into an engine's name. `auto` is granian if the supported version is on `path`.

    If not, it is werkzeug for what only werkzeug can do: HTTPS (`tls`), and WebSockets if simple-websocket is installed,
    which flask-sock and Flask-SocketIO use; else waitress. `embedded`: a server inside a program, for which `auto` is
    werkzeug. `path` defaults to `sys.path`.
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
    """Return the version of `distribution` (a normalized name) that an import would find on `path`, or None."""
    for directory in sys.path if path is None else path:
        with contextlib.suppress(OSError):  # an archive, or not there
            for entry in os.listdir(directory or "."):
                name, _, version = entry.removesuffix(".dist-info").partition("-")
                if name == distribution and entry.endswith(".dist-info"):
                    return version
    return None
