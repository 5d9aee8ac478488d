"""The stacks of this process's threads."""

import os
import sys
import threading
import time
import tokenize
from collections.abc import Iterator
from itertools import islice
from types import CodeType, FrameType
from typing import Final

from flaskd.process.stacks import LONGEST_STACKS, MOST_FRAMES, ThreadStack, fit, fold
from flaskd.serving import Core
from flaskd.tasks import StacksTaken, TakeStacks
from flaskd_ctl.protocol import Frame, InFlight, ThreadInfo

LONGEST_TEXT: Final = 300
"""Characters of a function's or a file's name, or of a line of source."""

A_MOMENT: Final = 0.001

MOST_LINES: Final = 100_000
"""Lines of a file that are read for its source."""


def take_stacks(core: Core | None, task: TakeStacks) -> StacksTaken:
    """Describe what each thread does but this one."""
    time.sleep(A_MOMENT)  # the thread that started this one goes back to where it waits
    source = Source()
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    requests = _requests(core)
    # The frames are let go at once: what they refer to must not live longer because somebody looked.
    seen = [
        (ident, [(each.f_code, line) for each, line in islice(_calls(frame), MOST_FRAMES)], _depth(frame))
        for ident, frame in sys._current_frames().items()
        if ident != threading.get_ident()
    ]
    later = core.ledger.table.serving() if core is not None else {}
    threads = [
        ThreadStack(
            ThreadInfo(ident, short_text(names.get(ident, "")), _same(requests.get(ident), later.get(ident))),
            tuple(source.frame(code, line) for code, line in calls),
            max(0, depth - MOST_FRAMES),
        )
        for ident, calls, depth in seen
    ]
    stacks, left_out = fit(fold(threads), LONGEST_STACKS)
    return StacksTaken(stacks=stacks, left_out=left_out)


class Source:
    """Reads lines of source, each file once; nothing is kept afterwards, as `linecache` would."""

    def __init__(self) -> None:
        self._files: dict[str, list[str]] = {}

    def frame(self, code: CodeType, line: int) -> Frame:
        """Describe a call."""
        file = code.co_filename
        return Frame(
            short_text(code.co_qualname), short_text(file), max(0, line), short_text(self._line(file, line))
        )

    def _line(self, file: str, line: int) -> str:
        if file not in self._files:
            self._files[file] = _lines_of(file)
        lines = self._files[file]
        return lines[line - 1].strip() if 0 < line <= len(lines) else ""


def _requests(core: Core | None) -> dict[int, InFlight]:
    """Return the request of each thread that serves one."""
    if core is None:
        return {}
    table = core.ledger.table
    described = {request.id: request for request in table.requests()}
    return {ident: described[number] for ident, (number, _) in table.serving().items() if number in described}


def _same(request: InFlight | None, later: tuple[int, str] | None) -> InFlight | None:
    """Return the request if the thread still serves it: else the stack may be the next one's."""
    return request if request is not None and later is not None and later[0] == request.id else None


def _calls(frame: FrameType | None) -> Iterator[tuple[FrameType, int]]:
    while frame is not None:
        yield frame, frame.f_lineno or 0
        frame = frame.f_back


def _depth(frame: FrameType | None) -> int:
    depth = 0
    while frame is not None:
        depth, frame = depth + 1, frame.f_back
    return depth


def _lines_of(file: str) -> list[str]:
    if not os.path.isfile(file):  # a pipe would never end
        return []
    try:
        with tokenize.open(file) as source:
            return list(islice(source, MOST_LINES))
    except (OSError, SyntaxError, UnicodeDecodeError):
        return []


def short_text(text: str) -> str:
    """Cut a text that is too long; escape half surrogates (PEP 383), which JSON cannot have."""
    text = text if len(text) <= LONGEST_TEXT else f"{text[: LONGEST_TEXT - 1]}…"
    return text.encode("utf-8", "backslashreplace").decode()
