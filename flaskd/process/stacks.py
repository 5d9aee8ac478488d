"""The stacks of a process's threads: whose each is, which are equal, and how much of them fits into a reply.

It knows files, not objects: the stacks may also be those that another process's signal handler has written.
"""

import os
import threading
from collections.abc import Iterable, Sequence
from itertools import dropwhile
from typing import Final, Literal, NamedTuple

import msgspec

from flaskd_ctl.protocol import Frame, Stack, ThreadInfo

LONGEST_STACKS: Final = 512 * 1024
"""Bytes of JSON of one process's stacks."""

MOST_FRAMES: Final = 100
"""Calls of one stack that are shown, the newest; a handler of signals writes as many (faulthandler)."""

FEWEST_FRAMES: Final = 8
"""Calls that a stack keeps at least, if there is room for it at all."""

LEDGER: Final = os.path.join("flaskd", "ledger", "middleware.py")
"""The file of the innermost call of the server's: what it calls is the application."""

ENGINES: Final = tuple(f"{os.sep}{name}{os.sep}" for name in ("flaskd", "waitress", "granian", "werkzeug"))
SITES: Final = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")

_OURS: Final = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_PYTHON: Final = os.path.dirname(os.path.abspath(os.__file__)) + os.sep

Kind = Literal["request", "application", "server"]


class ThreadStack(NamedTuple):
    """One thread: its frames, the newest first, and how many older ones are `missing`."""

    thread: ThreadInfo
    frames: tuple[Frame, ...]
    missing: int = 0


def fold(stacks: Iterable[ThreadStack]) -> list[Stack]:
    """Put threads together whose stacks are equal; requests come first, the oldest before the others, the server's last."""
    groups: dict[tuple[Kind, tuple[Frame, ...], int], list[ThreadInfo]] = {}
    for thread, frames, missing in stacks:
        groups.setdefault((_kind(thread, frames), frames, missing), []).append(thread)
    found = [
        Stack(
            kind=kind,
            threads=sorted(threads, key=_oldest_first),
            frames=list(frames),
            missing=missing,
            server_frames=0 if kind == "server" else _server_frames(frames),
        )
        for (kind, frames, missing), threads in groups.items()
    ]
    return sorted(found, key=_order)


def fit(stacks: Iterable[Stack], limit: int) -> tuple[list[Stack], int]:
    """Return what has `limit` bytes of JSON, the first ones first, and the number of threads that are left out."""
    kept: list[Stack] = []
    left_out = 0
    for stack in stacks:
        shorter, size = _shortened(stack, limit)
        limit -= size
        kept += [shorter] if shorter.threads else []
        left_out += len(stack.threads) - len(shorter.threads)
    return kept, left_out


def _shortened(stack: Stack, limit: int) -> tuple[Stack, int]:
    """Leave out threads, then the oldest calls, until the stack has `limit` bytes; return it and its size."""
    while stack.threads and (size := len(msgspec.json.encode(stack)) + 1) > limit:
        threads, frames = stack.threads, stack.frames
        if len(threads) > 1 or len(frames) <= FEWEST_FRAMES:
            stack = msgspec.structs.replace(stack, threads=threads[: len(threads) // 2])
        else:
            kept = len(frames) // 2
            cut = len(frames) - kept
            stack = msgspec.structs.replace(
                stack,
                frames=frames[:kept],
                missing=stack.missing + cut,
                server_frames=max(0, stack.server_frames - cut),
            )
    return stack, size if stack.threads else 0


def of_requests(stacks: Iterable[Stack], numbers: set[int]) -> list[Stack]:
    """Keep the threads that serve one of these requests."""
    found = []
    for stack in stacks:
        threads = [one for one in stack.threads if one.request is not None and one.request.id in numbers]
        if threads:
            found.append(msgspec.structs.replace(stack, threads=threads))
    return found


def _kind(thread: ThreadInfo, frames: Sequence[Frame]) -> Kind:
    if thread.request is not None:
        return "request"
    files = {frame.file for frame in frames}
    if any(map(_is_applications, files)) or not any(map(_is_servers, files)):
        return "application"
    return "server"


def _is_servers(file: str) -> bool:
    return file.startswith(_OURS) or (
        any(site in file for site in SITES) and any(one in file for one in ENGINES)
    )


def _is_applications(file: str) -> bool:
    if _is_servers(file) or file.startswith("<frozen "):
        return False
    return not file.startswith(_PYTHON) or any(site in file for site in SITES)


def _server_frames(frames: Sequence[Frame]) -> int:
    """Count the outermost calls up to the ledger's; where it is not among them, those of Python that started the thread."""
    for number, frame in enumerate(reversed(frames), 1):
        if frame.file.endswith(LEDGER) and not (
            number < len(frames) and frames[-number - 1].file.endswith(LEDGER)
        ):
            return number
    return len(frames) - len([*dropwhile(lambda frame: frame.file == threading.__file__, reversed(frames))])


def _oldest_first(thread: ThreadInfo) -> tuple[float, int]:
    """Sort by age, which is in milliseconds: of requests that are equally old, the one with the lower number began first."""
    return (-thread.request.age, thread.request.id) if thread.request is not None else (0.0, 0)


def _order(stack: Stack) -> tuple[int, tuple[float, int], int]:
    oldest = min(map(_oldest_first, stack.threads), default=(0.0, 0))
    return (("request", "application", "server").index(stack.kind), oldest, -len(stack.threads))
