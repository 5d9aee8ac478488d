"""The note of an instance's last stop, in a directory that outlives the runtime directory (which systemd removes).

It is written without an end when the instance starts, and again when it has stopped: so the note of an instance that was killed
has no end. There is one note for each name; the note of an instance in another runtime directory is ignored.
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
from flaskd_ctl.contract.process_record import identify
from flaskd_ctl.errors import BadPlace
from flaskd_ctl.protocol import Actor, LastStop, ShutdownResult

NO_NOTE: Final = "ended without a note"
LONGEST: Final = 500  # characters kept of an error


def state_directory(environ: Mapping[str, str]) -> str:
    """Return the directory for files that outlive the instance."""
    # "~" remains if neither HOME nor the user database has a home: not a name for a directory here.
    return next(filter(os.path.isabs, state_dirs(environ)))


class LastStopNote:
    """The note of the instance `name` in `directory`: written on entering and leaving.

    `previous` is how the run before ended, None if unknown. `stop` is what is written of this run; an exception that leaves the
    block is written as the reason. A note that cannot be written prevents neither start nor stop.
    """

    def __init__(self, name: str, directory: str, *, audit_log: str = "") -> None:
        self.previous: LastStop | None = None
        self.stop: LastStop | None = None
        self._written = False
        state = state_directory(os.environ)
        self._path = os.path.join(state, f"{name}.json")
        self._facts: dict[str, Any] = {
            "name": name,
            "directory": os.path.abspath(directory),
            **identify(os.getpid()),
            "started": time.time(),
            "audit_log": audit_log,
        }

    def __enter__(self) -> Self:
        self.previous = _read(self._path, self._facts["directory"])
        self._write(None)
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is not None:
            what = "could not start" if isinstance(error, FlaskdError | BadPlace) else "failed"
            text = str(error) or type(error).__name__
            self.stop = LastStop(
                time.time(), clean=False, why=f"{what}: {without_query(text)[:LONGEST]}", pid=os.getpid()
            )
        self._write(self.stop)

    def record_end(self, by: Actor | None, *, result: ShutdownResult, killed: bool, who: str) -> None:
        """Set how the run ended. `who` is the command line of the process that asked."""
        self.stop = LastStop(
            at=round(time.time(), 3),
            clean=result.clean,
            why=stop_reason(by, killed=killed),
            by=by,
            who=who,
            took=result.took,
            pid=self._facts["pid"],
        )

    def _write(self, stop: LastStop | None) -> None:
        try:
            os.makedirs(os.path.dirname(self._path), mode=0o700, exist_ok=True)
            write_atomically(self._path, self._facts | {"stop": msgspec.to_builtins(stop)})
            self._written = True
        except OSError as error:
            if self._written:  # otherwise no note says that this run has no end
                say(f"flaskd: cannot write how it ended to {self._path}: {error.strerror}")


def stop_reason(by: Actor | None, *, killed: bool) -> str:
    """Return in a few words where the stop that `by` asked for came from."""
    command = "kill command" if killed else "shutdown command"
    if by is None:
        return command
    reasons = {
        "signal": f"signal {by.detail}",
        "application": "application",
        "code": by.detail or "program",
        "http": f"request ({by.detail})",
    }
    return reasons.get(by.via, command)


def _read(path: str, directory: str) -> LastStop | None:
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
