"""What is kept of an exception: texts, of a bounded size, with values that look secret masked. Nothing of the exception itself.

An error's place is the innermost frame of the application's own code: not of the standard library's, of an installed package's
or of flaskd's. If there is none, it is the innermost frame.
"""

import os
import site
import sys
import traceback
from types import TracebackType
from typing import Final, NamedTuple

from flaskd.ledger.masking import mask_text, mask_traceback

LONGEST_TRACE: Final = 8192
"""Bytes of a traceback, in UTF-8; a longer one loses its middle."""
LONGEST_MESSAGE: Final = 1024
EXAMINED: Final = 65_536
"""Characters of a traceback that are looked at for secrets."""

OWN: Final = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
"""The directory of this package, flaskd."""

STANDARD: Final = os.path.dirname(os.__file__) + os.sep
"""The directory of the standard library; those of packages may be below it. `sysconfig` would say it in 0.4 MiB of memory."""

PACKAGES: Final = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")
"""What the paths of installed packages contain."""

_FOREIGN: Final = (OWN, STANDARD, *(path + os.sep for path in site.getsitepackages()))


class ErrorReport(NamedTuple):
    """An exception: its type ("shop.OutOfStock", "KeyError"), its message, its place, its traceback."""

    exception: str
    message: str
    file: str = ""
    line: int = 0
    function: str = ""
    trace: str = ""


def report_of(error: BaseException) -> ErrorReport:
    """Describe `error`. Whatever its `__str__` does, nothing but a BaseException that is no Exception is raised."""
    name = type_name(type(error))
    message = message_of(error)
    try:
        places = _places(error.__traceback__)
        file, line, function = _innermost(places)
        trace = _trace(error)
    except Exception as failure:  # noqa: BLE001 - formatting calls the application's code
        return ErrorReport(name, message, trace=f"(no traceback: {type(failure).__name__})")
    return ErrorReport(name, message, file, line, function, trace)


def message_of(error: BaseException) -> str:
    """Return the exception's message, masked."""
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - the application's code
        text = "(its message cannot be read)"
    return mask_text(text[: 4 * LONGEST_MESSAGE])


def type_name(kind: type[BaseException]) -> str:
    """Return the name of an exception's type, without the module of Python's own."""
    module = kind.__module__
    return kind.__qualname__ if module in {"builtins", "__main__"} else f"{module}.{kind.__qualname__}"


def is_application(file: str) -> bool:
    """Tell whether a file of code is the application's own."""
    return not (file.startswith((*_FOREIGN, "<frozen ")) or any(part in file for part in PACKAGES))


def cut_middle(text: str, most: int) -> str:
    """Return `text` with at most `most` bytes in UTF-8: whole lines of its beginning and its end."""
    if len(text) <= most // 4 or len(text.encode("utf-8", "replace")) <= most:
        return text
    lines = text.split("\n")
    sizes = [len(line.encode("utf-8", "replace")) + 1 for line in lines]
    room = most - 64  # for the note
    head = _fitting(sizes, room // 3)
    left = room - sum(sizes[:head])
    tail = _fitting(sizes[:head:-1], left)
    missing = len(lines) - head - tail
    return "\n".join([*lines[:head], f"… {missing} lines are not shown …", *(lines[-tail:] if tail else ())])


def _fitting(sizes: list[int], room: int) -> int:
    """Count how many of these sizes, from the first on, have room."""
    for count, size in enumerate(sizes):
        room -= size
        if room < 0:
            return count
    return len(sizes)


def _places(trace: TracebackType | None) -> list[tuple[str, int, str]]:
    found = []
    while trace is not None:
        code = trace.tb_frame.f_code
        found.append((code.co_filename, trace.tb_lineno or 0, code.co_qualname))
        trace = trace.tb_next
    return found


def _innermost(places: list[tuple[str, int, str]]) -> tuple[str, int, str]:
    own = [place for place in places if is_application(place[0])]
    return (own or places or [("", 0, "")])[-1]


def _trace(error: BaseException) -> str:
    described = traceback.TracebackException(type(error), error, _applications(error.__traceback__))
    text = "".join(described.format()).rstrip("\n")
    if len(text) > EXAMINED:  # whole lines, so that no value is parted from its name
        text = cut_middle(text, EXAMINED)
    return cut_middle(mask_traceback(text, harmless=_chain(error)), LONGEST_TRACE)


def _applications(trace: TracebackType | None) -> TracebackType | None:
    """Return the traceback without the frames of flaskd's that have called the application."""
    while (
        trace is not None and trace.tb_next is not None and trace.tb_frame.f_code.co_filename.startswith(OWN)
    ):
        trace = trace.tb_next
    return trace


def _chain(error: BaseException) -> set[str]:
    """Return the names of the exception's type and of those that led to it: what follows `InvalidToken:` is its message."""
    names: set[str] = set()
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting and len(seen) < sys.getrecursionlimit():
        each = waiting.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        names |= {type(each).__name__, type(each).__qualname__, type_name(type(each))}
        waiting += [each.__cause__, each.__context__]
        if isinstance(each, BaseExceptionGroup):
            waiting += each.exceptions
    return names
