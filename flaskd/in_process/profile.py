"""A sampling profiler of this process's threads.

A thread looks at the others so many times a second, and counts the stacks that it sees. The application cannot run while it
looks, so little is done then:

- Only threads that serve a request are looked at.
- A thread that has used no CPU time since the last look, as it waits, is where it was.
- A stack is the tuple of its functions' identities. Names are found at the end, once for each function.

The thread needs the GIL for that. Where the application's threads compute, it has its turn like each of them, after the switch
interval at the earliest; where C code holds the GIL, not before that ends. What was due meanwhile is counted as missed.
"""

import itertools
import sys
import threading
import time
from collections import Counter
from types import CodeType, FrameType
from typing import Final, Self

from flaskd.in_process.stacks import short_text
from flaskd.ledger.shared_memory import RequestTable
from flaskd.process.profiles import LONGEST_PROFILE, fit
from flaskd.serving import Core
from flaskd.tasks import EndProfile, ProfileEnded, ProfileTaken, TakeProfile
from flaskd_ctl.protocol import ProfiledFunction, ProfiledStack

SHORTEST_INTERVAL: Final = 0.0005
"""Seconds after which a thread that computes gives up the GIL while a profile runs, for each thread that computes."""

DEEPEST: Final = 250
"""Calls of a stack that are looked at, the newest."""

MOST_THREADS: Final = 4096
"""Threads whose last stack is kept."""

MOST_STACKS: Final = 20_000
"""Different stacks that are kept; what is seen beyond them is counted."""


