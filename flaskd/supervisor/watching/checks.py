"""Checks of the workers against their limits, when one may have reached one; `limits` decides what follows.

With no limit set it never checks. It reads shared memory and /proc. Only for a sign of life it sends a ping, and does not wait
for the answer.
"""

import asyncio
import random
import time
from typing import Any, Final

import msgspec

from flaskd.channel.messages import AnswerLate, Ping
from flaskd.events import Bus
from flaskd.process.resident import resident
from flaskd.settings.schema import Settings, size
from flaskd.supervisor.fleet import Fleet
from flaskd.supervisor.member import Member
from flaskd.supervisor.plan import WorkerState
from flaskd.supervisor.watching.limits import (
    Action,
    Kill,
    Limits,
    Observation,
    Replace,
    ReportSlow,
    SendPing,
    check_limits,
)
from flaskd_ctl.protocol import SlowEvent

LATE: Final = 1.0
"""A check that is so many seconds late says nothing about workers: the supervisor itself was stopped, maybe with the whole
machine. The workers get as long to recover."""


class _Known(msgspec.Struct):
    """What is remembered of a worker between two checks. Times are monotonic."""

    since: float
    share: float = msgspec.field(default_factory=random.random)
    asked: float | None = None
    answer: Any = None
    reported: frozenset[int] = frozenset()


class Checks:
    """Checks the workers of `fleet`, from the first `check_soon` on; call that when one has changed."""

    def __init__(self, fleet: Fleet, bus: Bus) -> None:
        self._fleet = fleet
        self._bus = bus
        self._known: dict[int, _Known] = {}
        self._early = 0
        self._planned = float("inf")
        self._next: asyncio.TimerHandle | None = None

    def check_soon(self) -> None:
        """Check when what is going on now has been done, if there is any limit."""
        if any(limits_of(self._fleet.settings)):
            self._check_in(0.0)

    def stop(self) -> None:
        """Check no more."""
        if self._next is not None:
            self._next.cancel()

    def check(self) -> None:
        """Check every worker, and act."""
        now = time.monotonic()
        if now > self._planned + LATE:
            for known in self._known.values():
                known.asked = None if known.asked is None else now
            self._check_in(LATE)
            return
        members = {each.id: each for each in self._fleet.members.values() if _is_watched(each)}
        self._known = {ident: self._known.get(ident) or _Known(now) for ident in members}
        observations = [self._observe(member, now) for member in members.values()]
        found = check_limits(observations, limits_of(self._fleet.settings), self._early)
        self._early = found.early
        for action in found.actions:
            self._do(action, members[action.worker], now)
        self._planned = float("inf")
        if found.check_again is not None:
            self._check_in(found.check_again)

    def _check_in(self, seconds: float) -> None:
        self.stop()
        self._planned = time.monotonic() + seconds
        self._next = asyncio.get_running_loop().call_later(seconds, self.check)

    def _observe(self, member: Member, now: float) -> Observation:
        known = self._known[member.id]
        requests = member.request_table.requests()
        known.reported &= {request.id for request in requests}
        return Observation(
            member.id,
            leaving=member.state is WorkerState.LEAVING,
            due=bool(member.due),
            served=now - known.since,
            share=known.share,
            asked=None if known.asked is None else now - known.asked,
            answered=known.answer is None or known.answer.done(),
            requests=requests,
            reported=known.reported,
            memory=resident(member.pid) if self._fleet.settings.max_worker_memory != "0" else None,
        )

    def _do(self, action: Action, member: Member, now: float) -> None:
        known = self._known[member.id]
        match action:
            case SendPing():
                known.asked, known.answer = now, member.call(Ping())
            case Kill(_, reason):
                self._fleet.overdue.kill(member, "hung", reason)
            case Replace(_, why):
                self._fleet.replace(member, why)
            case ReportSlow(worker, request):
                known.reported |= {request.id}
                named = msgspec.structs.replace(request, worker=worker)
                settings = self._fleet.settings
                self._bus.publish(SlowEvent(at=time.time(), request=named, limit=settings.request_timeout))
                if settings.request_timeout_answer:
                    member.call(AnswerLate(request=request.id))


def limits_of(settings: Settings) -> Limits:
    """Return the limits that are set."""
    return Limits(
        silence=settings.worker_timeout,
        request=settings.request_timeout,
        age=settings.max_worker_age,
        memory=size(settings.max_worker_memory),
    )


def _is_watched(member: Member) -> bool:
    """Tell whether limits hold for a worker: it serves, or still has something to answer, and is not being killed."""
    at_work = member.state is WorkerState.SERVING or (
        member.state is WorkerState.LEAVING and member.reported.result is None
    )
    return at_work and member.verdict is None and not member.dismissed
