"""Notes on disk: how instances ended, and the audit log of one that has stopped.

An instance writes its note when it starts, and again when it ends (`flaskd.audit.last_stop`). The note outlives the runtime
directory, and names it: an instance of the same name that lived elsewhere is another one. If a note has no end and the process
does not run, the instance was killed. If the process runs, it has closed its sockets and is about to write the end.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from flaskd_ctl.contract import audit_log
from flaskd_ctl.contract.endpoint import state_dirs
from flaskd_ctl.contract.files import read_object
from flaskd_ctl.contract.process_record import is_alive
from flaskd_ctl.errors import NotFound, NotPermitted

NO_NOTE: Final = "ended without a note"
STILL_ENDING: Final = "serves no more and has not ended yet"


def notes(environ: Mapping[str, str], directories: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Read the newest note of each name whose instance lived in one of `directories`."""
    found: dict[str, dict[str, Any]] = {}
    for _, note in note_files(environ, directories):
        before = found.get(note["name"])
        if before is None or before["started"] < note["started"]:
            found[note["name"]] = note
    return found


def note_files(
    environ: Mapping[str, str], directories: Iterable[str]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each note of an instance that lived in one of `directories`, after its path."""
    # The path may have been a link that no longer exists (DynamicUser=).
    homes = {same for directory in directories for same in (directory, os.path.realpath(directory))}
    for path in _paths(environ):
        note = read_object(path)
        home, last = os.path.split(str(note.get("directory")))
        if _is_note(note) and last == note.get("name") and (home in homes or os.path.realpath(home) in homes):
            yield path, note


def stop_of(note: Mapping[str, Any]) -> dict[str, Any]:
    """Return the last stop of an instance that does not run, in the form of `protocol.LastStop`."""
    stop = note["stop"]
    if isinstance(stop, dict):
        return stop
    why = STILL_ENDING if is_alive(note) else NO_NOTE
    unknown = {"at": None, "clean": False, "why": why, "by": None, "who": "", "took": None}
    return {**unknown, "pid": note["pid"]}


def log_of(name: str, path: str, *, limit: int = 50) -> dict[str, Any]:
    """Return the audit log of an instance that has stopped, as `history` does; raise NotPermitted or NotFound."""
    try:
        return {"entries": audit_log.newest(path, limit)}
    except FileNotFoundError:  # the first entry creates it
        raise NotFound(
            f"{name} is not running, and there is no audit log {path}: nothing was logged, or the file was moved"
        ) from None
    except PermissionError:
        raise NotPermitted(
            f"{name} is not running, and you may not read its audit log {path}",
            hint="run as its user, or as root",
        ) from None
    except OSError as error:
        raise NotFound(
            f"{name} is not running, and its audit log {path} cannot be read: {error.strerror}"
        ) from None


def _paths(environ: Mapping[str, str]) -> Iterator[str]:
    """Yield the files that may be notes: in StateDirectory=flaskd, or in flaskd/<name> of a unit of its own."""
    for directory in state_dirs(environ):
        with contextlib.suppress(OSError), os.scandir(directory) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                if entry.name.endswith(".json"):
                    yield entry.path
                elif entry.is_dir():
                    yield os.path.join(entry.path, f"{entry.name}.json")


def _is_note(note: Mapping[str, Any]) -> bool:
    stop = note.get("stop")
    ended = stop is None or (
        isinstance(stop, dict)
        and isinstance(stop.get("at"), int | float)
        and isinstance(stop.get("by"), dict | None)
    )
    return ended and isinstance(note.get("started"), int | float) and isinstance(note.get("pid"), int)
