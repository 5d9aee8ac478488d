"""How many workers the load needs, within bounds. Pure: no process, socket or clock.

What is seen of the workers (`Sample`) says how many of them the load would fill: by threads (requests in the application and
waiting ones), or by CPU (an interpreter computes on one CPU at a time). From it come two numbers:

- the load *needs* as many workers as it fills to 80 %, and one more than serve if they are half full and requests wait long;
- it *keeps* as many as it fills to 50 %.

If it has needed more than there are for GROW_AFTER seconds without a break, the number grows to the least that was needed
meanwhile, to twice as many at most. If it has kept fewer than there are for the whole quiet time, the number shrinks to the
most that was kept meanwhile. What is kept is never less than what is needed, so a constant load that fills a number of workers
does not change it. Where that is not enough (a load that needs more workers as soon as there are fewer), each shrinking that
had to be undone doubles the quiet time.

While workers start, or a reload is under way, nothing can be said of the load: both times begin anew after it (`disturbed`).
While no request is in flight nobody needs to look: the last sample has said so. `look_again` says when the number may have to
shrink.
"""

import math
from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple

import msgspec

from flaskd.settings.workers import Bounds
from flaskd_ctl.contract.times import count

FULL: Final = 0.8
"""The share of its threads, or of a CPU, that a worker may be filled to."""

ROOMY: Final = 0.5
"""The share that the remaining workers may be filled to for one to be stopped."""

LONG_WAIT: Final = 0.05
"""Mean seconds in the queue that are a reason for more workers."""

GROW_AFTER: Final = 2.0
"""Seconds for which more workers must have been needed."""

BREAK: Final = 2.5
"""Seconds between two samples after which the first says nothing about what was in between."""

MOST_PATIENCE: Final = 16
"""How many times the quiet time is waited for at most, after shrinkings that had to be undone."""

OOM_TIME: Final = 600.0
"""Seconds for which the number stays below the one that the OOM killer ended; twice as long the next time."""

MOST_OOM_TIME: Final = 6 * 3600.0

USED_UP: Final = 0.95
"""The share of all CPUs above which another worker would only share them."""


class Sample(NamedTuple):
    """What was seen at a moment (`at`, monotonic seconds), or since the sample before.

    `workers` serve, with `threads` each. `busy` requests are in the application, `waiting` ones wait for a thread or in the
    accept queue, and those that began meanwhile had waited `waited` seconds in the mean. The workers used `cpu` CPUs of `cpus`.
    """

    at: float
    workers: int
    threads: int
    busy: int
    waiting: int = 0
    waited: float = 0.0
    cpu: float = 0.0
    cpus: float = math.inf


class Step(NamedTuple):
    """A change of the number: `cause` is "threads", "queue", "cpu", "quiet" or "memory"; `why` the same in a sentence."""

    wanted: int
    cause: str
    why: str


class Need(NamedTuple):
    """How many workers a load needs, how many it keeps, and why it needs them."""

    needs: int
    keeps: int
    cause: str
    why: str


class Ceiling(msgspec.Struct, frozen=True):
    """After an OOM kill: no more than `workers` until a time (monotonic), which was to be `seconds` long."""

    workers: int
    until: float
    seconds: float


def need_of(sample: Sample) -> Need:
    """Return how many workers the load needs."""
    by_threads = (sample.busy + sample.waiting) / sample.threads
    by_cpu = min(sample.cpu, sample.workers)
    if by_cpu > by_threads:
        cause, why = "cpu", f"{count(sample.workers, 'worker')} used {sample.cpu:.2g} CPUs"
    else:
        cause, why = "threads", f"{sample.busy} of {sample.workers * sample.threads} threads were busy"
        if sample.waiting:
            why += f", and {count(sample.waiting, 'request')} waited"
    computing = math.ceil(min(_filled(by_cpu, FULL), max(sample.workers, sample.cpus)))
    needs = max(1, _filled(by_threads, FULL), computing)
    half_full = (
        max(by_threads, by_cpu) > ROOMY * sample.workers
    )  # else a wait has another cause, such as a proxy's clock
    if sample.waited >= LONG_WAIT and half_full and needs <= sample.workers:
        needs = sample.workers + 1
        cause, why = "queue", f"requests waited {sample.waited:.2g} s in the mean"
    if needs > sample.workers >= sample.cpus and sample.cpu >= USED_UP * sample.cpus:
        needs, why = sample.workers, f"all CPUs are used ({sample.cpus:g})"
    keeps = max(1, _filled(by_threads, ROOMY), _filled(min(by_cpu, sample.cpus * ROOMY), ROOMY))
    return Need(needs, max(keeps, needs), cause, why)


def _filled(load: float, share: float) -> int:
    return math.ceil(load / share - 1e-9)


