"""The owner: the one thread that moves the lifecycle and carries out a stop.

Others put orders into its mailbox, each with a future for the reply, and tell it when something changed; it waits on the
mailbox and on nothing else. `phases` decides what comes next in a stop; what it stops (the engine of this process, or the
workers of a supervisor) reports what can be seen and does what is ordered.
"""

import os
import time
from concurrent.futures import Future
from typing import Any

import msgspec

from flaskd.errors import IllegalMove
from flaskd.events import Bus
from flaskd.shutdown.guarded import Guarded
from flaskd.shutdown.lifecycle import Event, Lifecycle, State
from flaskd.shutdown.mailbox import Mailbox
from flaskd.shutdown.phases import Action, LameDuck, Phase, Stop, StopTimes
from flaskd.shutdown.progress import Progress
from flaskd.shutdown.stoppable import Stoppable
from flaskd_ctl.protocol import Actor, CutEvent, ShutdownParams, ShutdownResult, StateEvent, StateResult


class Ask(msgspec.Struct, frozen=True):
    """An order in the mailbox; `reply` completes when it has been carried out."""

    by: Actor
    reply: Future[Any] = msgspec.field(default_factory=Future)


class Drain(Ask, frozen=True):
    """Go out of rotation."""


class Resume(Ask, frozen=True):
    """Go back into rotation."""


class Shutdown(Ask, frozen=True):
    """Stop without losing a request. `linger` is in seconds; None is the owner's own."""

    asked: ShutdownParams = ShutdownParams()
    linger: float | None = None


class Kill(Ask, frozen=True):
    """End without waiting for anything."""


class Owner:
    """Owns the lifecycle and the stop of one instance or worker.

    `lifecycle`, `stop` and `ending` (the order that ended it) are written by the owner's thread only and may be read from any.
    `times` are for orders that do not say.
    """

    def __init__(
        self,
        serving: Stoppable,
        *,
        mailbox: Mailbox[Ask | None],
        bus: Bus,
        times: StopTimes,
        process_exits: bool,
    ) -> None:
        self.lifecycle = Lifecycle(State.STARTING, time.time())
        self.stop: Stop | None = None
        self.ending: Ask | None = None
        self.look_again: float | None = None
        self.times = times
        self._serving = Guarded(serving)
        self._mailbox = mailbox
        self._bus = bus
        self._progress = Progress(bus, self._serving)
        self._process_exits = process_exits
        self._told = False
        self._ended = False
        self._result: ShutdownResult | None = None
        self._stoppers: list[tuple[Shutdown, bool]] = []
        self._answered_before = 0

    @property
    def killed(self) -> bool:
        """Whether it ended by `kill`: nothing in flight was waited for."""
        return isinstance(self.ending, Kill)

    @property
    def deadline(self) -> float:
        """When the stop under way cuts what is left (monotonic); infinity where there is none."""
        return self.stop.deadline if self.stop is not None else float("inf")

    def ask(self, order: Ask) -> Future[Any]:
        """Put an order into the mailbox and return its reply; from any thread, a request handler or a signal handler."""
        order.reply.set_running_or_notify_cancel()  # from here on nobody can cancel it
        self._mailbox.put(order)
        if self._ended:  # asked after the put: the last look into the mailbox saw the order, or we do
            self.answer_rest()
        return order.reply

    def changed(self) -> None:
        """Note, from any thread, that something in flight or in a queue moved; costs nothing unless a stop is under way."""
        if self.stop is not None and not self._told:
            self._told = True
            self._mailbox.put(None)

    def move(self, event: Event, by: Actor | None = None) -> None:
        """Move the lifecycle and tell the bus; raises IllegalMove and changes nothing where that is no legal move."""
        was = self.lifecycle
        self.lifecycle = was.after(event, time.time(), by)
        state = self.lifecycle.state
        self._serving.announce_close(closing=state in {State.DRAINING, State.STOPPING})
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
        if self.stop is None:
            return None
        self.look_again = self._advance(self.stop)
        return self._finish(self.stop) if self.stop.phase is Phase.DONE else None

    def answer_rest(self) -> None:
        """Answer what came too late to be carried out, now and from now on: a shutdown joins the one that was."""
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
        times = self._times(order)
        joined = self.stop is not None
        if self.stop is None:
            self._answered_before = self._serving.finished()
            self._begin(order, times)
        else:
            self.stop.hasten(times, now=time.monotonic())
        self._stoppers.append((order, joined))
        self._progress.repeat()

    def _times(self, order: Shutdown) -> StopTimes:
        """Return the seconds of this stop; one that cuts at once, or has served nobody yet, needs no lame duck."""
        times = self.times
        if order.asked.grace == 0 or self.lifecycle.state is State.STARTING:
            times = StopTimes(times.grace, times.linger)
        return times.ordered(order.asked, order.linger)

    def _begin(self, order: Ask, times: StopTimes) -> Stop:
        self.move(Event.SHUTDOWN, order.by)
        self.ending = order
        self.stop = Stop(
            times,
            now=time.monotonic(),
            notified=self._serving.notifies,
            report_time=self._serving.report_time,
        )
        return self.stop

    def _kill(self, order: Kill) -> None:
        """Stop at once, whatever was under way."""
        stop = self.stop or self._begin(order, StopTimes(grace=0, linger=0, lame_duck=LameDuck()))
        self.ending = order
        for action in (Action.STOP_ACCEPTING, Action.CLOSE_LISTENERS, Action.CUT):
            self._serving.carry_out(action, stop)
        stop.phase = Phase.DONE
        order.reply.set_result(None)

    def _advance(self, stop: Stop) -> float | None:
        """Take every step that can be taken now; returns when to look again at the latest."""
        while stop.phase is not Phase.DONE:
            phase = stop.phase
            seen = self._serving.snapshot(stop)
            step = stop.step(seen)
            for action in step.actions:
                self._serving.carry_out(action, stop)
            publish_again = self._progress.publish(stop, seen, phase_changed=stop.phase is not phase)
            if stop.phase is phase and not step.actions:
                times = (step.look_again, publish_again, self._serving.look_again)
                return min((at for at in times if at is not None), default=None)
        return None

    def _finish(self, stop: Stop) -> ShutdownResult:
        losses = self._serving.losses()
        for request in losses.cut:
            self._bus.publish(CutEvent(at=time.time(), request=request))
        self.move(Event.DONE, self.lifecycle.by)
        result = self._result = ShutdownResult(
            clean=not any(losses) and not self._serving.uncounted,
            cut=losses.cut,
            connections_cut=losses.connections_cut,
            queued_cut=losses.queued_cut,
            answered=self._serving.finished() - self._answered_before,
            took=round(time.monotonic() - stop.began, 3),
            grace=round(stop.deadline - stop.lame_until, 3),
            joined=False,
            pid=os.getpid(),
            process_exits=self._process_exits,
            workers_lost=losses.workers_lost,
        )
        for order, joined in self._stoppers:
            order.reply.set_result(msgspec.structs.replace(result, joined=joined))
        self.answer_rest()
        return result
