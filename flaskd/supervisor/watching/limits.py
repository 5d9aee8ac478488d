"""Which workers have reached a limit, and what to do about it. Pure: no process, socket or clock.

Checks happen only if a limit is set, and only when one can have been reached; `check_again` says when that is:

- A request that was seen becomes too old at a known moment. One that begins later cannot be too old before the limit has passed
  once more. So it is enough to check when the limit has passed, or when the oldest request reaches it.
- A worker gets two pings within its timeout. It hangs if one of them stays unanswered for the whole timeout.
- A worker's age is known. Its memory must be read.

A worker that is leaving has a deadline for its requests, so only a hang counts.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from flaskd_ctl.protocol import InFlight

MIB: Final = 1024 * 1024
MEMORY_PAUSE: Final = 5.0
"""Seconds between two readings of the memory."""

PATIENCE: Final = (0.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
"""Minimum seconds that a worker serves before it is replaced for its memory; the n-th after n early replacements in a row."""

EARLY: Final = 60.0
"""A worker replaced for its memory within so many seconds of its patience counts as early: replacing helps little."""

AGE_SPREAD: Final = 0.1
"""Workers are replaced up to this share of the age limit earlier, each at another moment, so that not all go at once."""

LEAST_WAIT: Final = 0.001


class Limits(NamedTuple):
    """The limits for workers: seconds, and bytes of resident memory. 0 is no limit."""

    silence: float = 0.0
    request: float = 0.0
    age: float = 0.0
    memory: int = 0


class Observation(NamedTuple):
    """One worker, serving or `leaving`, at the moment of a check; `due` if it is to be replaced already. Seconds.

    `served` is how long it has served; `share` (0 to 1) makes its age limit differ from others'. `asked` is how long ago its
    last ping was sent, None if never; `answered` whether it was answered. `reported` are the numbers of the requests that were
    reported as slow before.
    """

    worker: int
    leaving: bool = False
    due: bool = False
    served: float = 0.0
    share: float = 0.0
    asked: float | None = None
    answered: bool = True
    requests: Sequence[InFlight] = ()
    reported: frozenset[int] = frozenset()
    memory: int | None = None


class SendPing(NamedTuple):
    """Send a ping to a worker."""

    worker: int


class Kill(NamedTuple):
    """Kill a worker that hangs."""

    worker: int
    reason: str


class Replace(NamedTuple):
    """Replace a worker, new before old."""

    worker: int
    why: str


class ReportSlow(NamedTuple):
    """Report a request that takes too long."""

    worker: int
    request: InFlight


Action = SendPing | Kill | Replace | ReportSlow


class Findings(NamedTuple):
    """What to do now, and in how many seconds to check again (None: when the workers have changed).

    `early` counts the workers in a row that were replaced for their memory early.
    """

    actions: tuple[Action, ...] = ()
    check_again: float | None = None
    early: int = 0


def check_limits(observations: Sequence[Observation], limits: Limits, early: int) -> Findings:
    """Decide what to do about the workers; `early` comes from the last findings."""
    actions: list[Action] = []
    waits: list[float] = []
    for seen in observations:
        if limits.silence and (hung := _hung(seen, limits.silence, waits)):
            actions.append(hung)
            continue
        idle = seen.asked is None or (seen.answered and 2 * seen.asked >= limits.silence)
        if limits.silence and idle:
            actions.append(SendPing(seen.worker))
        if limits.request:
            actions += [ReportSlow(seen.worker, request) for request in _slow(seen, limits.request, waits)]
        if seen.leaving or seen.due:
            continue
        if limits.age:
            left = limits.age * (1 - AGE_SPREAD * seen.share) - seen.served
            if left <= 0:
                actions.append(Replace(seen.worker, "max age"))
            else:
                waits.append(left)
        if limits.memory:
            waits.append(MEMORY_PAUSE)
            patience = PATIENCE[min(early, len(PATIENCE) - 1)]
            if seen.memory is not None and seen.memory > limits.memory and seen.served >= patience:
                early = early + 1 if seen.served < patience + EARLY else 0
                actions.append(Replace(seen.worker, f"max memory: {-(-seen.memory // MIB)} MiB"))
    again = max(min(waits), LEAST_WAIT) if waits else None
    return Findings(tuple(actions), again, early)


def _hung(seen: Observation, limit: float, waits: list[float]) -> Kill | None:
    """Return what to do if a worker hangs; if not, add to `waits` when it might."""
    if seen.asked is not None and not seen.answered:
        if seen.asked >= limit:
            return Kill(seen.worker, f"gave no sign of life for {limit:g} s (--worker-timeout)")
        waits.append(limit - seen.asked)
    else:  # the next question
        waits.append(limit / 2 - seen.asked if seen.asked and 2 * seen.asked < limit else limit / 2)
    if seen.leaving or not seen.requests:
        return None
    oldest = max(seen.requests, key=lambda request: request.age)
    if oldest.age >= limit:
        what = f"{oldest.method} {oldest.path}"
        return Kill(seen.worker, f"{what} has taken {oldest.age:.1f} s (--worker-timeout {limit:g})")
    waits.append(limit - oldest.age)
    return None


def _slow(seen: Observation, limit: float, waits: list[float]) -> list[InFlight]:
    """Find the requests that have become slow; add to `waits` when the next may."""
    fresh = [request for request in seen.requests if request.id not in seen.reported]
    waits += [limit, *(limit - request.age for request in fresh if request.age < limit)]
    return [request for request in fresh if request.age >= limit]
