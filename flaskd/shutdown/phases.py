"""How a stop loses nothing: which step comes next, given what can be seen. Pure: no socket, thread or clock.

The steps of the last one to leave (measured reasons in docs/no-request-lost.md):

LAME_DUCK  readiness is off, everything is served; only where the operator asked for it. It lasts its time, or ends as soon as
           no new request has come for as long as was asked for: balancers have found out.
EMPTYING   no new connection begins (each listener turns away SYN), handshakes under way complete, the engine goes on
           accepting, with its usual bound on concurrency, until the accept queue is empty. A plain close of the listener
           would reset all that waits there; "accept until EAGAIN, then close" loses nearly as many, since new ones come.
LEAVING    the engine is deaf, the listeners are closed: a later connect is told "refused" at once. What is open finishes.
           A connection that has not sent its request gets the linger, counted from when nothing was in flight.
FLUSHING   the engine closes what is idle and writes out what the application has finished.
DONE       nothing is left, or the deadline has passed and the rest was cut.

`Retreat.step` is asked again whenever something changed (a request or connection ended, the queue moved, an order shortened
the deadline) and at the moment it named itself. It returns orders; the owner carries them out and asks again.
"""

import enum
from dataclasses import dataclass
from typing import Final

RECHECK: Final = 0.01
"""Seconds between looks at what nobody tells: half-open handshakes, and the connections of an engine that tells nothing."""

UNTOLD_LINGER: Final = 0.05
"""Seconds of linger at least, where the engine tells nothing: a request may be on its way from engine to application."""

DEAF_TIME: Final = 1.0
"""Seconds until the listeners are closed though a worker has not said that it is deaf: it hangs, or is stopped."""


LONGEST_WAIT: Final = 30.0
"""Seconds of lame duck at most, where its end is to be seen and nobody said how long that may take."""

LOOKS: Final = 10
"""How often the requests are counted in the time in which none is to come: it is seen a tenth too late at most."""


class Phase(enum.Enum):
    """Where in a stop we are; the values are the wire's words."""

    LAME_DUCK = "lame duck"
    EMPTYING = "emptying"
    LEAVING = "leaving"
    FLUSHING = "flushing"
    DONE = "done"


class Order(enum.Enum):
    """What the owner has to do before it asks again."""

    TURN_AWAY = "turn away"
    REAP = "reap"
    DEAFEN = "deafen"
    CLOSE = "close"
    FLUSH = "flush"
    CUT = "cut"


@dataclass(frozen=True, slots=True)
class Sight:
    """What the owner sees. `now` is monotonic seconds; look at `half_open` before `queued`, or one slips between them.

    `deaf` says that nobody accepts any more. `begun` counts the requests that there ever were; it matters to a lame duck.
    """

    now: float
    in_flight: int = 0
    connections: int = 0
    half_open: bool = False
    queued: bool = False
    deaf: bool = True
    flushed: bool = False
    begun: int = 0


@dataclass(frozen=True, slots=True)
class Step:
    """Orders to carry out now, then when to look again at the latest (monotonic; None: only when told of a change)."""

    orders: tuple[Order, ...] = ()
    look_again: float | None = None


@dataclass(frozen=True, slots=True)
class LameDuck:
    """How long everything is served with readiness off: `longest` seconds, or until no request came for `unrouted` seconds.

    With `unrouted` 0 nobody looks at the requests.
    """

    longest: float = 0.0
    unrouted: float = 0.0

    def ordered(self, longest: float | None, unrouted: float | None) -> "LameDuck":
        """Return what an order makes of these settings; None is what it does not say."""
        wait = self.unrouted if unrouted is None else unrouted
        bound = self.longest if longest is None else longest
        if wait and not bound and longest is None:
            bound = max(LONGEST_WAIT, wait)
        return LameDuck(bound, wait)


