"""Tasks for workers, sent over their channels."""

import asyncio
from concurrent.futures import Future
from typing import Final

from flaskd.supervisor.fleet import Fleet
from flaskd.supervisor.member import Member
from flaskd.supervisor.plan import WorkerState
from flaskd.tasks import Ordered, Reply, Task
from flaskd_ctl.errors import NotFound, WrongState

ABLE: Final = {WorkerState.SERVING, WorkerState.LEAVING}
"""States of a worker that has loaded its application."""


class TaskOrders:
    """Has workers carry out tasks."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    def order(self, task: Task, worker: int | None) -> list[Ordered]:
        """See `Operable.order_task`."""
        return [
            Ordered(member.id, member.pid, _following(member.call(task))) for member in self._chosen(worker)
        ]

    def _chosen(self, worker: int | None) -> list[Member]:
        able = [member for member in self._fleet.members.values() if member.state in ABLE]
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
