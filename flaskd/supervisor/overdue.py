"""Workers that take too long to start, to leave, or to answer are killed; the stacks of their threads are kept."""

import asyncio
from typing import Final

from flaskd.settings.schema import Settings, worker_grace
from flaskd.supervisor.member import Member
from flaskd.supervisor.plan import WorkerState
from flaskd.supervisor.process_stats import ProcessStats, is_stopped

LEAVE_TIME: Final = 10.0
"""Seconds after its grace period in which a worker reports what it cut, ends its threads and runs the application's hooks."""

STACKS_TIME: Final = 0.5
"""Seconds that a worker gets to write its stacks; it takes milliseconds, if it can run at all."""


class Overdue:
    """The time limits of all workers, on the running loop: one for each worker at a time, the newest."""

    def __init__(self, stats: ProcessStats) -> None:
        self._stats = stats
        self._timers: dict[int, asyncio.TimerHandle] = {}

    def limit_start(self, member: Member, settings: Settings) -> None:
        """Kill it unless it serves in time."""
        limit = settings.start_timeout
        reason = f"did not serve within {limit:g} s (--start-timeout)"
        self._limit(member, limit, WorkerState.STARTING, "start failed", reason)

    def limit_leaving(self, member: Member, settings: Settings) -> None:
        """Kill it unless it exits in time, now that it was told to stop."""
        limit = _leave_time(settings)
        reason = f"was still there {limit:g} s after it was told to leave"
        self._limit(member, limit, WorkerState.LEAVING, "hung", reason)

    def limit_alone(self, member: Member, settings: Settings) -> None:
        """Kill it unless it exits in time, now that its channel has ended."""
        limit = _leave_time(settings)
        reason = f"was still there {limit:g} s after its channel had ended"
        self._limit(member, limit, WorkerState.SERVING, "hung", reason)

    def call_off(self, member: Member) -> None:
        """Let no limit hold for it any more."""
        if timer := self._timers.pop(member.id, None):
            timer.cancel()

    def kill(self, member: Member, incident: str, reason: str) -> None:
        """Kill a worker that does not do what it should, once its threads' stacks are written.

        A stopped process (SIGSTOP) writes none.
        """
        if member.verdict is None:
            member.verdict = (incident, reason)
            member.write_stacks()
            asyncio.get_running_loop().call_later(STACKS_TIME, self._kill, member)

    def count_connections(self, member: Member) -> int:
        """Count the connections that a worker has now: they are lost with it if it is killed."""
        member.connections_seen = self._stats.connections(member.pid) or 0
        return member.connections_seen

    def _limit(self, member: Member, seconds: float, state: WorkerState, incident: str, reason: str) -> None:
        def check() -> None:
            if member.state is state:
                self.kill(member, incident, reason)

        self.call_off(member)
        self._timers[member.id] = asyncio.get_running_loop().call_later(seconds, check)

    def _kill(self, member: Member) -> None:
        if member.state is WorkerState.GONE or member.verdict is None:
            return
        if not member.stacks():
            incident, reason = member.verdict
            stopped = " (it is stopped, as by SIGSTOP)" if is_stopped(member.pid) else ""
            member.verdict = (incident, f"{reason}; it could not write its stacks{stopped}")
        self.count_connections(member)
        member.kill()


def _leave_time(settings: Settings) -> float:
    """Return the seconds in which a worker that was told to leave is gone."""
    hook = settings.hook_timeout if settings.pre_stop else 0.0
    return worker_grace(settings) + LEAVE_TIME + hook
