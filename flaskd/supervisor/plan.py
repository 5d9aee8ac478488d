"""Which workers to start and which to stop, given what is wanted and what is there. Pure: no process, socket or clock.

The rules, in order:

1. A worker that has to be replaced (`due`) and does not serve yet is ended: it loads what is already out of date.
2. More serve than are wanted: the surplus is stopped gracefully, first those that are due, the oldest first, then the
   newest. A worker is stopped in no other case, so once as many as wanted serve, that many always do.
3. Fewer are there than wanted: the missing ones are started.
4. As many are there as wanted, and some are due: one more is started. When it serves, rule 2 stops the oldest of them. So a
   reload is rolling, new before old, and needs room for one more worker.
5. More are being started than rules 3 and 4 need: the newest of them are ended.

After failures (a start that failed, a worker that ended by itself) starts are delayed, longer each time: `Failures`.
"""

import enum
from collections.abc import Sequence
from typing import Final

import msgspec

PAUSES: Final = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
"""Delay in seconds of the next start after so many failures in a row; the last for all further ones."""

OOM_PAUSE: Final = 5.0
"""Least delay in seconds after a worker that the OOM killer has ended: the next may need as much memory."""

CRASH_LOOP: Final = 3
"""Failures in a row, with fewer workers serving than wanted, that are a crash loop."""

CALM: Final = 10.0
"""Seconds without a failure, after the delay, that end a row of failures."""


class WorkerState(enum.Enum):
    """The state of a worker; the values appear in the protocol."""

    STARTING = "starting"
    SERVING = "serving"
    LEAVING = "leaving"
    GONE = "gone"


class Move(enum.Enum):
    """An event that moves a worker from state to state."""

    READY = "ready"
    STOP = "stop"
    END = "end"


MOVES: Final = {
    (WorkerState.STARTING, Move.READY): WorkerState.SERVING,
    # It may accept already, and has not yet said so.
    (WorkerState.STARTING, Move.STOP): WorkerState.LEAVING,
    (WorkerState.SERVING, Move.STOP): WorkerState.LEAVING,
    (WorkerState.LEAVING, Move.STOP): WorkerState.LEAVING,  # to an earlier deadline
    (WorkerState.STARTING, Move.END): WorkerState.GONE,
    (WorkerState.SERVING, Move.END): WorkerState.GONE,
    (WorkerState.LEAVING, Move.END): WorkerState.GONE,
}
"""Every legal move of a worker; docs/states.md draws it."""


class WorkerView(msgspec.Struct, frozen=True):
    """One worker as the plan sees it. The smaller id is the older worker. `due` says why it is to be replaced, or nothing."""

    id: int
    state: WorkerState
    due: str = ""


class Failures(msgspec.Struct, frozen=True):
    """The failures in a row so far; `last` is when the last one was, `pause` the least delay after it (monotonic seconds)."""

    streak: int = 0
    last: float = 0.0
    pause: float = 0.0

    @property
    def not_before(self) -> float:
        """The earliest time of the next start."""
        if not self.streak:
            return 0.0
        return self.last + max(self.pause, PAUSES[min(self.streak, len(PAUSES)) - 1])

    @property
    def looping(self) -> bool:
        """Whether this is a crash loop, provided that too few workers serve."""
        return self.streak >= CRASH_LOOP

    def one_more(self, now: float, *, served: bool, pause: float = 0.0) -> "Failures":
        """Count a failure at `now`: of a worker that had `served`, or of a start; `pause` is the least delay after it.

        A failure while starts are delayed already belongs to the one before, and does not delay them further. Otherwise eight
        workers that are killed together would wait half a minute, and one that fails now and then would keep all others from
        being replaced. A worker that served and ends after a calm time begins a new row; a failed start does not.
        """
        if now < self.not_before:
            return self
        calm = served and now > self.not_before + CALM
        return Failures(1 if calm else self.streak + 1, now, pause)


class Start(msgspec.Struct, frozen=True):
    """Start a worker; `replaces` is the id of the one that is due, None where one is missing."""

    replaces: int | None


class StopWorker(msgspec.Struct, frozen=True):
    """Let a serving worker answer what it has and exit."""

    worker: int


class EndStart(msgspec.Struct, frozen=True):
    """End a worker that does not serve yet."""

    worker: int


Action = Start | StopWorker | EndStart


class Plan(msgspec.Struct, frozen=True):
    """What to do now, in this order; `look_again` is when a delayed start is due (monotonic)."""

    actions: tuple[Action, ...] = ()
    look_again: float | None = None


def plan(wanted: int, workers: Sequence[WorkerView], failures: Failures, now: float) -> Plan:
    """Decide how to get `wanted` workers to serve and none of them due. Call it again whenever anything of this has changed."""
    starting = sorted(
        (each for each in workers if each.state is WorkerState.STARTING), key=lambda each: each.id
    )
    serving = [each for each in workers if each.state is WorkerState.SERVING]
    actions: list[Action] = [EndStart(each.id) for each in starting if each.due]
    starting = [each for each in starting if not each.due]

    leaving = sorted(serving, key=_order_of_stopping)[: max(0, len(serving) - wanted)]
    actions += [StopWorker(each.id) for each in leaving]
    staying = [each for each in serving if each not in leaving]

    due = sorted((each for each in staying if each.due), key=lambda each: each.id)
    missing = wanted - len(staying)
    needed = missing if missing > 0 else min(1, len(due))
    actions += [EndStart(each.id) for each in starting[needed:]]

    to_start = needed - len(starting)
    if failures.streak > 1:  # try what keeps failing with one at a time
        to_start = min(to_start, 1 - len(starting))
    if to_start <= 0:
        return Plan(tuple(actions))
    if now < failures.not_before:
        return Plan(tuple(actions), look_again=failures.not_before)
    actions += [Start(None if missing > 0 else due[0].id)] * to_start
    return Plan(tuple(actions))


def _order_of_stopping(worker: WorkerView) -> tuple[bool, int]:
    return (not worker.due, worker.id if worker.due else -worker.id)
