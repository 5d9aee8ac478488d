"""Which workers to start and which to let go, given what is wanted and what is there. Pure: no process, socket or clock.

The rules, in the order in which they are applied:

1. A worker that has to be replaced (`due`) and does not serve yet is ended: it loads what is already out of date.
2. More serve than are wanted: the surplus is stopped gracefully, first those that are due, the oldest first, then the
   newest. A worker is never stopped otherwise, so as many as wanted serve all the time, once they did.
3. Fewer are there than are wanted: the missing are started.
4. As many are there as wanted, and some are due: one more is started. When it serves, rule 2 lets the oldest of them go. So a
   reload is rolling, new before old, and needs room for one worker more.
5. More are being started than rules 3 and 4 ask for: the newest of them are ended.

After failures (a start that failed, a worker that ended by itself) starts are put off, longer each time: `Failures`.
"""

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

PAUSES: Final = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
"""Seconds that the next start is put off after so many failures in a row; the last for all that follow."""

CRASH_LOOP: Final = 3
"""So many failures in a row, with fewer workers serving than wanted, are a crash loop."""

CALM: Final = 10.0
"""Seconds without a failure, after the pause, that end a row of failures."""


class WorkerState(enum.Enum):
    """Where in its life a worker is; the values are the wire's words."""

    STARTING = "starting"
    SERVING = "serving"
    LEAVING = "leaving"
    GONE = "gone"


class Move(enum.Enum):
    """What may happen to a worker."""

    READY = "ready"
    STOP = "stop"
    END = "end"


MOVES: Final = {
    (WorkerState.STARTING, Move.READY): WorkerState.SERVING,
    (
        WorkerState.STARTING,
        Move.STOP,
    ): WorkerState.LEAVING,  # it may accept already, and has not yet said so
    (WorkerState.SERVING, Move.STOP): WorkerState.LEAVING,
    (WorkerState.LEAVING, Move.STOP): WorkerState.LEAVING,  # to an earlier deadline
    (WorkerState.STARTING, Move.END): WorkerState.GONE,
    (WorkerState.SERVING, Move.END): WorkerState.GONE,
    (WorkerState.LEAVING, Move.END): WorkerState.GONE,
}
"""Every legal move of a worker; docs/states.md is drawn from it."""


@dataclass(frozen=True, slots=True)
class WorkerView:
    """One worker as the plan sees it. Ids grow: the smaller one is older. `due` says why it is to be replaced, or nothing."""

    id: int
    state: WorkerState
    due: str = ""


@dataclass(frozen=True, slots=True)
class Failures:
    """The failures in a row up to now; `last` is when the last one was (monotonic seconds)."""

    streak: int = 0
    last: float = 0.0

    @property
    def not_before(self) -> float:
        """When the next start may be."""
        return self.last + PAUSES[min(self.streak, len(PAUSES)) - 1] if self.streak else 0.0

    @property
    def looping(self) -> bool:
        """Whether this is a crash loop, if too few workers serve."""
        return self.streak >= CRASH_LOOP

    def one_more(self, now: float, *, served: bool) -> "Failures":
        """Count a failure at `now`, of a worker that had `served` or of a start.

        What fails while starts are put off already is the same blow, and puts them off no longer: else eight workers that are
        killed at once would wait half a minute, and one that fails now and then would keep all others from being replaced. A
        worker that served and ends after a time of calm begins a new row; a start that fails does not, however slow it was.
        """
        if now < self.not_before:
            return self
        calm = served and now > self.not_before + CALM
        return Failures(1 if calm else self.streak + 1, now)


@dataclass(frozen=True, slots=True)
class Start:
    """Start a worker; `replaces` is the id of the one that is due, None where one is missing."""

    replaces: int | None


@dataclass(frozen=True, slots=True)
class StopWorker:
    """Let a serving worker answer what it has and exit."""

    worker: int


@dataclass(frozen=True, slots=True)
class EndStart:
    """End a worker that does not serve yet."""

    worker: int


Action = Start | StopWorker | EndStart


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do now, in this order; `look_again` is when a start that was put off is due (monotonic)."""

    actions: tuple[Action, ...] = ()
    look_again: float | None = None


def plan(wanted: int, workers: Sequence[WorkerView], failures: Failures, now: float) -> Plan:
    """Say what to do so that `wanted` workers serve and none of them is due. Call it again whenever one of these changed."""
    starting = sorted(
        (each for each in workers if each.state is WorkerState.STARTING), key=lambda each: each.id
    )
    serving = [each for each in workers if each.state is WorkerState.SERVING]
    actions: list[Action] = [EndStart(each.id) for each in starting if each.due]
    starting = [each for each in starting if not each.due]

    leaving = sorted(serving, key=_who_goes_first)[: max(0, len(serving) - wanted)]
    actions += [StopWorker(each.id) for each in leaving]
    staying = [each for each in serving if each not in leaving]

    due = sorted((each for each in staying if each.due), key=lambda each: each.id)
    missing = wanted - len(staying)
    needed = missing if missing > 0 else min(1, len(due))
    actions += [EndStart(each.id) for each in starting[needed:]]

    to_start = needed - len(starting)
    if failures.streak > 1:  # do not try with all at once what keeps failing
        to_start = min(to_start, 1 - len(starting))
    if to_start <= 0:
        return Plan(tuple(actions))
    if now < failures.not_before:
        return Plan(tuple(actions), look_again=failures.not_before)
    actions += [Start(None if missing > 0 else due[0].id)] * to_start
    return Plan(tuple(actions))


def _who_goes_first(worker: WorkerView) -> tuple[bool, int]:
    return (not worker.due, worker.id if worker.due else -worker.id)
