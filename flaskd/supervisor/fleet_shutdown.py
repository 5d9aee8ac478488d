"""How all workers leave at once: the last shutdown, with the fleet as the owner's charge (docs/no-request-lost.md).

The listeners turn new connections away, the workers accept until the queue is empty; then all go deaf, the listeners are
closed, and each worker steps back by itself, to the same deadline. What it cut it tells; who says nothing until a little
after the deadline is killed, and its requests are named from shared memory.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from flaskd.listening.listeners import Listener, close_all
from flaskd.shutdown.owner import Losses
from flaskd.shutdown.phases import Order, Phase, Sight
from flaskd.supervisor.fleet import Fleet
from flaskd.supervisor.member import Member, requests_of
from flaskd.supervisor.plan import WorkerState
from flaskd_ctl.protocol import InFlight

REPORT_TIME: Final = 2.0
"""Seconds after the deadline in which a worker may say what it cut."""


class FleetCharge:
    """See `flaskd.shutdown.owner.Charge`. `deadline` is the moment of the stop under way (monotonic)."""

    told = False
    spare = REPORT_TIME

    def __init__(
        self,
        fleet: Fleet,
        listeners: Sequence[Listener],
        *,
        deadline: Callable[[], float],
    ) -> None:
        self.closing = False
        self._fleet = fleet
        self._listeners = listeners
        self._deadline = deadline
        self._leaving: dict[int, Member] = {}
        self._told_deadline = float("inf")
        self._losses = Losses([], 0, 0)
        self._welcomes: dict[int, Any] = {}

    def sight(self, phase: Phase) -> Sight:
        """Look at the listeners and the workers; each worker that is left counts as a connection."""
        emptying, lame = phase is Phase.EMPTYING, phase is Phase.LAME_DUCK
        members = self._fleet.members.values()
        half_open = emptying and any(listener.half_open() for listener in self._listeners)
        queued = (
            (emptying or lame)
            and bool(self._fleet.serving)
            and any(each.queued() for each in self._listeners)
        )
        if emptying and any(listener.inherited for listener in self._listeners):
            self._have_welcomed()
        if self._leaving and self._deadline() < self._told_deadline:
            self._send_away()
        in_flight = sum(member.request_table.in_flight for member in members)
        return Sight(
            now=time.monotonic(),
            in_flight=in_flight,
            connections=len(members),
            half_open=half_open and bool(self._fleet.serving),
            queued=queued,
            deaf=all(member.deaf for member in self._leaving.values()),
            flushed=not members,
            begun=self.finished() + in_flight if lame else 0,
        )

    def carry_out(self, order: Order) -> None:
        """Do it."""
        match order:
            case Order.TURN_AWAY:
                self._fleet.hold()
                for listener in self._listeners:
                    listener.turn_away()
            case Order.REAP:
                for member in self._fleet.serving:
                    member.call("reap")
            case Order.DEAFEN:
                self._fleet.hold()
                self._leaving = dict(self._fleet.members)
                self._send_away()
            case Order.CLOSE:
                self._close()
            case Order.FLUSH:
                pass  # each worker does
            case Order.CUT:
                self._cut()

    def say_close(self, *, closing: bool) -> None:
        """Let the responses of every worker say `Connection: close`, or no longer."""
        self.closing = closing
        for member in self._fleet.members.values():
            member.call("say_close", {"closing": closing})

    def requests(self) -> list[InFlight]:
        """List what is in flight."""
        return requests_of(self._fleet.members.values())

    def finished(self) -> int:
        """Count the finished requests of all workers that there were."""
        members = self._fleet.members.values()
        return sum(self._fleet.retired.values()) + sum(member.request_table.finished() for member in members)

    def losses(self) -> Losses:
        """Add up what the workers cut, and what was lost with those that did not say."""
        cut, connections, queued = (
            list(self._losses.cut),
            self._losses.connections_cut,
            self._losses.queued_cut,
        )
        cut += self._fleet.lost
        connections += len(self._fleet.lost)
        for member in self._leaving.values():
            if member.result is not None:
                cut += [msgspec.structs.replace(each, worker=member.id) for each in member.result.cut]
                connections += member.result.connections_cut
        return Losses(cut, connections, queued, self._fleet.workers_lost)

    def _send_away(self) -> None:
        self._told_deadline = self._deadline()
        grace = max(0.0, self._told_deadline - time.monotonic())
        for member in self._fleet.members.values():
            if member.state in {WorkerState.SERVING, WorkerState.LEAVING} or member.admitted:
                member.step_back(grace=grace, linger=self._fleet.settings.linger)

    def _have_welcomed(self) -> None:
        """Let workers look at what they have accepted, one look at a time: an engine may not do that by itself (`welcome`)."""
        for member in self._fleet.serving:
            before = self._welcomes.get(member.id)
            if before is None or before.done():
                self._welcomes[member.id] = member.call("look")

    def _close(self) -> None:
        self._losses = self._losses._replace(queued_cut=close_all(self._listeners))

    def _cut(self) -> None:
        """Kill who has not gone, and name what that loses; who has said what it cut is not counted twice."""
        members = list(self._fleet.members.values())
        silent = [member for member in members if member.result is None]
        cut = requests_of(silent)
        unnamed = sum(
            max(0, self._fleet.count_connections(member) - len(member.requests())) for member in silent
        )
        self._losses = self._losses._replace(cut=cut, connections_cut=len(cut) + unnamed)
        for member in members:
            member.dismiss()
