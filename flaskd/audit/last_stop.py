"""The note of an instance's last stop, where it outlives the runtime directory (which systemd removes).

It is written when the instance begins, without an end, and again when it has ended: one that was killed leaves a note without
an end, which says so. There is one for each name; a note of an instance in another runtime directory is not ours to tell.
"""

import json
import os
import time
from collections.abc import Mapping
from typing import Any, Final, Self

import msgspec

from flaskd.audit.files import write_atomically
from flaskd.console.say import say
from flaskd.errors import FlaskdError
from flaskd_ctl.contract.audit_log import without_query
from flaskd_ctl.contract.endpoint import state_dirs
from flaskd_ctl.errors import BadPlace
from flaskd_ctl.protocol import Actor, LastStop, ShutdownResult

NO_NOTE: Final = "ended without a note"
LONGEST: Final = 500  # characters of a sentence that says why


def state_directory(environ: Mapping[str, str]) -> str:
    """Choose the directory that outlives us."""
    # "~" stays where neither HOME nor the user database names a home: not a directory to make where we stand.
    return next(filter(os.path.isabs, state_dirs(environ)))


class LastStopFile:
    """The note of the instance `name` that lives in `directory`, from its begin to its end.

    `before` is how the run before ended, None where none is known. `stop` is what will be told of this one; an exception that
    leaves the block is told as why. A note that cannot be left keeps nobody from starting or stopping.
    """

    def __init__(self, name: str, directory: str, *, audit_log: str = "") -> None:
        self.previous: LastStop | None = None
        self.stop: LastStop | None = None
        self._begun = False
        state = state_directory(os.environ)
        self._path = os.path.join(state, f"{name}.json")
        self._facts: dict[str, Any] = {
            "name": name,
            "directory": os.path.abspath(directory),
            "pid": os.getpid(),
            "started": time.time(),
            "audit_log": audit_log,
        }

    def __enter__(self) -> Self:
        self.previous = _before(self._path, self._facts["directory"])
        self._leave(None)
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is not None:
            how = "could not start" if isinstance(error, FlaskdError | BadPlace) else "failed"
            said = str(error) or type(error).__name__
            self.stop = LastStop(
                time.time(), clean=False, why=f"{how}: {without_query(said)[:LONGEST]}", pid=os.getpid()
            )
        self._leave(self.stop)

    def record_end(self, by: Actor | None, *, result: ShutdownResult, killed: bool, who: str) -> None:
        """Take how it ended; `who` is the command line of the process that asked."""
        self.stop = LastStop(
            at=round(time.time(), 3),
            clean=result.clean,
            why=stop_reason(by, killed=killed),
            by=by,
            who=who,
            took=result.took,
            pid=self._facts["pid"],
        )

    def _leave(self, stop: LastStop | None) -> None:
        try:
            os.makedirs(os.path.dirname(self._path), mode=0o700, exist_ok=True)
            write_atomically(self._path, self._facts | {"stop": msgspec.to_builtins(stop)})
            self._begun = True
        except OSError as error:
            if self._begun:  # the one that is there tells of no end
                say(f"flaskd: how it ended cannot be written to {self._path}: {error.strerror}")


def stop_reason(by: Actor | None, *, killed: bool) -> str:
    """Say in a few words what a stop that `by` asked for came from."""
    match by.via if by else "":
        case "signal":
            return f"signal {by.detail}" if by else ""
        case "application":
            return "application"
        case "code":
            return by.detail if by and by.detail else "program"
        case "http":
            return f"request ({by.detail})" if by else ""
    return "kill command" if killed else "shutdown command"


def _before(path: str, directory: str) -> LastStop | None:
    try:
        with open(path, "rb") as file:
            note = json.load(file)
        if note["directory"] != directory:
            return None
        if note["stop"] is None:
            return LastStop(None, clean=False, why=NO_NOTE, pid=int(note["pid"]))
        return msgspec.convert(note["stop"], LastStop)
    except (OSError, ValueError, TypeError, KeyError, RecursionError):  # msgspec's own is a ValueError
        return None
