"""The process of a worker that a template forks: it has no pid until the template has answered.

The template forks twice. The middle process ends at once, so the kernel makes the worker a child of the supervisor, which
adopts orphans (PR_SET_CHILD_SUBREAPER, prctl(2)). So the supervisor can wait for it as for any child, also when the template is
gone.
"""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable
from typing import Final

from flaskd.supervisor.process import Process
from flaskd_ctl.errors import ControlError, Failed

FORK_TIME: Final = 5.0
"""Seconds that a template may take to fork, once it is loaded; it takes milliseconds."""


class AdoptedChild:
    """A child that we have not started, with the methods that `Process` needs. Raises OSError if it is none."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._code: int | None = None
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)

    def wait(self) -> int:
        """Wait until it has ended, and return its exit code, or minus the number of the signal that ended it."""
        if self._code is None:
            self._code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self._code

    def send_signal(self, number: int) -> None:
        """Send it a signal; until it was waited for, its pid is of no other process."""
        if self._code is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


class ForkedProcess:
    """What `Process` is for a worker that was started by exec.

    `on_start` is called when it has a pid, `on_refused` with why it will never have one (None: another worker is told), then
    `on_end`. `template` is the pid of its template, `stacks` where that writes its threads' stacks.
    """

    def __init__(
        self,
        *,
        template: int,
        stacks: int,
        on_start: Callable[[], None],
        on_refused: Callable[[ControlError | None], None],
        on_end: Callable[[], None],
        by_oom: Callable[[], bool],
    ) -> None:
        self._template = template
        self._own_stacks = os.dup(stacks)
        self._on_start = on_start
        self._on_refused = on_refused
        self._on_end = on_end
        self._by_oom = by_oom
        self._process: Process | None = None
        self._asked = time.monotonic()
        self.over = False
        self.on_killed: Callable[[bool], None] = lambda stuck: None

    @property
    def pid(self) -> int:
        """Its process id; 0 while the template loads, the template's if that failed."""
        if self._process is not None:
            return self._process.pid
        return self._template if self.over else 0

    @property
    def how_it_ended(self) -> str:
        """See `Process.how_it_ended`."""
        return self._process.how_it_ended if self._process is not None else "its template did not fork it"

    @property
    def out_of_memory(self) -> bool:
        """See `Process.out_of_memory`."""
        return self._process is not None and self._process.out_of_memory

    @property
    def stacks(self) -> int | None:
        """The descriptor with the template's stacks while the worker has none; its own are elsewhere."""
        return self._own_stacks if self._process is None else None

    def send(self, number: int) -> None:
        """Send it a signal; the template, while there is only that."""
        if self._process is not None:
            self._process.send(number)
        elif not self.over:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._template, number)

    def kill(self) -> None:
        """Kill it; one that is forked later is killed at once."""
        if self._process is not None:
            self._process.kill()
        elif not self.over:
            self._end()
            self.on_killed(time.monotonic() > self._asked + FORK_TIME)

    def close(self) -> None:
        """Release what it holds; it is gone."""
        os.close(self._own_stacks)

    def forked(self, pid: int) -> None:
        """Take the process that the template has forked."""
        try:
            child = AdoptedChild(pid)
            if self.over:  # it is not wanted any more; `process.reaper` waits for it
                child.send_signal(signal.SIGKILL)
                return
            self._process = Process(child, self._on_end, self._by_oom)
        except OSError as error:
            self.refused(Failed(f"its template (pid {self._template}) has forked {pid}: {error}"))
            return
        self._on_start()

    def refused(self, error: ControlError | None) -> None:
        """Note that it will not be forked."""
        if not self.over and self._process is None:
            self._on_refused(error)
            self._end()

    def _end(self) -> None:
        self.over = True
        asyncio.get_running_loop().call_soon(self._on_end)
