"""A template as the supervisor knows it: a process that has loaded the application and forks workers (docs/workers.md#preload).

It runs the application, like a worker, and is believed no more (docs/threat-model.md).
"""

import asyncio
import os
import time
from collections.abc import Callable, Container, Sequence
from typing import Final, Literal

from flaskd.channel.messages import Fork, Forked, LoadTemplate, Reply
from flaskd.channel.supervisor_end import SupervisorChannel
from flaskd.guard import log_failure
from flaskd.supervisor.forked import kill_forked
from flaskd.supervisor.forked_process import ForkedProcess
from flaskd.supervisor.process import Process
from flaskd_ctl.errors import ControlError, Failed

State = Literal["loading", "ready", "gone"]

HINT: Final = "see `flaskd_ctl logs`"


class Template:
    """A template, from its start until it is gone. `on_change` is called with each new state, `on_fork` after each fork.

    `warning` is what is to be said of its start, "" for nothing. `ended` says that the supervisor has ended it. `pending` are
    the workers that it was told to fork and has not. `children` returns the pids of the supervisor's other children: none of
    them is a worker that it has forked.
    """

    def __init__(
        self,
        *,
        generation: int,
        stacks: int,
        on_change: Callable[["Template"], None],
        on_fork: Callable[[], None],
        children: Callable[[], Container[int]],
    ) -> None:
        self.generation = generation
        self.state: State = "loading"
        self.warning = ""
        self.since = self.started = time.time()
        self.error: ControlError | None = None
        self.ended = False
        self.pending: list[ForkedProcess] = []
        self._stacks = stacks
        self._on_change = on_change
        self._on_fork = on_fork
        self._children = children
        self._how_it_ended = ""
        self._process: Process | None = None
        self._channel: SupervisorChannel | None = None

    def launched(self, process: Process, channel: SupervisorChannel, call: LoadTemplate) -> None:
        """Take what belongs to it, and send the first call."""
        self._process, self._channel = process, channel
        channel.call(call).add_done_callback(self._loaded)
        self._on_change(self)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid if self._process is not None else 0

    @property
    def why(self) -> str:
        """Why it is gone: what kept it from loading, or how its process ended. Until then, the warning."""
        if self.state != "gone" or self._process is None:
            return self.warning
        if self.ended:
            return "not needed any more"
        return str(self.error) if self.error is not None else self._how_it_ended

    @property
    def crashed(self) -> bool:
        """Whether it has ended by itself while no worker waited for it: else that worker has failed."""
        waiting = any(not each.over for each in self.pending)
        return self.state == "gone" and not self.ended and self.error is None and not waiting

    @property
    def usable(self) -> bool:
        """Whether it forks workers, or will once it has loaded."""
        return self.state != "gone" and not self.ended and self.error is None

    def fork(
        self,
        descriptors: Sequence[int],
        *,
        on_start: Callable[[], None],
        on_refused: Callable[[ControlError | None], None],
        on_end: Callable[[], None],
        by_oom: Callable[[], bool],
    ) -> ForkedProcess:
        """Have it fork a worker that gets `descriptors` (see `Fork`). Raises OSError."""
        assert self._channel is not None, "it was not launched"
        forked = ForkedProcess(
            template=self.pid,
            stacks=self._stacks,
            on_start=on_start,
            on_refused=on_refused,
            on_end=on_end,
            by_oom=by_oom,
        )
        try:
            reply = self._channel.call(Fork(descriptors=list(descriptors)), descriptors=descriptors)
        except OSError:
            forked.close()
            raise
        self.pending.append(forked)
        reply.add_done_callback(lambda reply: self._answered(forked, reply))
        forked.on_killed = self._unwanted
        return forked

    def end(self) -> None:
        """End it: no further worker is forked from it. Those that it has forked go on."""
        self.ended = True
        if self._process is not None and self.state != "gone":
            self._process.kill()

    def channel_ended(self) -> None:
        """Note that it has closed its channel, or sent anything but its messages: it is of no use any more."""
        if self._process is not None and self.state != "gone":
            self._process.kill()

    def process_ended(self) -> None:
        """Note that its process has ended; what it sent last still counts."""
        assert self._process is not None, "it was not launched"
        self._how_it_ended = self._process.how_it_ended
        with log_failure("end the processes that a template has forked"):
            kill_forked(self.pid, self._stacks)
        if self._channel is not None:
            self._channel.read_rest()
            self._channel.close()
        asyncio.get_running_loop().call_soon(self._gone)

    def _loaded(self, reply: "asyncio.Future[Reply]") -> None:
        if reply.cancelled():
            return
        error = reply.exception()
        if isinstance(error, ControlError):
            self.error = error  # it exits by itself
        elif self.state == "loading":
            self._move("ready")

    def _answered(self, forked: ForkedProcess, reply: "asyncio.Future[Reply]") -> None:
        if reply.cancelled():
            return  # `_gone` tells
        if forked in self.pending:
            self.pending.remove(forked)
        error = reply.exception()
        if isinstance(error, ControlError):
            forked.refused(error)
        elif isinstance(answer := reply.result(), Forked) and answer.pid not in self._children():
            forked.forked(answer.pid)
        else:
            forked.refused(Failed(f"its template (pid {self.pid}) named no process of its own"))
        self._on_fork()

    def _unwanted(self, stuck: bool) -> None:
        """End it if nobody waits any more for what it loads, or if it does not fork."""
        waiting = any(not each.over for each in self.pending)
        if (self.state == "loading" and not waiting) or (self.state == "ready" and stuck):
            self.end()

    def _gone(self) -> None:
        self._move("gone")
        error = self.error or Failed(f"its template (pid {self.pid}) ended: {self.why}", hint=HINT)
        waiting, self.pending = [each for each in self.pending if not each.over], []
        for number, forked in enumerate(waiting):
            # One failure, so one of them is told; none if we have ended it: they are forked from another.
            forked.refused(None if number or self.ended else error)
        os.close(self._stacks)
        self._on_fork()

    def _move(self, state: State) -> None:
        self.state, self.since, self.warning = state, time.time(), ""
        self._on_change(self)
