"""Values as files write them: durations of each platform, numbers, signals, words of a command line."""

import re
import shlex
import signal
from typing import Final

from flaskd.errors import FlaskdError

Units = dict[str, float]
"""The seconds of each unit; "" is the unit of a number without one."""

SYSTEMD: Final = {
    "us": 1e-6, "usec": 1e-6, "µs": 1e-6, "ms": 1e-3, "msec": 1e-3, "": 1.0, "s": 1.0, "sec": 1.0, "second": 1.0,
    "seconds": 1.0, "m": 60.0, "min": 60.0, "minute": 60.0, "minutes": 60.0, "h": 3600.0, "hr": 3600.0, "hour": 3600.0,
    "hours": 3600.0, "d": 86400.0, "day": 86400.0, "days": 86400.0, "w": 604800.0, "week": 604800.0, "weeks": 604800.0,
}  # fmt: skip
"""systemd.time(7), without months and years."""

DOCKER: Final = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
"""Go's time.ParseDuration."""

HAPROXY: Final = {"us": 1e-6, "ms": 1e-3, "": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
"""HAProxy's time format: milliseconds by default."""

NGINX: Final = {"ms": 1e-3, "": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
"""nginx's configuration file measurement units."""


class Unreadable(FlaskdError):
    """A file that cannot be read or understood; the sentence names it, and the line or key."""


def unknown(path: str) -> Unreadable:
    """Make the error for a file of an unknown kind."""
    return Unreadable(
        f"{path} is not a kind of file that flaskd doctor knows",
        hint="give a systemd service, a Kubernetes manifest, a stack or compose file, haproxy.cfg or nginx.conf",
    )


def read_text(path: str) -> str:
    """Read a text file. Raises Unreadable."""
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except OSError as error:
        raise Unreadable(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise Unreadable(f"cannot read {path}: it is not text") from None


def duration(text: object, units: Units, where: str) -> float:
    """Read a duration such as `1min 30s`, `1m30s` or `90` in seconds. Raises Unreadable naming `where` it stands."""
    words = str(text).strip().lower()
    parts = re.findall(r"(\d+(?:\.\d+)?)\s*([a-zµ]*)\s*", words)
    wrong = [unit for _, unit in parts if unit not in units]
    if not parts or "".join(words.split()) != "".join(number + unit for number, unit in parts):
        raise Unreadable(f"{where}: {text!r} is not a duration", hint="correct it")
    if wrong:
        raise Unreadable(
            f"{where}: {text!r} is not a duration: there is no unit {wrong[0]!r} here", hint="correct it"
        )
    return sum(float(number) * units[unit] for number, unit in parts)


def number(text: object, where: str) -> int:
    """Read a whole number. Raises Unreadable naming `where` it stands."""
    try:
        return int(str(text))
    except ValueError:
        raise Unreadable(f"{where}: {text!r} is not a whole number", hint="correct it") from None


def cpus(text: object, where: str) -> float:
    """Read how many CPUs' time a process may use: 0.5, 500m (Kubernetes' milli), 50% (systemd). Raises Unreadable."""
    words = str(text).strip()
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(m|%)?", words)
    if found is None:
        raise Unreadable(f"{where}: {text!r} is not a number of CPUs", hint="correct it")
    return float(found[1]) * {None: 1.0, "m": 1e-3, "%": 1e-2}[found[2]]


def signal_name(text: str) -> str:
    """Return the name of a signal that is written as 15, TERM or SIGTERM."""
    word = text.strip().upper()
    try:
        return signal.Signals(int(word)).name if word.isdecimal() else f"SIG{word.removeprefix('SIG')}"
    except ValueError:
        return word


def split(line: str, *, comments: bool = False) -> list[str]:
    """Split a line into words as a shell does, or at blanks if a quotation mark is not closed."""
    try:
        return shlex.split(line, comments=comments)
    except ValueError:
        return line.split()