class _Running:
    """The profile that is under way in this process: one at a time, so that their costs do not add up."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards the rest
        self._name: str | None = None
        self._until = 0.0
        self._end = threading.Event()

    def begin(self, task: TakeProfile) -> threading.Event:
        """Return the event that ends it early. Raises RuntimeError if one is under way."""
        with self._lock:
            if self._name is not None:
                left = max(0.0, self._until - time.monotonic())
                raise RuntimeError(f"is being profiled already, for {left:.1f} s more")
            self._name, self._until = task.profile, time.monotonic() + task.seconds
            self._end = threading.Event()
            return self._end

    def over(self) -> None:
        """Note that it has ended."""
        with self._lock:
            self._name = None

    def end(self, name: str) -> None:
        """End the profile of this name."""
        with self._lock:
            if self._name == name:
                self._end.set()


_running: Final = _Running()


def take_profile(core: Core, task: TakeProfile) -> ProfileTaken:
    """Look at the threads until the time is over, somebody ends it, or the server stops."""
    known = core.endpoints()
    if task.endpoint is not None and known and task.endpoint not in known:
        raise ValueError(f"has no endpoint {task.endpoint!r}: the application has {_some(known)}")
    if not core.counts_requests and not task.all_threads:
        raise ValueError("does not know which threads serve requests (--no-ledger): use --all-threads")
    end = _running.begin(task)
    try:
        core.call_at_close(end.set)
        sampler = Sampler(core.ledger.table, task)
        sampler.run(end)
        return sampler.result()
    finally:
        _running.over()


def end_profile(core: Core, task: EndProfile) -> ProfileEnded:
    """End a profile before its time."""
    _running.end(task.profile)
    return ProfileEnded()


class SwitchInterval:
    """Python's switch interval while a profile runs; as a context manager it is afterwards what it was.

    What computes for less than the interval before it waits is never seen where it computes: it keeps the GIL until it waits.
    With Python's 5 ms that is most of what applications compute between two queries. But where many threads compute, each
    switch between them costs, and none computes for long at a time; so the interval grows with their number.
    """

    def __init__(self) -> None:
        self._before = self._ours = sys.getswitchinterval()

    def __enter__(self) -> Self:
        self.set_for(0)
        return self

    def __exit__(self, *_: object) -> None:
        self._set(self._before)

    def set_for(self, computing: int) -> None:
        """Set it for so many threads that compute."""
        self._set(min(self._before, SHORTEST_INTERVAL * max(1, computing)))

    def _set(self, seconds: float) -> None:
        current = sys.getswitchinterval()
        if seconds != self._ours and current == self._ours:  # else the application has set its own
            sys.setswitchinterval(seconds)
            self._ours = sys.getswitchinterval()


class Sampler:
    """Looks at threads, and counts what it sees."""

    def __init__(self, table: RequestTable, task: TakeProfile) -> None:
        self._table = table
        self._task = task
        self._counts: Counter[tuple[int, ...]] = Counter()
        self._last: dict[int, tuple[tuple[float, int, int], tuple[int, ...]]] = {}
        self._clocks: dict[int, int] = {}
        self._numbers = itertools.count(1)
        self._version: tuple[list[int], list[int], int] | None = None
        self._idents: list[int] = []
        self._known: dict[
            int, tuple[int, CodeType]
        ] = {}  # functions are kept, so that no identity is used again
        self._own = threading.get_ident()
        self._samples = self._missed = 0
        self._seconds = self._longest_gap = 0.0

    def run(self, end: threading.Event) -> None:
        """Look at the rate that was asked for, until `end` is set or the time is over."""
        with SwitchInterval() as switching:
            self._run(end, switching)

    def _run(self, end: threading.Event, switching: SwitchInterval) -> None:
        interval, began = 1 / self._task.rate, time.monotonic()
        last, due = began, 1
        while True:
            wait = began + due * interval - time.monotonic()
            if (wait > 0 and end.wait(wait)) or end.is_set():
                break
            now = time.monotonic()
            if now - began >= self._task.seconds:
                break
            switching.set_for(self._look())
            passed = max(due, int((now - began) / interval))  # rounding may lose one
            self._missed += passed - due
            due = passed + 1
            self._longest_gap, last = max(self._longest_gap, now - last), now
        self._seconds = time.monotonic() - began
        self._longest_gap = max(self._longest_gap, time.monotonic() - last)

    def _look(self) -> int:
        """Look at the threads once; return how many have run since the last look."""
        self._samples += 1
        ran = 0
        if len(self._last) > MOST_THREADS:  # an engine may have a thread for each request
            self._last.clear()
            self._clocks.clear()
        idents = self._chosen()
        if idents is not None and not idents:
            return 0
        frames = sys._current_frames()
        for ident in frames if idents is None else idents:
            frame = frames.get(ident)
            if frame is None or ident == self._own:
                continue
            # Not the frame itself: what it refers to would live longer.
            moment = (self._cpu_time(ident), id(frame), frame.f_lasti)
            last = self._last.get(ident)
            if last is not None and last[0] == moment:
                key = last[1]
            else:
                ran += 1
                key = self._key(frame)
                self._last[ident] = (moment, key)
            self._counts[key] += 1
        return ran

    def _key(self, frame: FrameType | None) -> tuple[int, ...]:
        """Return the identities of a stack's functions, the newest first; none for a new stack beyond the limit."""
        codes = []
        while frame is not None:
            codes.append(frame.f_code)
            frame = frame.f_back
        key = tuple(map(id, codes[:DEEPEST]))
        if key in self._counts:
            return key
        return self._kept(codes[:DEEPEST]) if len(self._counts) < MOST_STACKS else ()

    def _cpu_time(self, ident: int) -> float:
        """Return the CPU time that a thread has used; another number at each call where the system does not tell."""
        try:
            if ident not in self._clocks:  # it runs: its state is in this interpreter, and we hold the GIL
                self._clocks[ident] = time.pthread_getcpuclockid(ident)
            return time.clock_gettime(self._clocks[ident])
        except (OSError, AttributeError):  # it has ended, and another has its identifier; or this is no Linux
            self._clocks.pop(ident, None)
            return -float(next(self._numbers))

    def _chosen(self) -> list[int] | None:
        """Return the threads to look at; None for all."""
        if self._task.all_threads:
            return None
        version = self._table.version()
        if version != self._version:
            wanted = self._task.endpoint
            serving = self._table.serving()
            self._idents = [
                ident for ident, (_, endpoint) in serving.items() if wanted is None or endpoint == wanted
            ]
            self._version = version
        return self._idents

    def _kept(self, codes: list[CodeType]) -> tuple[int, ...]:
        """Return the key of a new stack, made of integers that other keys have too: there may be many."""
        return tuple(self._known.setdefault(id(code), (id(code), code))[0] for code in codes)

    def result(self) -> ProfileTaken:
        """Return what was seen."""
        numbers = {identity: number for number, identity in enumerate(self._known)}
        stacks = [
            ProfiledStack(count, [numbers[identity] for identity in reversed(key)])
            for key, count in self._counts.items()
            if key
        ]
        functions, kept, other = fit(
            [_described(code) for _, code in self._known.values()], stacks, LONGEST_PROFILE
        )
        return ProfileTaken(
            seconds=round(self._seconds, 3),
            samples=self._samples,
            missed=self._missed,
            longest_gap=round(self._longest_gap, 3),
            functions=functions,
            stacks=kept,
            other=self._counts[()] + other,
        )


def _described(code: CodeType) -> ProfiledFunction:
    return ProfiledFunction(short_text(code.co_qualname), short_text(code.co_filename), code.co_firstlineno)


def _some(names: set[str]) -> str:
    """Write some of the names."""
    shown = sorted(names)[:20]
    return f"{', '.join(shown)}{' and others' if len(names) > len(shown) else ''}"
