"""What the command line writes: results on stdout, everything else on stderr, colour and progress only on a terminal.

If the reader goes away (`flaskd_ctl events | head -1`), the command has not failed: it keeps its exit code.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Any, Final, TextIO

from flaskd_ctl.errors import ControlError, Failed, with_next_step
from flaskd_ctl.text.layout import paragraph, printable
from flaskd_ctl.text.results import as_json

DIM: Final = "\x1b[2m"
BRIGHT: Final = "\x1b[0m"
HOME: Final = "\x1b[H\x1b[2J"


class Screen:
    """The output of one run; with `json`, results and errors are JSON."""

    def __init__(self, *, json: bool = False) -> None:
        self.json = json
        self._shown = False

    @property
    def colour(self) -> bool:
        """Whether stdout wants colour."""
        return _wants_colour(sys.stdout)

    @property
    def width(self) -> int:
        """The columns of the terminal that stdout is; 0 if it is none."""
        return _columns(sys.stdout) if _is_terminal(sys.stdout) else 0

    @property
    def shows_progress(self) -> bool:
        """Whether to show the progress line, which is overwritten again and again."""
        return not self.json and _is_terminal(sys.stderr)

    def result(self, result: Any, text: str) -> bool:
        """Write a result; return False if nobody reads it any more."""
        self.clear()
        if sys.stdout is None:  # closed by the caller (`>&-`)
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
                hint="the command itself has succeeded; see `flaskd_ctl status`",
            ) from None
        return True

    def page(self, result: Any, text: str) -> bool:
        """Write a result in place of the last one, on a terminal; return False if nobody reads it any more."""
        return self.result(result, f"{HOME}{text}" if self.colour else text)

    def error(self, error: ControlError) -> None:
        """Write an error and the next step; before it the application's traceback, if there is one."""
        self.clear()
        if self.json:
            _write(sys.stderr, as_json(error_as_json(error)) + "\n")
            return
        if traceback := error.data.get("traceback"):
            text = paragraph(str(traceback))
            _write(sys.stderr, f"{DIM}{text}{BRIGHT}\n" if _wants_colour(sys.stderr) else f"{text}\n")
        field = str(error.data.get("path") or "")
        sentence = f"{error} ({field})" if field and field not in str(error) else str(error)
        _write(sys.stderr, f"flaskd_ctl: {printable(with_next_step(sentence, error.hint))}\n")

    def remark(self, text: str) -> None:
        """Write a remark for people on stderr; with --json it is left out."""
        if not self.json:
            self.clear()
            _write(sys.stderr, f"{printable(text)}\n")

    def progress(self, text: str) -> None:
        """Overwrite the progress line."""
        if self.shows_progress:
            _write(sys.stderr, f"\r\x1b[K{printable(text)[: _columns(sys.stderr) - 1]}")
            self._shown = True

    def clear(self) -> None:
        """Clear the progress line."""
        if self._shown:
            _write(sys.stderr, "\r\x1b[K")
            self._shown = False


def error_as_json(error: ControlError) -> dict[str, Any]:
    """Write an error for programs."""
    written: dict[str, Any] = {"name": error.name, "message": str(error), "hint": error.hint}
    return written | ({"data": error.data} if error.data else {})


def _abandon(stream: TextIO) -> None:
    """Discard what the interpreter will flush at its exit."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)


def _encodable(text: str, stream: TextIO) -> str:
    """Escape characters that the stream's encoding does not have: a name from elsewhere must not fail the command."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def _wants_colour(stream: TextIO | None) -> bool:
    """Tell whether escapes are shown as colours (https://no-color.org)."""
    return _is_terminal(stream) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _columns(stream: TextIO) -> int:
    try:
        return os.get_terminal_size(stream.fileno()).columns or 80
    except OSError:
        return 80


def _is_terminal(stream: TextIO | None) -> bool:
    return stream is not None and not stream.closed and stream.isatty()


def _write(stream: TextIO | None, text: str) -> None:
    with contextlib.suppress(OSError, ValueError):  # there is nowhere left to report a broken stderr
        if stream is not None:
            stream.write(_encodable(text, stream))
            stream.flush()
