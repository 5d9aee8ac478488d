"""What is wrong with workers, given what is seen of them: who hangs, who is worn out, what takes too long. Pure.

Nothing here happens unless a limit is set. Then `look_again` says when the next look is due, and no look is made before:

- A request becomes too old at a moment that is known once it was seen, and one that begins after a look is not too old for as
  long as the limit again. So a look each time the limit has passed, or when the oldest request seen reaches it, finds each one
  when it is due.
- A worker is asked for a sign of life twice within its timeout, and hangs if one question stays unanswered for all of it.
- The age of a worker is known; its memory has to be looked at.

A worker that leaves has a deadline for its requests; what it must not do is hang.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from flaskd_ctl.protocol import InFlight

MIB: Final = 1024 * 1024
MEMORY_PAUSE: Final = 5.0
"""Seconds between two looks at the memory."""

PATIENCE: Final = (0.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
"""Seconds that a worker serves at least before it is replaced for its memory, after so many that went early in a row."""

EARLY: Final = 60.0
"""Seconds after its patience in which a worker that has grown too large is one that went early: replacing helps little."""

AGE_SPREAD: Final = 0.1
"""The share of the age limit by which workers go earlier, each by another part of it, so that not all go at once."""

LEAST_WAIT: Final = 0.001


class Limits(NamedTuple):
    """What workers may not exceed: seconds, and bytes of resident memory. 0 is no limit."""

    silence: float = 0.0
    request: float = 0.0
    age: float = 0.0
    memory: int = 0


@dataclass(frozen=True, slots=True)
class Sight:
    """One worker, serving or `leaving`, as it is at the moment of a look; `due` if it is to be replaced already. Seconds.

    `served` is how long it has been serving, `share` (0 to 1) what makes its age limit differ from others'. `asked` is how long
    ago it was asked for a sign of life, None if never; `answered` whether that was answered. `told` are the numbers of the
    requests that were found slow before.
    """

    worker: int
    leaving: bool = False
    due: bool = False
    served: float = 0.0
    share: float = 0.0
    asked: float | None = None
    answered: bool = True
    requests: Sequence[InFlight] = ()
    told: frozenset[int] = frozenset()
    memory: int | None = None


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask a worker for a sign of life."""

    worker: int


@dataclass(frozen=True, slots=True)
class Hung:
    """Put a worker down: it hangs."""

    worker: int
    reason: str


@dataclass(frozen=True, slots=True)
class Worn:
    """Replace a worker, new before old."""

    worker: int
    why: str


@dataclass(frozen=True, slots=True)
class Slow:
    """Tell that a request takes too long."""

    worker: int
    request: InFlight


Verdict = Ask | Hung | Worn | Slow


@dataclass(frozen=True, slots=True)
class Findings:
    """What to do now, and in how many seconds to look again (None: when the workers have changed).

    `early` counts the workers in a row that were replaced for their memory as soon as they could be.
    """

    verdicts: tuple[Verdict, ...] = ()
    look_again: float | None = None
    early: int = 0


def watch(sights: Sequence[Sight], limits: Limits, early: int) -> Findings:
    """Say what is to be done about the workers in `sights`; `early` is what the last findings said of it."""
    verdicts: list[Verdict] = []
    waits: list[float] = []
    for sight in sights:
        if limits.silence and (hung := _hung(sight, limits.silence, waits)):
            verdicts.append(hung)
            continue
        idle = sight.asked is None or (sight.answered and 2 * sight.asked >= limits.silence)
        if limits.silence and idle:
            verdicts.append(Ask(sight.worker))
        if limits.request:
            verdicts += [Slow(sight.worker, request) for request in _slow(sight, limits.request, waits)]
        if sight.leaving or sight.due:
            continue
        if limits.age:
            left = limits.age * (1 - AGE_SPREAD * sight.share) - sight.served
            if left <= 0:
                verdicts.append(Worn(sight.worker, "max age"))
            else:
                waits.append(left)
        if limits.memory:
            waits.append(MEMORY_PAUSE)
            patience = PATIENCE[min(early, len(PATIENCE) - 1)]
            if sight.memory is not None and sight.memory > limits.memory and sight.served >= patience:
                early = early + 1 if sight.served < patience + EARLY else 0
                verdicts.append(Worn(sight.worker, f"max memory: {-(-sight.memory // MIB)} MiB"))
    again = max(min(waits), LEAST_WAIT) if waits else None
    return Findings(tuple(verdicts), again, early)


def _hung(sight: Sight, limit: float, waits: list[float]) -> Hung | None:
    """Tell whether a worker hangs; if not, add to `waits` when it might."""
    if sight.asked is not None and not sight.answered:
        if sight.asked >= limit:
            return Hung(sight.worker, f"gave no sign of life for {limit:g} s (--worker-timeout)")
        waits.append(limit - sight.asked)
    else:  # the next question
        waits.append(limit / 2 - sight.asked if sight.asked and 2 * sight.asked < limit else limit / 2)
    if sight.leaving or not sight.requests:
        return None
    oldest = max(sight.requests, key=lambda request: request.age)
    if oldest.age >= limit:
        what = f"{oldest.method} {oldest.path}"
        return Hung(sight.worker, f"{what} has taken {oldest.age:.1f} s (--worker-timeout {limit:g})")
    waits.append(limit - oldest.age)
    return None


def _slow(sight: Sight, limit: float, waits: list[float]) -> list[InFlight]:
    """Find the requests that have become slow; add to `waits` when the next may."""
    fresh = [request for request in sight.requests if request.id not in sight.told]
    waits += [limit, *(limit - request.age for request in fresh if request.age < limit)]
    return [request for request in fresh if request.age >= limit]
