"""The owner: the one thread that moves the lifecycle and carries out a stop.

Others send it orders through a mailbox, with a future for the reply, and tell it when something changed; it waits on the
mailbox and on nothing else. What comes next in a stop is decided by `drain`; here it is done.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from flaskd.drain import Order, Phase, Retreat, Sight
from flaskd.engines import Engine
from flaskd.errors import IllegalMove
from flaskd.events import Bus
from flaskd.ledger import Ledger
from flaskd.lifecycle import Event, Lifecycle, State
from flaskd.listeners import Listener
from flaskd.mailbox import Mailbox
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
    """Stop without losing a request. Seconds; `grace` None is the owner's own."""

    grace: float | None = None
    lame_duck: float = 0.0


@dataclass(frozen=True, slots=True)
class Kill(Ask):
    """End without waiting for anything."""


class Owner:
    """Owns the lifecycle, the listeners and the stop of one instance.

    `lifecycle`, `retreat` and `killed` are written by the owner's thread only and may be read from any.
    """

    def __init__(
        self,
        *,
        mailbox: Mailbox[Ask | None],
        engine: Engine,
        ledger: Ledger,
        listeners: Sequence[Listener],
        bus: Bus,
        grace: float,
        linger: float,
        pid: int,
        process_exits: bool,
    ) -> None:
        self.lifecycle = Lifecycle(State.STARTING, time.time())
        self.retreat: Retreat | None = None
        self.killed = False
        self._engine = engine
        self._ledger = ledger
        self._listeners = listeners
        self._bus = bus
        self._grace = grace
        self._linger = linger
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
        self._cut: list[InFlight] = []
        self._connections_cut = 0
        self._queued_cut = 0

    def ask(self, order: Ask) -> None:
        """Put an order into the mailbox; from any thread, a request handler or a signal handler."""
        order.reply.set_running_or_notify_cancel()  # from here on nobody can cancel it
        self._mailbox.put(order)
        if self._ended:  # asked after the put: the last look into the mailbox saw the order, or we do
            self.answer_rest()

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
        self._ledger.closing = self._engine.keep_alive and state in {State.DRAINING, State.STOPPING}
        self._bus.publish(StateEvent(at=self.lifecycle.since, was=was.state.value, state=state.value, by=by))

    def run(self) -> ShutdownResult:
        """Carry out orders until the instance has stopped, and return how it went.

        The replies of the shutdowns complete just before.
        """
        look_again: float | None = None
        while True:
            order = self._mailbox.get(None if look_again is None else look_again - time.monotonic())
            if order is None:
                self._told = False  # before looking: a change after this is told again
            else:
                self._take(order)
            if self.retreat is not None:
                look_again = self._advance(self.retreat)
                if self.retreat.phase is Phase.DONE:
                    return self._finish(self.retreat)

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
        grace = self._grace if order.grace is None else order.grace
        joined = self.retreat is not None
        if self.retreat is None:
            self.move(Event.SHUTDOWN, order.by)
            self._answered_before = self._ledger.finished()
            self.retreat = Retreat(
                now=now,
                lame_duck=order.lame_duck,
                grace=grace,
                linger=self._linger,
                told=self._engine.tells,
            )
        else:
            self.retreat.hasten(now=now, lame_duck=order.lame_duck, grace=grace)
        self._stoppers.append((order, joined))
        self._shown, self._shown_counts = 0.0, None  # whoever asked sees at once how far it is

    def _kill(self, order: Kill) -> None:
        """Stop at once, whatever was under way."""
        self.killed = True
        if self.retreat is None:
            self.move(Event.SHUTDOWN, order.by)
            self.retreat = Retreat(now=time.monotonic(), lame_duck=0, grace=0, linger=0)
        self._carry_out(Order.CLOSE)
        self._carry_out(Order.CUT)
        self.retreat.phase = Phase.DONE
        order.reply.set_result(None)

    def _advance(self, retreat: Retreat) -> float | None:
        """Take every step that can be taken now; returns when to look again at the latest."""
        while retreat.phase is not Phase.DONE:
            phase = retreat.phase
            sight = self._sight(retreat)
            step = retreat.step(sight)
            for order in step.orders:
                self._carry_out(order)
            show_again = self._show(retreat, sight, anew=retreat.phase is not phase)
            if retreat.phase is phase and not step.orders:
                return min((when for when in (step.look_again, show_again) if when is not None), default=None)
        return None

    def _sight(self, retreat: Retreat) -> Sight:
        emptying = retreat.phase is Phase.EMPTYING
        half_open = emptying and any(listener.half_open() for listener in self._listeners)
        queued = emptying and any(listener.queued() for listener in self._listeners)
        activity = self._engine.activity()
        return Sight(
            now=time.monotonic(),
            in_flight=max(self._ledger.in_flight, activity.busy),
            connections=activity.connections,
            half_open=half_open,
            queued=queued,
            flushed=not activity.connections,
        )

    def _carry_out(self, order: Order) -> None:
        match order:
            case Order.TURN_AWAY:
                self._each(Listener.turn_away)
            case Order.REAP:
                self._engine.reap(self._linger)
            case Order.CLOSE:
                self._engine.deafen()
                self._queued_cut = sum(listener.queue_length() for listener in self._listeners)
                self._each(Listener.close)
            case Order.FLUSH:
                self._engine.stop()
            case Order.CUT:
                self._cut = self._ledger.requests()
                self._connections_cut = self._engine.cut()
                for request in self._cut:
                    self._bus.publish(CutEvent(at=time.time(), request=request))

    def _each(self, act: Callable[[Listener], None]) -> None:
        for listener in self._listeners:
            act(listener)

    def _show(self, retreat: Retreat, sight: Sight, *, anew: bool) -> float | None:
        """Publish the progress if it changed and was not shown a moment ago; returns when to show it, if later."""
        counts = (sight.in_flight, sight.connections)
        if not anew and counts == self._shown_counts:
            return None
        if not anew and sight.now < self._shown + PROGRESS_PAUSE:
            return self._shown + PROGRESS_PAUSE
        self._shown, self._shown_counts = sight.now, counts
        requests = self._ledger.requests()
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
        self.move(Event.DONE, self.lifecycle.by)
        result = ShutdownResult(
            clean=not (self._cut or self._connections_cut or self._queued_cut),
            cut=self._cut,
            connections_cut=self._connections_cut,
            queued_cut=self._queued_cut,
            answered=self._ledger.finished() - self._answered_before,
            took=round(time.monotonic() - retreat.began, 3),
            grace=round(retreat.deadline - retreat.lame_until, 3),
            joined=False,
            pid=self._pid,
            process_exits=self._process_exits,
        )
        for order, joined in self._stoppers:
            order.reply.set_result(msgspec.structs.replace(result, joined=joined))
        self._result = result
        self.answer_rest()
        return result
