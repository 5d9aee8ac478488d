"""Tasks for workers, sent over their channels."""

import asyncio
import functools
from collections.abc import Callable
from concurrent.futures import Future
from typing import Final

from flaskd.supervisor.fleet import Fleet
from flaskd.supervisor.member import Member
from flaskd.supervisor.plan import WorkerState
from flaskd.tasks import Choice, Note, Ordered, Reply, Task
from flaskd_ctl.errors import Failed, NotFound, WrongState

ABLE: Final = {WorkerState.SERVING, WorkerState.LEAVING}
"""States of a worker that has loaded its application."""


MOST_UNANSWERED: Final = 64
"""Calls that wait for a worker's reply: the supervisor keeps what a worker that hangs does not read."""


class TaskOrders:
    """Has workers carry out tasks."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._shared: dict[tuple[int, Task], asyncio.Future[Reply]] = {}

    def order(
        self,
        task: Task,
        worker: int | Choice | None,
        on_note: Callable[[int, Note], None] | None = None,
    ) -> list[Ordered]:
        """See `Operable.order_task`."""
        return [
            Ordered(member.id, member.pid, self._reply(member, task, on_note))
            for member in self._chosen(worker, early=task.early)
        ]

    def _reply(
        self, member: Member, task: Task, on_note: Callable[[int, Note], None] | None
    ) -> "Future[Reply]":
        """Send the task; a shared one only if none that is equal is under way."""
        if not task.shared:
            return _ordered(member, task, on_note)
        key = (member.id, task)
        if key not in self._shared:
            if member.unanswered >= MOST_UNANSWERED:
                return _ordered(member, task, on_note)  # which refuses it
            self._shared[key] = member.order(task, None)
            self._shared[key].add_done_callback(lambda _: self._shared.pop(key, None))
        return _following(self._shared[key])

    def _chosen(self, worker: int | Choice | None, *, early: bool) -> list[Member]:
        if isinstance(worker, Choice):
            serving = list(self._fleet.serving)
            if not serving:
                raise WrongState("no worker serves now", hint="see `flaskd_ctl workers`")
            if worker is Choice.LEAST_BUSY:
                return [min(serving, key=lambda member: (member.unanswered, member.request_table.in_flight))]
            return serving
        states = ABLE | {WorkerState.STARTING} if early else ABLE
        able = [
            member for member in self._fleet.members.values() if member.state in states and member.has_process
        ]
        if worker is None:
            if not able:
                raise WrongState("no worker serves now", hint="see `flaskd_ctl workers`")
            return able
        member = self._fleet.members.get(worker)
        if member is None:
            raise NotFound(f"there is no worker {worker}", hint="see `flaskd_ctl workers`")
        if member not in able:
            raise WrongState(f"worker {worker} is {member.state.value}", hint="see `flaskd_ctl workers`")
        return [member]


def _ordered(member: Member, task: Task, on_note: Callable[[int, Note], None] | None) -> "Future[Reply]":
    if member.unanswered >= MOST_UNANSWERED:
        refused: Future[Reply] = Future()
        refused.set_exception(Failed(f"it has not answered {member.unanswered} calls"))
        return refused
    note = None if on_note is None else functools.partial(on_note, member.id)
    return _following(member.order(task, note))


def _following(reply: "asyncio.Future[Reply]") -> "Future[Reply]":
    """Return a future that may be waited for on another loop."""
    following: Future[Reply] = Future()

    def done(reply: "asyncio.Future[Reply]") -> None:
        if reply.cancelled():
            following.cancel()
        if not following.set_running_or_notify_cancel():
            return
        if error := reply.exception():
            following.set_exception(error)
        else:
            following.set_result(reply.result())

    reply.add_done_callback(done)
    return following
