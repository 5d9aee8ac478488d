"""The shutdown of all workers together (docs/no-request-lost.md).

The listeners turn new connections away and the workers accept until the queue is empty. Then all stop accepting, the
listeners are closed, and each worker stops gracefully by itself, to the same deadline, and reports what it cut. While the
first workers load, what is in the queue waits for them, up to the deadline. A worker that has not reported shortly after the
deadline is killed; its requests are read from shared memory.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import Final

import msgspec

from flaskd.channel.messages import AnnounceClose, AnnounceStopping, CloseIdle, Reply, TakeAccepted
from flaskd.guard import log_failure
from flaskd.listening.listeners import Listener, block_all, close_all
from flaskd.shutdown.phases import Action, Phase, Snapshot, Stop
from flaskd.shutdown.stoppable import Losses
from flaskd.supervisor.fleet import Fleet
from flaskd.supervisor.launcher import Launcher
from flaskd.supervisor.member import Member, requests_of
from flaskd.supervisor.plan import WorkerState
from flaskd_ctl.protocol import InFlight

REPORT_TIME: Final = 2.0
"""Seconds after the deadline in which a worker may report what it cut."""


class FleetShutdown:
    """See `flaskd.shutdown.stoppable.Stoppable`."""

    notifies = False
    report_time = REPORT_TIME

    def __init__(self, fleet: Fleet, listeners: Sequence[Listener], launcher: Launcher) -> None:
        self._fleet = fleet
        self._listeners = listeners
        self._launcher = launcher
        self._leaving: dict[int, Member] = {}
        self._deadline = float("inf")
        self._losses = Losses([], 0, 0)
        self._taken: dict[int, asyncio.Future[Reply]] = {}

    def snapshot(self, stop: Stop) -> Snapshot:
        """See `Stoppable.snapshot`; each worker that is left counts as a connection."""
        emptying, lame = stop.phase is Phase.EMPTYING, stop.phase is Phase.LAME_DUCK
        members = self._fleet.members.values()
        half_open = emptying and any(listener.half_open() for listener in self._listeners)
        waited_for = (emptying or lame) and self._fleet.can_accept
        queued = waited_for and any(each.queued() for each in self._listeners)
        if emptying and any(listener.block_is_inherited for listener in self._listeners):
            self._take_accepted()
        if self._leaving and stop.deadline < self._deadline:
            self._stop_workers(stop.deadline)
        in_flight = sum(member.request_table.in_flight for member in members)
        return Snapshot(
            now=time.monotonic(),
            in_flight=in_flight,
            connections=len(members),
            half_open=half_open and waited_for,
            queued=queued,
            accepting=not all(member.reported.stopped_accepting for member in self._leaving.values()),
            flushed=not members,
            begun=self.finished() + in_flight if lame else 0,
        )

    def carry_out(self, action: Action, stop: Stop) -> None:
        """See `Stoppable.carry_out`."""
        match action:
            case Action.TURN_AWAY:
                self._fleet.hold()
                # Streams end now: the accept queue may wait for their threads.
                for member in self._fleet.serving:
                    member.call(AnnounceStopping())
                block_all(self._listeners)
            case Action.CLOSE_IDLE:
                for member in self._fleet.serving:
                    member.call(CloseIdle())
            case Action.STOP_ACCEPTING:
                self._fleet.end_starts()
                self._leaving = dict(self._fleet.members)
                self._stop_workers(stop.deadline)
            case Action.CLOSE_LISTENERS:
                self._losses = self._losses._replace(queued_cut=close_all(self._listeners))
            case Action.FLUSH:
                pass  # each worker does
            case Action.CUT:
                self._cut()

    def announce_close(self, *, closing: bool) -> None:
        """See `Stoppable.announce_close`."""
        self._launcher.closing = closing
        for member in self._fleet.members.values():
            member.call(AnnounceClose(closing=closing))

    def requests(self) -> list[InFlight]:
        """See `Stoppable.requests`."""
        return requests_of(self._fleet.members.values())

    def finished(self) -> int:
        """See `Stoppable.finished`: of all workers that there were."""
        return self._fleet.finished()

    def losses(self) -> Losses:
        """See `Stoppable.losses`: what the workers cut, and what was lost with those that did not report."""
        cut, connections, queued = (
            list(self._losses.cut),
            self._losses.connections_cut,
            self._losses.queued_cut,
        )
        cut += self._fleet.history.lost
        connections += len(self._fleet.history.lost)
        for member in self._leaving.values():
            if (result := member.reported.result) is not None:
                cut += [msgspec.structs.replace(each, worker=member.id) for each in result.cut]
                connections += result.connections_cut
        return Losses(cut, connections, queued, self._fleet.history.workers_lost)

    def _stop_workers(self, deadline: float) -> None:
        self._deadline = deadline
        grace = max(0.0, deadline - time.monotonic())
        for member in self._fleet.members.values():
            if member.state in {WorkerState.SERVING, WorkerState.LEAVING} or member.admitted:
                with log_failure(f"stop worker {member.id}"):
                    member.stop_gracefully(grace=grace, linger=self._fleet.settings.linger)

    def _take_accepted(self) -> None:
        """Have workers count what they have accepted, one call at a time: an engine may not do that by itself."""
        for member in self._fleet.serving:
            before = self._taken.get(member.id)
            if before is None or before.done():
                self._taken[member.id] = member.call(TakeAccepted())

    def _cut(self) -> None:
        """Kill workers that are still running and note the requests they lose; those in a worker's own report count once."""
        members = list(self._fleet.members.values())
        silent = [member for member in members if member.reported.result is None]
        cut = requests_of(silent)
        unnamed = sum(
            max(0, self._fleet.overdue.count_connections(member) - len(member.request_table.requests()))
            for member in silent
        )
        self._losses = self._losses._replace(cut=cut, connections_cut=len(cut) + unnamed)
        for member in members:
            with log_failure(f"kill worker {member.id}"):
                member.dismiss()
