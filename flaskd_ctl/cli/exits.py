"""Exit codes of `flaskd_ctl`, and which failure has which.

`status` follows the LSB reading of 0, 3 and 4 (LSB 5.0, 22.2 "Init Script Actions"): what keeps it from knowing the state is 4.
"""

from __future__ import annotations

import enum
from typing import Final

from flaskd_ctl import errors


class Exit(enum.IntEnum):
    """What the exit code says."""

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
    Exit.USAGE: "asked wrongly: unknown option, invalid value, several instances and no --name",
    Exit.NOT_RUNNING: "not running",
    Exit.NOT_PERMITTED: "not permitted, or the state cannot be known",
    Exit.TIMED_OUT: "timed out",
    Exit.CUT: "done, but requests were cut",
    Exit.SOME: "done for some targets only",
}
"""In words, for the help."""

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
"""All others are FAILED. After ConnectionLost or an unreadable reply nobody knows whether it was done."""


def code_of(error: errors.ControlError, *, method: str = "") -> Exit:
    """Choose the exit code for a failure of `method`."""
    code = CODES.get(type(error), Exit.FAILED)
    return Exit.NOT_PERMITTED if method == "status" and code is Exit.FAILED else code
