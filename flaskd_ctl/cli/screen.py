"""What the command line writes: results on stdout, everything else on stderr, colour and progress only on a terminal.

A reader that goes away (`flaskd_ctl events | head -1`) is no failure of what was done: the exit code stays that of the deed.
"""

from __future__ import annotations

import os
import sys
from typing import Any, Final, TextIO

from flaskd_ctl.errors import ControlError, Failed
from flaskd_ctl.text.layout import paragraph, printable
from flaskd_ctl.text.results import as_json

DIM: Final = "\x1b[2m"
BRIGHT: Final = "\x1b[0m"


class Screen:
    """The two streams of one run; `json` makes both speak JSON."""

    def __init__(self, *, json: bool = False) -> None:
        self.json = json
        self._shown = False

    @property
    def colour(self) -> bool:
        """Whether stdout wants colour."""
        return _wants_colour(sys.stdout)

    @property
    def shows_progress(self) -> bool:
        """Whether a line that is written over and over has a reader."""
        return not self.json and _is_terminal(sys.stderr)

    def result(self, result: Any, text: str) -> bool:
        """Write a result; False if nobody reads it any more."""
        self.clear()
        if sys.stdout is None:  # closed by whoever started us (`>&-`): nobody wants to read it
            return False
        line = as_json(result) if self.json else text
        try:
            sys.stdout.write(_encodable(line, sys.stdout) + "\n")
            sys.stdout.flush()
        except BrokenPipeError:
            _abandon(sys.stdout)
            return False
        except OSError as error:
            _abandon(sys.stdout)
            raise Failed(
                f"the result cannot be written to stdout: {error.strerror}",
                hint="what was asked for has been done; see `flaskd_ctl status`",
            ) from None
        return True

    def error(self, error: ControlError) -> None:
        """Write what went wrong, and the next step; before it the application's traceback, where that is why."""
        self.clear()
        if self.json:
            _write(sys.stderr, as_json(error_as_json(error)) + "\n")
            return
        if traceback := error.data.get("traceback"):
            text = paragraph(str(traceback))
            _write(sys.stderr, f"{DIM}{text}{BRIGHT}\n" if _wants_colour(sys.stderr) else f"{text}\n")
        field = (
            f" ({error.data['path']})"
            if error.data.get("path") and str(error.data["path"]) not in str(error)
            else ""
        )
        _write(sys.stderr, f"flaskd_ctl: {printable(f'{error}{field}')}{_next_step(error.hint)}\n")

    def remark(self, text: str) -> None:
        """Write something for people beside the result; programs do not get it."""
        if not self.json:
            self.clear()
            _write(sys.stderr, f"{printable(text)}\n")

    def progress(self, text: str) -> None:
        """Write the progress line over the one before."""
        if self.shows_progress:
            try:
                width = os.get_terminal_size(sys.stderr.fileno()).columns or 80
            except OSError:
                width = 80
            _write(sys.stderr, f"\r\x1b[K{printable(text)[: width - 1]}")
            self._shown = True

    def clear(self) -> None:
        """Take the progress line away."""
        if self._shown:
            _write(sys.stderr, "\r\x1b[K")
            self._shown = False


def error_as_json(error: ControlError) -> dict[str, Any]:
    """Write an error for programs."""
    told: dict[str, Any] = {"name": error.name, "message": str(error), "hint": error.hint}
    return told | ({"data": error.data} if error.data else {})


def _abandon(stream: TextIO) -> None:
    """Let what the interpreter will flush once more at its exit go nowhere."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)


def _next_step(hint: str) -> str:
    return f". {hint[0].upper()}{printable(hint[1:])}." if hint else ""


def _encodable(text: str, stream: TextIO) -> str:
    """Escape what the stream's encoding does not have: a name from elsewhere is no reason to fail."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def _wants_colour(stream: TextIO | None) -> bool:
    """Tell whether escapes are shown as colours (https://no-color.org)."""
    return _is_terminal(stream) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _is_terminal(stream: TextIO | None) -> bool:
    try:
        return stream is not None and stream.isatty()
    except ValueError:  # closed
        return False


def _write(stream: TextIO | None, text: str) -> None:
    try:
        if stream is not None:
            stream.write(_encodable(text, stream))
            stream.flush()
    except (OSError, ValueError):
        pass  # nobody can be told that nobody can be told