class Retreat:
    """One stop, from its request to its end.

    `lame_duck`, `unrouted` (see `LameDuck`), `grace` and `linger` are seconds. The deadline is `began + lame_duck + grace`;
    `hasten` moves it nearer, never away. `told` says whether the owner hears of it when a connection comes or ends. `spare` is
    how long after the deadline it cuts: seconds for others, who have the same deadline, to say what they cut. Only the owner
    touches it.
    """

    def __init__(
        self,
        *,
        now: float,
        lame_duck: float,
        unrouted: float = 0.0,
        grace: float,
        linger: float,
        told: bool = True,
        spare: float = 0.0,
    ) -> None:
        self.phase = Phase.LAME_DUCK
        self.began = now
        self.lame_until = now + lame_duck
        self.deadline = now + lame_duck + grace
        self._unrouted = unrouted
        self._begun = -1  # requests when they were last counted
        self._came = now  # when the last new one was seen
        self._told = told
        self._spare = spare
        self._linger = linger if told else max(linger, UNTOLD_LINGER)
        self._entered = now  # when the phase began
        self._quiet_since: float | None = None  # since when nothing has been in flight
        self._reaped = now
        self._deafened: float | None = None  # since when nobody is to accept any more

    def hasten(
        self, *, now: float, lame_duck: float, unrouted: float = 0.0, grace: float, linger: float
    ) -> None:
        """Join a second order to this stop: it can only bring its end nearer."""
        self._unrouted = min((wait for wait in (self._unrouted, unrouted) if wait), default=0.0)
        self._linger = min(self._linger, max(linger, 0 if self._told else UNTOLD_LINGER))
        self.lame_until = min(self.lame_until, now + lame_duck)
        self.deadline = min(self.deadline, now + lame_duck + grace)

    def step(self, sight: Sight) -> Step:
        """Say what to do next, given `sight`. Advances at most one phase a call."""
        step = self._next(sight)
        waiting = self.phase not in {Phase.LAME_DUCK, Phase.DONE} and not step.orders
        if self._told or not waiting or step.look_again is None:
            return step
        return Step(look_again=min(step.look_again, sight.now + RECHECK))

    def _next(self, sight: Sight) -> Step:
        if sight.in_flight:
            self._quiet_since = None
        elif self._quiet_since is None:
            self._quiet_since = sight.now
        match self.phase:
            case Phase.LAME_DUCK:
                return self._lame_duck(sight)
            case Phase.EMPTYING:
                return self._emptying(sight)
            case Phase.LEAVING:
                return self._leaving(sight)
            case Phase.FLUSHING:
                return self._flushing(sight)
            case Phase.DONE:
                return Step()

    def _enter(self, phase: Phase, now: float, *orders: Order) -> Step:
        self.phase = phase
        self._entered = now
        return Step(orders, look_again=now)

    def _lame_duck(self, sight: Sight) -> Step:
        end = min(self.lame_until, self.deadline)
        if self._unrouted:
            end = self._until_unrouted(sight, end)
        if sight.now < end:
            return Step(look_again=end)
        self._reaped = sight.now
        return self._enter(Phase.EMPTYING, sight.now, Order.TURN_AWAY)

    def _until_unrouted(self, sight: Sight, end: float) -> float:
        """Return when to look again: before `end`, or now, where requests have ceased to come.

        What waits in the accept queue has come, too, and is not begun: all threads may be busy. The grace period begins now.
        """
        if sight.begun != self._begun or sight.queued:
            self._begun, self._came = sight.begun, sight.now
        ceased = self._came + self._unrouted
        if sight.now < ceased:
            return min(end, ceased, sight.now + max(self._unrouted / LOOKS, RECHECK))
        if sight.now < end:
            self.deadline -= self.lame_until - sight.now
            self.lame_until = sight.now
        return sight.now

    def _emptying(self, sight: Sight) -> Step:
        if sight.now >= self.deadline or self._deafened is not None:
            return self._deafen(sight)
        if sight.queued:
            # Connections that never send a request may hold every thread while real requests wait in the queue.
            reap_next = self._reaped + max(self._linger, RECHECK)
            if sight.now < reap_next:
                return Step(look_again=min(self.deadline, reap_next))
            self._reaped = sight.now
            return Step((Order.REAP,), look_again=sight.now)
        if sight.half_open and sight.now < self._entered + self._linger:
            return Step(look_again=min(self.deadline, sight.now + RECHECK))
        return self._deafen(sight)

    def _deafen(self, sight: Sight) -> Step:
        """Close the listeners once nobody accepts: a connection accepted and never looked at would be lost with its process."""
        if self._deafened is None:
            self._deafened = sight.now
            return Step((Order.DEAFEN,), look_again=sight.now)
        if sight.deaf or sight.now >= self._deafened + DEAF_TIME:
            return self._enter(Phase.LEAVING, sight.now, Order.CLOSE)
        return Step(look_again=self._deafened + DEAF_TIME)

    def _leaving(self, sight: Sight) -> Step:
        end = self.deadline + self._spare
        if sight.now >= end:
            return self._enter(Phase.DONE, sight.now, Order.CUT)
        if not sight.in_flight and not sight.connections:
            return self._enter(Phase.FLUSHING, sight.now, Order.FLUSH)
        if self._quiet_since is None:
            return Step(look_again=end)
        lingered = max(self._quiet_since, self._entered) + self._linger
        if sight.now >= lingered:
            return self._enter(Phase.FLUSHING, sight.now, Order.FLUSH)
        return Step(look_again=min(end, lingered))

    def _flushing(self, sight: Sight) -> Step:
        end = self.deadline + self._spare
        if sight.flushed:
            self.phase = Phase.DONE
            return Step()
        if sight.now >= end:
            return self._enter(Phase.DONE, sight.now, Order.CUT)
        return Step(look_again=end)
