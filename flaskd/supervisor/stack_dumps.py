"""The stacks that a worker writes in a signal handler (faulthandler): all there is of one that does not reply to a task.

C code may hold the GIL, or the worker may load its application; it takes a signal all the same. A worker that is stopped
(SIGSTOP, a debugger) takes none.
"""

import asyncio
import re
from concurrent.futures import Future
from typing import Final

from flaskd.process.stacks import LONGEST_STACKS, ThreadStack, fit, fold
from flaskd.supervisor.fleet import Fleet
from flaskd.supervisor.member import Member
from flaskd.supervisor.overdue import STACKS_TIME
from flaskd.supervisor.process_stats import is_stopped
from flaskd.tasks import StacksTaken
from flaskd_ctl.errors import Failed, NotFound
from flaskd_ctl.protocol import Frame, InFlight, ThreadInfo

THREAD: Final = re.compile(
    r"(?:Current thread|Thread) 0x([0-9a-f]{1,16})(?: \[(.*)\])? \(most recent call first\):"
)
FRAME: Final = re.compile(r'  File "(.*)", line (\d{1,9}) in (.*)')
CUT: Final = "  ..."
"""The line in place of the calls beyond the hundredth."""


class StackDumps:
    """Has workers write their stacks, on the running loop; who asks while one is under way gets the same."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._under_way: dict[int, Future[StacksTaken]] = {}

    def order(self, worker: int) -> "Future[StacksTaken]":
        """See `Operable.order_stack_dump`."""
        member = self._fleet.members.get(worker)
        if member is None:
            raise NotFound(f"there is no worker {worker} any more", hint="see `flaskd_ctl workers`")
        if worker not in self._under_way:
            future: Future[StacksTaken] = Future()
            self._under_way[worker] = future
            future.set_running_or_notify_cancel()
            if is_stopped(member.pid):
                self._end(member)
            else:
                member.write_stacks()
                asyncio.get_running_loop().call_later(STACKS_TIME, self._end, member)
            return future
        return self._under_way[worker]

    def _end(self, member: Member) -> None:
        future = self._under_way.pop(member.id)
        if self._fleet.members.get(member.id) is not member:
            future.set_exception(Failed("ended before it wrote its stacks"))
        elif is_stopped(member.pid):
            future.set_exception(Failed("is stopped (as by SIGSTOP), so it cannot write its stacks"))
        elif text := member.stacks():
            table = member.request_table
            described = {request.id: request for request in table.requests()}
            serving = table.serving().items()
            requests = {ident: described[number] for ident, (number, _) in serving if number in described}
            stacks, left_out = fit(fold(parse(text, requests)), LONGEST_STACKS)
            future.set_result(StacksTaken(stacks=stacks, left_out=left_out))
        else:
            future.set_exception(Failed(f"wrote no stacks within {STACKS_TIME:g} s"))


def parse(text: str, requests: dict[int, InFlight]) -> list[ThreadStack]:
    """Read what faulthandler has written; `requests` are those of the threads, by identifier. Anything else is passed over.

    Threads beyond the hundredth are not in it (Python/traceback.c, MAX_NTHREADS).
    """
    found: list[tuple[ThreadInfo, list[Frame], bool]] = []
    for line in text.splitlines():
        if thread := THREAD.fullmatch(line):
            ident = int(thread[1], 16)
            found.append(
                (ThreadInfo(ident, thread[2] or _name(ident, requests), requests.get(ident)), [], False)
            )
        elif found and (frame := FRAME.fullmatch(line)):
            found[-1][1].append(Frame(frame[3], frame[1], int(frame[2])))
        elif found and line == CUT:
            found[-1] = (found[-1][0], found[-1][1], True)
    return [ThreadStack(thread, tuple(frames), int(cut)) for thread, frames, cut in found]


def _name(ident: int, requests: dict[int, InFlight]) -> str:
    return requests[ident].thread if ident in requests else ""