class Policy:
    """Keeps the number of workers of one instance; all times are monotonic seconds. `quiet` is the quiet time."""

    def __init__(self, bounds: Bounds, quiet: float, *, wanted: int | None = None) -> None:
        self.bounds = bounds
        self.quiet = quiet
        self.wanted = bounds.clamp(bounds.minimum if wanted is None else wanted)
        self.limited = ""
        """Why there are not as many workers as the load needs; "" if there are."""
        self.patience = 1
        self.ceiling: Ceiling | None = None
        self._pressed: tuple[float, int] | None = None  # since when more are needed, and how many at least
        self._last = -math.inf
        self._shrunk = -math.inf
        # When so many were last kept, and how many: later ones are fewer. The first is the most of the quiet time.
        self._kept: deque[tuple[float, int]] = deque()

    def change(self, bounds: Bounds, quiet: float) -> int:
        """Use other bounds; returns the number within them."""
        self.bounds, self.quiet = bounds, quiet
        self.wanted = bounds.clamp(self.wanted)
        self._pressed = None
        return self.wanted

    def restart(self, wanted: int, now: float) -> None:
        """Begin anew with so many workers: somebody else has set the number until now."""
        self.wanted = self.bounds.clamp(wanted)
        self._begin_anew(now)

    def disturbed(self, now: float) -> None:
        """Take note of a time that says nothing about the load."""
        self._begin_anew(now)

    def observe(self, sample: Sample, room: Callable[[], int | None]) -> Step | None:
        """Return the step that the load calls for; `room()` is how many more workers the memory has room for (None: any)."""
        if sample.at - self._last > BREAK:
            self._pressed = None
        self._last = sample.at
        need = need_of(sample)
        self._keep(sample.at, need.keeps)
        if need.needs <= self.wanted:
            self._pressed, self.limited = None, ""
            return self.shrink(sample.at)
        since, least = self._pressed or (sample.at, need.needs)
        self._pressed = since, min(least, need.needs)
        if sample.at - since < GROW_AFTER:
            return None
        return self._grow(sample.at, min(least, need.needs), need, room)

    def shrink(self, now: float) -> Step | None:
        """Return the step that a quiet time calls for."""
        to = self.bounds.clamp(self._most_kept(now))
        if to >= self.wanted:
            return None
        self.wanted, self._shrunk = to, now
        self._begin_anew(now)
        return Step(to, "quiet", f"{to} would have been enough for {self.quiet * self.patience:g} s")

    def look_again(self, now: float) -> float | None:
        """Return when the number may have to shrink if nothing more is seen; None: never."""
        if self.wanted <= self.bounds.minimum:
            return None
        # As soon as what keeps this number is too long ago.
        times = [at for at, kept in self._kept if self.bounds.clamp(kept) >= self.wanted]
        return max(now, (times[-1] if times else now) + self.quiet * self.patience)

    def killed(self, now: float, workers: int) -> Step | None:
        """Take note of an OOM kill while there were so many workers: for a time there are fewer."""
        before = self.ceiling
        again = before is not None and now < before.until + before.seconds
        seconds = min(MOST_OOM_TIME, 2 * before.seconds) if again and before else OOM_TIME
        self.ceiling = Ceiling(max(self.bounds.minimum, workers - 1), now + seconds, seconds)
        self._pressed = None
        if self.wanted <= self.ceiling.workers:
            return None
        self.wanted = self.ceiling.workers
        self._begin_anew(now)
        return Step(self.wanted, "memory", f"the OOM killer has killed one of {workers} workers")

    def failed(self, now: float, workers: int) -> Step | None:
        """Take note that a worker could not start: with so many that serve, what was needed is seen anew."""
        self._pressed = None
        to = self.bounds.clamp(workers)
        if to >= self.wanted:
            return None
        self.wanted = to
        self._begin_anew(now)
        return Step(to, "failure", "a further worker could not start")

    def _grow(self, now: float, needs: int, need: Need, room: Callable[[], int | None]) -> Step | None:
        most, why = self.bounds.maximum, f"at most {self.bounds.maximum} are allowed"
        if self.ceiling is not None and now < self.ceiling.until and self.ceiling.workers < most:
            most = max(self.bounds.minimum, self.ceiling.workers)
            why = f"{most + 1} were too many for the memory (OOM killer)"
        free = room() if min(needs, most) > self.wanted else None
        if free is not None and self.wanted + free < most:
            most, why = self.wanted + free, "the memory has no room for one more"
        to = max(self.wanted, min(needs, 2 * self.wanted, most))
        self.limited = f"{need.why}, but {why}" if needs > most else ""
        if to <= self.wanted:
            return None
        undone = now - self._shrunk < 2 * self.quiet * self.patience
        self.patience = min(MOST_PATIENCE, 2 * self.patience) if undone else max(1, self.patience // 2)
        self.wanted = to
        self._begin_anew(now)
        return Step(to, need.cause, f"{need.why} for {GROW_AFTER:g} s")

    def _begin_anew(self, now: float) -> None:
        """Let the quiet time begin now: what was kept before was kept of another number."""
        self._pressed = None
        self._kept.clear()
        self._kept.append((now, self.wanted))

    def _keep(self, now: float, keeps: int) -> None:
        while self._kept and self._kept[-1][1] <= keeps:
            self._kept.pop()
        self._kept.append((now, keeps))

    def _most_kept(self, now: float) -> int:
        """Return the most that was kept in the quiet time."""
        while len(self._kept) > 1 and now - self._kept[0][0] >= self.quiet * self.patience:
            self._kept.popleft()
        return self._kept[0][1] if self._kept else self.wanted
