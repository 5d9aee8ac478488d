"""The owner: the one thread that moves the lifecycle and carries out a stop.

Others send it orders through a mailbox, with a future for the reply, and tell it when something changed; it waits on the
mailbox and on nothing else. What comes next in a stop is decided by `drain`; what it has charge of (the engine of this
process, or the workers of a supervisor) says what can be seen and does what is ordered.
"""

import time
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, Protocol

import msgspec

from flaskd.errors import IllegalMove
from flaskd.events import Bus
from flaskd.shutdown.lifecycle import Event, Lifecycle, State
from flaskd.shutdown.mailbox import Mailbox
from flaskd.shutdown.phases import LameDuck, Order, Phase, Retreat, Sight
from flaskd_ctl.errors import WrongState
from flaskd_ctl.protocol import (
    Actor,
    CutEvent,
    InFlight,
    ProgressEvent,
    ShutdownResult,
    StateEvent,
    StateResult,
)

PROGRESS_PAUSE: Final = 0.1
"""Seconds between progress events of one phase."""


@dataclass(frozen=True, slots=True)
class Ask:
    """An order in the mailbox; `reply` completes when it has been carried out."""

    by: Actor
    reply: Future[Any] = field(default_factory=Future)


@dataclass(frozen=True, slots=True)
class Drain(Ask):
    """Go out of rotation."""


@dataclass(frozen=True, slots=True)
class Resume(Ask):
    """Go back into rotation."""


@dataclass(frozen=True, slots=True)
class Shutdown(Ask):
    """Stop without losing a request. Seconds; None is the owner's own."""

    grace: float | None = None
    lame_duck: float | None = None
    wait_unrouted: float | None = None
    linger: float | None = None


def check_countable(wait_unrouted: float | None, *, ledger: bool) -> None:
    """Raise WrongState where a stop is to wait until requests cease to come, and no ledger counts them."""
    if wait_unrouted and not ledger:
        raise WrongState(
            "the ledger of requests is off (--no-ledger): nobody can see whether requests still come",
            hint="use --lame-duck, which waits its time",
        )


@dataclass(frozen=True, slots=True)
class Kill(Ask):
    """End without waiting for anything."""


class Losses(NamedTuple):
    """What a stop has cut: requests by name, connections (those of the requests included), and what was still queued.

    `workers_lost` ended by themselves before they had answered everything: what they had is named as far as it is known.
    """

    cut: list[InFlight]
    connections_cut: int
    queued_cut: int
    workers_lost: int = 0


class Charge(Protocol):
    """What the owner serves with, and brings to its end."""

    told: bool
    """Whether `Owner.changed` is called when a connection comes or ends."""

    spare: float
    """Seconds after the deadline until CUT is ordered."""

    def sight(self, phase: Phase) -> Sight:
        """Look; what is half open only matters while emptying, what has begun to a lame duck, what is queued to both."""
        ...

    def carry_out(self, order: Order) -> None:
        """Do what a step of the stop orders."""
        ...

    def say_close(self, *, closing: bool) -> None:
        """Let each response say `Connection: close`, or no longer."""
        ...

    def requests(self) -> list[InFlight]:
        """List what is in flight, oldest first."""
        ...

    def finished(self) -> int:
        """Count the requests that were finished."""
        ...

    def losses(self) -> Losses:
        """Tell what has been cut."""
        ...


