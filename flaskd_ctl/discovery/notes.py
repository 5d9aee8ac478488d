"""What was: how instances ended, from the notes that outlive their runtime directories, and the orders that they were given.

A note is written when an instance begins, and again when it has ended (`flaskd.audit.last_stop`). It names the instance's
directory: one of the same name that lived elsewhere is not meant. A note without an end, of an instance that is not there,
is that of one that was killed.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from flaskd_ctl.contract import audit_log
from flaskd_ctl.contract.endpoint import state_dirs
from flaskd_ctl.errors import NotFound, NotPermitted

LARGEST_NOTE: Final = 64 * 1024
NO_NOTE: Final = "ended without a note"


def notes(environ: Mapping[str, str], directories: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Read the newest note of each name whose instance lived in one of `directories`."""
    found: dict[str, dict[str, Any]] = {}
    # A path by which it was reached may be a link that is gone now (DynamicUser=).
    homes = {same for directory in directories for same in (directory, os.path.realpath(directory))}
    for path in _paths(environ):
        note = _read(path)
        name, (home, last) = str(note.get("name")), os.path.split(str(note.get("directory")))
        if last == name and (home in homes or os.path.realpath(home) in homes):
            before = found.get(name)
            if before is None or before["started"] < note["started"]:
                found[name] = note
    return found


def stop_of(note: Mapping[str, Any]) -> dict[str, Any]:
    """Return the last stop of an instance that is not there, as `protocol.LastStop` has it."""
    stop = note["stop"]
    if isinstance(stop, dict):
        return stop
    return {
        "at": None,
        "clean": False,
        "why": NO_NOTE,
        "by": None,
        "who": "",
        "took": None,
        "pid": note["pid"],
    }


def log_of(name: str, path: str, *, limit: int = 50) -> dict[str, Any]:
    """Read the audit log of an instance that is not there, as `history` would tell it; raises NotPermitted or NotFound."""
    try:
        return {"entries": audit_log.newest(path, limit)}
    except FileNotFoundError:  # the first order makes it
        raise NotFound(
            f"{name} is not running, and there is no audit log {path}: no order was given, or it was moved away"
        ) from None
    except PermissionError:
        raise NotPermitted(
            f"{name} is not running, and you may not read its audit log {path}",
            hint="be the user that it runs as, or root",
        ) from None
    except OSError as error:
        raise NotFound(
            f"{name} is not running, and its audit log {path} cannot be read: {error.strerror}"
        ) from None


def _paths(environ: Mapping[str, str]) -> Iterator[str]:
    """Yield the files that may be notes: below StateDirectory=flaskd, or flaskd/<name> for a unit of its own."""
    for directory in state_dirs(environ):
        with contextlib.suppress(OSError), os.scandir(directory) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                if entry.name.endswith(".json"):
                    yield entry.path
                elif entry.is_dir():
                    yield os.path.join(entry.path, f"{entry.name}.json")


def _read(path: str) -> dict[str, Any]:
    """Read a note; {} for whatever is none."""
    try:
        with open(path, "rb") as file:
            note = json.loads(file.read(LARGEST_NOTE))
    except (OSError, ValueError, RecursionError):
        return {}
    return note if isinstance(note, dict) and _is_note(note) else {}


def _is_note(note: Mapping[str, Any]) -> bool:
    stop = note.get("stop")
    ended = stop is None or (
        isinstance(stop, dict)
        and isinstance(stop.get("at"), int | float)
        and isinstance(stop.get("by"), dict | None)
    )
    return ended and isinstance(note.get("started"), int | float) and isinstance(note.get("pid"), int)
