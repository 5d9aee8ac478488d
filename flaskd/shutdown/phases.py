"""The phases of a stop that loses no request: what to do next, given a snapshot. Pure: no socket, thread or clock.

docs/no-request-lost.md has the measured reasons.

LAME_DUCK  Readiness is off and everything is served; only if the operator asked for it. It lasts its time, or ends once no new
           request has come for as long as was asked for: load balancers have noticed.
EMPTYING   No new connection begins (each listener drops SYN); handshakes under way complete; the engine accepts, with its usual
           limit on concurrency, until the accept queue is empty. Closing the listener would reset all that waits there;
           "accept until EAGAIN, then close" loses nearly as many, since new ones arrive.
LEAVING    The engine accepts no more and the listeners are closed: a later connect is refused at once. Open requests finish.
           A connection that has sent no request gets the linger, counted from when nothing was in flight.
FLUSHING   The engine closes idle connections and writes out the responses that the application has finished.
DONE       Nothing is left, or the deadline has passed and the rest was cut.

The owner calls `Stop.step` whenever something changed (a request or connection ended, the queue moved, an order shortened the
deadline) and at the time that the last step named. It carries out the actions and calls again.
"""

import enum
from typing import Final, NamedTuple

from flaskd_ctl.protocol import ShutdownParams

RECHECK: Final = 0.01
"""Seconds between snapshots of what nothing reports: half-open handshakes, and connections of an engine without reports."""

UNREPORTED_LINGER: Final = 0.05
"""Minimum linger in seconds if the engine reports nothing: a request may be between engine and application."""

STOP_ACCEPTING_TIME: Final = 1.0
"""Seconds until the listeners are closed although a worker has not reported that it stopped accepting: it hangs."""

LONGEST_WAIT: Final = 30.0
"""Maximum seconds of a lame duck that waits for requests to cease, if nobody gave a limit."""

COUNTS_PER_WAIT: Final = 10
"""How often requests are counted in the time in which none may come; the end is noticed a tenth of it late at most."""


class Phase(enum.Enum):
    """The phase of a stop; the values appear in the protocol."""

    LAME_DUCK = "lame duck"
    EMPTYING = "emptying"
    LEAVING = "leaving"
    FLUSHING = "flushing"
    DONE = "done"


class Action(enum.Enum):
    """What the owner has to do before the next step."""

    TURN_AWAY = "turn away"
    CLOSE_IDLE = "close idle"
    STOP_ACCEPTING = "stop accepting"
    CLOSE_LISTENERS = "close listeners"
    FLUSH = "flush"
    CUT = "cut"


class Snapshot(NamedTuple):
    """What the owner sees. `now` is monotonic seconds. Read `half_open` before `queued`, or a connection slips between them.

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


class Step(NamedTuple):
    """Actions to carry out now, and when to take the next step at the latest (monotonic; None: after a change)."""

    actions: tuple[Action, ...] = ()
    look_again: float | None = None


class LameDuck(NamedTuple):
    """Serve with readiness off for `longest` seconds, or until no request has come for `unrouted` seconds (0: do not count)."""

    longest: float = 0.0
    unrouted: float = 0.0

    def ordered(self, longest: float | None, unrouted: float | None) -> "LameDuck":
        """Return these seconds as an order changes them; None leaves one as it is."""
        wait = self.unrouted if unrouted is None else unrouted
        bound = self.longest if longest is None else longest
        if wait and not bound and longest is None:
            bound = max(LONGEST_WAIT, wait)
        return LameDuck(bound, wait)


class StopTimes(NamedTuple):
    """The seconds of a stop: for requests in flight (`grace`), for idle connections (`linger`), and before it (`lame_duck`)."""

    grace: float
    linger: float
    lame_duck: LameDuck = LameDuck()

    def ordered(self, asked: ShutdownParams, linger: float | None = None) -> "StopTimes":
        """Return these times as an order changes them; None leaves one as it is."""
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
        self._linger = times.linger if notified else max(times.linger, UNREPORTED_LINGER)
        self._entered = now  # when the phase began
        self._quiet_since: float | None = None  # since when nothing has been in flight
        self._closed_idle = now
        self._not_accepting: float | None = None  # since when nobody is to accept any more

    def hasten(self, times: StopTimes, *, now: float) -> None:
        """Join a second order to this stop: it can only bring its end nearer."""
        waits = (self._unrouted, times.lame_duck.unrouted)
        self._unrouted = min((wait for wait in waits if wait), default=0.0)
        self._linger = min(self._linger, max(times.linger, 0 if self._notified else UNREPORTED_LINGER))
        self.lame_until = min(self.lame_until, now + times.lame_duck.longest)
        self.deadline = min(self.deadline, now + times.lame_duck.longest + times.grace)

    def step(self, seen: Snapshot) -> Step:
        """Decide what to do next, given `seen`. Advances one phase at most."""
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
        """Return when to count again: before `end`, or now if requests have ceased to come.

        A connection in the accept queue counts as well: all threads may be busy. The grace period begins when they cease.
        """
        if seen.begun != self._begun or seen.queued:
            self._begun, self._came = seen.begun, seen.now
        ceased = self._came + self._unrouted
        if seen.now < ceased:
            return min(end, ceased, seen.now + max(self._unrouted / COUNTS_PER_WAIT, RECHECK))
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
        """Close the listeners once nobody accepts: an accepted connection that is never read is lost with its process."""
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
        # A response may have been sent while the application still closes its body, and the request is not yet counted.
        if seen.flushed and not seen.in_flight:
            self.phase = Phase.DONE
            return Step()
        if seen.now >= end:
            return self._enter(Phase.DONE, seen.now, Action.CUT)
        return Step(look_again=end)
