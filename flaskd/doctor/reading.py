"""What the readers of files have in common: the sentence for a file that cannot be read, and what was not seen."""

import signal
from collections.abc import Callable
from typing import TypeVar

from flaskd.errors import FlaskdError

T = TypeVar("T")


class Unreadable(FlaskdError):
    """A file could not be read, or is not what it looked like; the sentence names it and the line or key."""


def unknown(path: str) -> Unreadable:
    """Make the error for a file that is none of those that can be read."""
    return Unreadable(
        f"{path} is nothing that flaskd doctor knows",
        hint="give a systemd service, a Kubernetes manifest, a stack or compose file, haproxy.cfg or nginx.conf",
    )


def duration(read: Callable[[str], float], text: object, where: str) -> float:
    """Read a duration with `read`; raise Unreadable with `where` it stands."""
    try:
        return read(str(text))
    except ValueError as error:
        raise Unreadable(
            f"{where}: {error}", hint="mend it: the program it is for will not take it either"
        ) from None


def number(text: object, where: str) -> int:
    """Read a whole number; raise Unreadable with `where` it stands."""
    try:
        return int(str(text))
    except ValueError:
        raise Unreadable(f"{where}: {text!r} is no whole number", hint="mend it") from None


def signal_name(text: str) -> str:
    """Write a signal, which systemctl shows by its number and people as TERM, 15 or SIGTERM, as SIGTERM."""
    word = text.strip().upper()
    try:
        return signal.Signals(int(word)).name if word.isdecimal() else f"SIG{word.removeprefix('SIG')}"
    except ValueError:
        return word