class Owner:
    """Owns the lifecycle and the stop of one instance or worker.

    `lifecycle`, `retreat`, `killed` and `ended_by` (who asked for the end) are written by the owner's thread only and may be
    read from any. `grace`, `linger` (seconds) and `lame_duck` are for orders that do not say.
    """

    def __init__(
        self,
        *,
        mailbox: Mailbox[Ask | None],
        charge: Charge,
        bus: Bus,
        grace: float,
        linger: float,
        lame_duck: LameDuck = LameDuck(),  # noqa: B008 - it never changes
        pid: int,
        process_exits: bool,
    ) -> None:
        self.lifecycle = Lifecycle(State.STARTING, time.time())
        self.retreat: Retreat | None = None
        self.killed = False
        self.ended_by: Actor | None = None
        self.look_again: float | None = None
        self._charge = charge
        self._bus = bus
        self.grace = grace
        self.linger = linger
        self.lame_duck = lame_duck
        self._pid = pid
        self._process_exits = process_exits
        self._mailbox = mailbox
        self._told = False
        self._ended = False
        self._result: ShutdownResult | None = None
        self._stoppers: list[tuple[Shutdown, bool]] = []
        self._answered_before = 0
        self._shown = 0.0
        self._shown_counts: tuple[int, int] | None = None

    def ask(self, order: Ask) -> Future[Any]:
        """Put an order into the mailbox and return its reply; from any thread, a request handler or a signal handler."""
        order.reply.set_running_or_notify_cancel()  # from here on nobody can cancel it
        self._mailbox.put(order)
        if self._ended:  # asked after the put: the last look into the mailbox saw the order, or we do
            self.answer_rest()
        return order.reply

    def changed(self) -> None:
        """Note, from any thread, that something in flight or in a queue moved; costs nothing unless a stop is under way."""
        if self.retreat is not None and not self._told:
            self._told = True
            self._mailbox.put(None)

    def move(self, event: Event, by: Actor | None = None) -> None:
        """Move the lifecycle and tell the bus; raises IllegalMove and changes nothing where that is no legal move."""
        was = self.lifecycle
        self.lifecycle = was.after(event, time.time(), by)
        state = self.lifecycle.state
        self._charge.say_close(closing=state in {State.DRAINING, State.STOPPING})
        self._bus.publish(StateEvent(at=self.lifecycle.since, was=was.state.value, state=state.value, by=by))

    def run(self) -> ShutdownResult:
        """Carry out orders until the instance has stopped, and return how it went."""
        while True:
            wait = None if self.look_again is None else self.look_again - time.monotonic()
            result = self.turn(wait)
            if result is not None:
                return result

    def turn(self, timeout: float | None) -> ShutdownResult | None:
        """Take one letter, waiting up to `timeout` seconds for it, and every step that can be taken now.

        Returns how the stop went once it is done; the replies of the shutdowns complete just before. Else `look_again` says
        when the next turn is due at the latest (monotonic; None: when a letter comes).
        """
        order = self._mailbox.get(timeout)
        if order is None:
            self._told = False  # before looking: a change after this is told again
        else:
            self._take(order)
        if self.retreat is None:
            return None
        self.look_again = self._advance(self.retreat)
        return self._finish(self.retreat) if self.retreat.phase is Phase.DONE else None

    def answer_rest(self) -> None:
        """Answer what came too late to be carried out, and from now on whatever comes: a shutdown joins the one that was."""
        self._ended = True
        for order in self._mailbox.rest():
            if isinstance(order, Shutdown) and self._result is not None:
                order.reply.set_result(msgspec.structs.replace(self._result, joined=True))
            elif order is not None:
                order.reply.set_exception(
                    IllegalMove(self.lifecycle.state.value, type(order).__name__.lower())
                )

    def _take(self, order: Ask) -> None:
        try:
            match order:
                case Drain():
                    order.reply.set_result(self._rotate(State.DRAINING, Event.DRAIN, order.by))
                case Resume():
                    order.reply.set_result(self._rotate(State.RUNNING, Event.RESUME, order.by))
                case Shutdown():
                    self._shut_down(order)
                case Kill():
                    self._kill(order)
        except IllegalMove as error:
            order.reply.set_exception(error)

    def _rotate(self, to: State, event: Event, by: Actor) -> StateResult:
        changed = self.lifecycle.state is not to
        if changed:
            self.move(event, by)
        now = self.lifecycle
        return StateResult(state=now.state.value, since=now.since, ready=now.ready, changed=changed)

    def _shut_down(self, order: Shutdown) -> None:
        now = time.monotonic()
        grace = self.grace if order.grace is None else order.grace
        linger = self.linger if order.linger is None else order.linger
        duck = self._lame_duck(order)
        joined = self.retreat is not None
        if self.retreat is None:
            self._answered_before = self._charge.finished()
            self.move(Event.SHUTDOWN, order.by)
            self.ended_by = order.by
            self.retreat = Retreat(
                now=now,
                lame_duck=duck.longest,
                unrouted=duck.unrouted,
                grace=grace,
                linger=linger,
                told=self._charge.told,
                spare=self._charge.spare,
            )
        else:
            self.retreat.hasten(
                now=now, lame_duck=duck.longest, unrouted=duck.unrouted, grace=grace, linger=linger
            )
        self._stoppers.append((order, joined))
        self._shown, self._shown_counts = 0.0, None  # whoever asked sees at once how far it is

    def _lame_duck(self, order: Shutdown) -> LameDuck:
        """Return how long this stop serves on; who has served nobody yet, or is to cut everything at once, has no reason to."""
        at_once = order.grace == 0 or self.lifecycle.state is State.STARTING
        settings = LameDuck() if at_once else self.lame_duck
        return settings.ordered(order.lame_duck, order.wait_unrouted)

    def _kill(self, order: Kill) -> None:
        """Stop at once, whatever was under way."""
        self.killed, self.ended_by = True, order.by
        if self.retreat is None:
            self.move(Event.SHUTDOWN, order.by)
            self.retreat = Retreat(now=time.monotonic(), lame_duck=0, grace=0, linger=0)
        self._charge.carry_out(Order.DEAFEN)
        self._charge.carry_out(Order.CLOSE)
        self._charge.carry_out(Order.CUT)
        self.retreat.phase = Phase.DONE
        order.reply.set_result(None)

    def _advance(self, retreat: Retreat) -> float | None:
        """Take every step that can be taken now; returns when to look again at the latest."""
        while retreat.phase is not Phase.DONE:
            phase = retreat.phase
            sight = self._charge.sight(phase)
            step = retreat.step(sight)
            for order in step.orders:
                self._charge.carry_out(order)
            show_again = self._show(retreat, sight, anew=retreat.phase is not phase)
            if retreat.phase is phase and not step.orders:
                return min((when for when in (step.look_again, show_again) if when is not None), default=None)
        return None

    def _show(self, retreat: Retreat, sight: Sight, *, anew: bool) -> float | None:
        """Publish the progress if it changed and was not shown a moment ago; returns when to show it, if later."""
        counts = (sight.in_flight, sight.connections)
        if not anew and counts == self._shown_counts:
            return None
        if not anew and sight.now < self._shown + PROGRESS_PAUSE:
            return self._shown + PROGRESS_PAUSE
        self._shown, self._shown_counts = sight.now, counts
        requests = self._charge.requests()
        self._bus.publish(
            ProgressEvent(
                at=time.time(),
                phase=retreat.phase.value,
                in_flight=sight.in_flight,
                connections=sight.connections,
                deadline_left=round(max(0.0, retreat.deadline - sight.now), 3),
                slowest=requests[0] if requests else None,
            )
        )
        return None

    def _finish(self, retreat: Retreat) -> ShutdownResult:
        losses = self._charge.losses()
        for request in losses.cut:
            self._bus.publish(CutEvent(at=time.time(), request=request))
        self.move(Event.DONE, self.lifecycle.by)
        result = ShutdownResult(
            clean=not any(losses),
            cut=losses.cut,
            connections_cut=losses.connections_cut,
            queued_cut=losses.queued_cut,
            answered=self._charge.finished() - self._answered_before,
            took=round(time.monotonic() - retreat.began, 3),
            grace=round(retreat.deadline - retreat.lame_until, 3),
            joined=False,
            pid=self._pid,
            process_exits=self._process_exits,
            workers_lost=losses.workers_lost,
        )
        for order, joined in self._stoppers:
            order.reply.set_result(msgspec.structs.replace(result, joined=joined))
        self._result = result
        self.answer_rest()
        return result
