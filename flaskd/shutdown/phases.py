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

`Stop.step` is asked again whenever something changed (a request or connection ended, the queue moved, an order shortened
the deadline) and at the moment it named itself. It returns actions; the owner carries them out and asks again.
"""

import enum
from dataclasses import dataclass
from typing import Final

from flaskd_ctl.protocol import ShutdownParams

RECHECK: Final = 0.01
"""Seconds between looks at what nobody tells: half-open handshakes, and the connections of an engine that tells nothing."""

UNTOLD_LINGER: Final = 0.05
"""Seconds of linger at least, where the engine tells nothing: a request may be on its way from engine to application."""

STOP_ACCEPTING_TIME: Final = 1.0
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


class Action(enum.Enum):
    """What the owner has to do before it asks again."""

    TURN_AWAY = "turn away"
    CLOSE_IDLE = "close idle"
    STOP_ACCEPTING = "stop accepting"
    CLOSE_LISTENERS = "close listeners"
    FLUSH = "flush"
    CUT = "cut"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the owner sees. `now` is monotonic seconds; look at `half_open` before `queued`, or one slips between them.

    `accepting` says whether any worker still accepts. `begun` counts all requests that have begun; it matters to a lame duck.
    """

    now: float
    in_flight: int = 0
    connections: int = 0
    half_open: bool = False
    queued: bool = False
    accepting: bool = False
    flushed: bool = False
    begun: int = 0


@dataclass(frozen=True, slots=True)
class Step:
    """Actions to carry out now, then when to look again at the latest (monotonic; None: only when told of a change)."""

    actions: tuple[Action, ...] = ()
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


@dataclass(frozen=True, slots=True)
class StopTimes:
    """The seconds of a stop: what requests in flight, idle connections, and the lame duck before it all may take."""

    grace: float
    linger: float
    lame_duck: LameDuck = LameDuck()

    def ordered(self, asked: ShutdownParams, linger: float | None = None) -> "StopTimes":
        """Return these times as an order changes them; None is what it does not say."""
        return StopTimes(
            grace=self.grace if asked.grace is None else asked.grace,
            linger=self.linger if linger is None else linger,
            lame_duck=self.lame_duck.ordered(asked.lame_duck, asked.wait_unrouted),
        )


