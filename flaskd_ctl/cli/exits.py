"""The exit codes of `flaskd_ctl`, and the code of each failure.

`status` follows LSB 5.0, 22.2 "Init Script Actions": 0 is running, 3 not running, 4 unknown.
"""

from __future__ import annotations

import enum
from typing import Any, Final

from flaskd_ctl import errors


class Exit(enum.IntEnum):
    """The exit codes."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    NOT_RUNNING = 3
    NOT_PERMITTED = 4
    TIMED_OUT = 5
    CUT = 6
    SOME = 7
    INTERRUPTED = 130


MEANINGS: Final = {
    Exit.DONE: "done",
    Exit.FAILED: "failed",
    Exit.USAGE: "wrong usage: unknown option, invalid value, or several instances and no --name",
    Exit.NOT_RUNNING: "not running",
    Exit.NOT_PERMITTED: "not permitted, or the state cannot be known",
    Exit.TIMED_OUT: "timed out",
    Exit.CUT: "done, but requests were cut",
    Exit.SOME: "done for some targets or workers only",
}
"""The codes in words, for the help."""

CODES: Final[dict[type[errors.ControlError], Exit]] = {
    errors.InvalidParams: Exit.USAGE,
    errors.BadPlace: Exit.USAGE,
    errors.BadKey: Exit.USAGE,
    errors.Ambiguous: Exit.USAGE,
    errors.NotRunning: Exit.NOT_RUNNING,
    errors.NotPermitted: Exit.NOT_PERMITTED,
    errors.ConnectionLost: Exit.NOT_PERMITTED,
    errors.Unreachable: Exit.NOT_PERMITTED,
    errors.ParseError: Exit.NOT_PERMITTED,
    errors.TimedOut: Exit.TIMED_OUT,
}
"""All others are FAILED. After ConnectionLost or an unreadable reply it is not known whether the command was carried out."""


def code_of(error: errors.ControlError, *, method: str = "") -> Exit:
    """Return the exit code for a failure of `method`."""
    code = next((CODES[kind] for kind in type(error).__mro__ if kind in CODES), Exit.FAILED)
    return Exit.NOT_PERMITTED if method == "status" and code is Exit.FAILED else code


def code_of_workers(result: dict[str, Any]) -> Exit:
    """Return the exit code for what workers replied: done, failed in all, or failed in some."""
    failed = [bool(each.get("error")) for each in result.get("workers") or []]
    return Exit.DONE if not any(failed) else Exit.FAILED if all(failed) else Exit.SOME
