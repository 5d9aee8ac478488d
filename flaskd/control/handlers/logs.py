"""The log: the newest lines, later ones as they come, and log files that are opened again."""

import asyncio
from typing import Any, Final

import msgspec

from flaskd.control.handlers.streams import Streams
from flaskd.control.registry import Call
from flaskd.control.transports.log_follower import LogFollower
from flaskd.logs.ring import Wanted, shortened
from flaskd.operable import Operable, workers_of
from flaskd_ctl.errors import NotFound
from flaskd_ctl.protocol import LogLine, LogsParams, LogsResult, ReopenResult

LARGEST_REPLY: Final = 768 * 1024
"""Bytes of the lines in a reply, encoded; older ones are left out."""


class Logs:
    """Handles the commands about the log."""

    def __init__(self, instance: Operable, streams: Streams) -> None:
        self._instance = instance
        self._streams = streams

    async def logs(self, call: Call[LogsParams]) -> LogsResult:
        """Return the newest lines that are wanted, and follow later ones if asked to."""
        params, ring = call.params, self._instance.log_ring
        wanted = Wanted(params.worker, params.level, params.request, params.process)
        if params.follow:
            await self._streams.make_room(call)
        found = ring.newest(wanted, params.limit)
        if params.worker is not None and not found.lines:
            self._check_worker(params.worker)
        if params.follow:
            self._streams.start(call, LogFollower(ring, wanted, start=found.end))
        lines = within(found.lines)
        left_out = found.left_out + len(found.lines) - len(lines)
        return LogsResult(lines=lines, left_out=left_out, dropped=found.dropped)

    def _check_worker(self, worker: int) -> None:
        """Raise NotFound for a worker that there is not; lines of one that has gone are kept as long as others."""
        workers = workers_of(self._instance, "has no workers").workers().workers
        if all(each.id != worker for each in workers):
            raise NotFound(f"there is no worker {worker}, nor a line of one", hint="see `flaskd_ctl workers`")

    async def reopen_logs(self, call: Call[Any]) -> ReopenResult:
        """Open the log files again."""
        files = await asyncio.wrap_future(call.follow(self._instance.order_reopen_logs()))
        return ReopenResult(files=files)


def within(lines: list[LogLine]) -> list[LogLine]:
    """Return the newest of `lines` that fit into a reply."""
    kept: list[LogLine] = []
    size = 0
    for line in reversed(lines):
        cut = shortened(line)
        size += len(msgspec.json.encode(cut))
        if size > LARGEST_REPLY:
            break
        kept.append(cut)
    return kept[::-1]