class Stop:
    """One stop, from its request to its end.

    The deadline is `began` + lame duck + grace; `hasten` moves it nearer, never away. `notified` says whether the owner is told
    when a connection comes or ends. `report_time` is how many seconds after the deadline it cuts: workers have the same
    deadline, and then report what they cut. Only the owner touches it.
    """

    def __init__(
        self, times: StopTimes, *, now: float, notified: bool = True, report_time: float = 0.0
    ) -> None:
        self.phase = Phase.LAME_DUCK
        self.began = now
        self.lame_until = now + times.lame_duck.longest
        self.deadline = self.lame_until + times.grace
        self._unrouted = times.lame_duck.unrouted
        self._begun = -1  # requests when they were last counted
        self._came = now  # when the last new one was seen
        self._notified = notified
        self._report_time = report_time
        self._linger = times.linger if notified else max(times.linger, UNTOLD_LINGER)
        self._entered = now  # when the phase began
        self._quiet_since: float | None = None  # since when nothing has been in flight
        self._closed_idle = now
        self._not_accepting: float | None = None  # since when nobody is to accept any more

    def hasten(self, times: StopTimes, *, now: float) -> None:
        """Join a second order to this stop: it can only bring its end nearer."""
        waits = (self._unrouted, times.lame_duck.unrouted)
        self._unrouted = min((wait for wait in waits if wait), default=0.0)
        self._linger = min(self._linger, max(times.linger, 0 if self._notified else UNTOLD_LINGER))
        self.lame_until = min(self.lame_until, now + times.lame_duck.longest)
        self.deadline = min(self.deadline, now + times.lame_duck.longest + times.grace)

    def step(self, seen: Snapshot) -> Step:
        """Say what to do next, given `seen`. Advances at most one phase a call."""
        step = self._next(seen)
        waiting = self.phase not in {Phase.LAME_DUCK, Phase.DONE} and not step.actions
        if self._notified or not waiting or step.look_again is None:
            return step
        return Step(look_again=min(step.look_again, seen.now + RECHECK))

    def _next(self, seen: Snapshot) -> Step:
        if seen.in_flight:
            self._quiet_since = None
        elif self._quiet_since is None:
            self._quiet_since = seen.now
        match self.phase:
            case Phase.LAME_DUCK:
                return self._lame_duck(seen)
            case Phase.EMPTYING:
                return self._emptying(seen)
            case Phase.LEAVING:
                return self._leaving(seen)
            case Phase.FLUSHING:
                return self._flushing(seen)
            case Phase.DONE:
                return Step()

    def _enter(self, phase: Phase, now: float, *actions: Action) -> Step:
        self.phase = phase
        self._entered = now
        return Step(actions, look_again=now)

    def _lame_duck(self, seen: Snapshot) -> Step:
        end = min(self.lame_until, self.deadline)
        if self._unrouted:
            end = self._until_unrouted(seen, end)
        if seen.now < end:
            return Step(look_again=end)
        self._closed_idle = seen.now
        return self._enter(Phase.EMPTYING, seen.now, Action.TURN_AWAY)

    def _until_unrouted(self, seen: Snapshot, end: float) -> float:
        """Return when to look again: before `end`, or now, where requests have ceased to come.

        What waits in the accept queue has come, too, and is not begun: all threads may be busy. The grace period begins now.
        """
        if seen.begun != self._begun or seen.queued:
            self._begun, self._came = seen.begun, seen.now
        ceased = self._came + self._unrouted
        if seen.now < ceased:
            return min(end, ceased, seen.now + max(self._unrouted / LOOKS, RECHECK))
        if seen.now < end:
            self.deadline -= self.lame_until - seen.now
            self.lame_until = seen.now
        return seen.now

    def _emptying(self, seen: Snapshot) -> Step:
        if seen.now >= self.deadline or self._not_accepting is not None:
            return self._stop_accepting(seen)
        if seen.queued:
            # Connections that never send a request may hold every thread while real requests wait in the queue.
            reap_next = self._closed_idle + max(self._linger, RECHECK)
            if seen.now < reap_next:
                return Step(look_again=min(self.deadline, reap_next))
            self._closed_idle = seen.now
            return Step((Action.CLOSE_IDLE,), look_again=seen.now)
        if seen.half_open and seen.now < self._entered + self._linger:
            return Step(look_again=min(self.deadline, seen.now + RECHECK))
        return self._stop_accepting(seen)

    def _stop_accepting(self, seen: Snapshot) -> Step:
        """Close the listeners once nobody accepts: a connection accepted and never looked at would be lost with its process."""
        if self._not_accepting is None:
            self._not_accepting = seen.now
            return Step((Action.STOP_ACCEPTING,), look_again=seen.now)
        if not seen.accepting or seen.now >= self._not_accepting + STOP_ACCEPTING_TIME:
            return self._enter(Phase.LEAVING, seen.now, Action.CLOSE_LISTENERS)
        return Step(look_again=self._not_accepting + STOP_ACCEPTING_TIME)

    def _leaving(self, seen: Snapshot) -> Step:
        end = self.deadline + self._report_time
        if seen.now >= end:
            return self._enter(Phase.DONE, seen.now, Action.CUT)
        if not seen.in_flight and not seen.connections:
            return self._enter(Phase.FLUSHING, seen.now, Action.FLUSH)
        if self._quiet_since is None:
            return Step(look_again=end)
        lingered = max(self._quiet_since, self._entered) + self._linger
        if seen.now >= lingered:
            return self._enter(Phase.FLUSHING, seen.now, Action.FLUSH)
        return Step(look_again=min(end, lingered))

    def _flushing(self, seen: Snapshot) -> Step:
        end = self.deadline + self._report_time
        if seen.flushed:
            self.phase = Phase.DONE
            return Step()
        if seen.now >= end:
            return self._enter(Phase.DONE, seen.now, Action.CUT)
        return Step(look_again=end)
