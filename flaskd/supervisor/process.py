"""A worker's process: started by exec, with inherited descriptors; a pidfd tells when it has ended (pidfd_open(2)).

It is never forked: the supervisor holds ZeroMQ sockets and threads, which do not work in a forked child. The process leads its
own session, so Ctrl-C does not reach it. Where there is no pidfd, the end of the worker's channel has to do.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from flaskd.settings.identity import Identity


class Process:
    """A child process; `on_end` is called on the running loop when it has ended. Made by `start`."""

    def __init__(
        self, popen: "subprocess.Popen[bytes]", on_end: Callable[[], None], by_oom: Callable[[], bool]
    ) -> None:
        self.pid = popen.pid
        self._by_oom = by_oom
        self._killed = False
        self._how = ""
        self._popen = popen
        self._on_end = on_end
        self._loop = asyncio.get_running_loop()
        self._pidfd = os.pidfd_open(popen.pid) if hasattr(os, "pidfd_open") else -1
        if self._pidfd >= 0:
            self._loop.add_reader(self._pidfd, self._ended)

    @property
    def how_it_ended(self) -> str:
        """How it ended: "exit code 3", "killed by SIGKILL". Waits for the process, so ask only when it has ended."""
        if not self._how:
            self._how = self._describe(self._popen.wait())
        return self._how

    def _describe(self, code: int) -> str:
        if code >= 0:
            return f"exit code {code}"
        if code == -signal.SIGKILL and not self._killed and self._by_oom():
            return "killed by SIGKILL: out of memory (the kernel's OOM killer)"
        with contextlib.suppress(ValueError):  # a real-time signal has no name
            return f"killed by {signal.Signals(-code).name}"
        return f"killed by signal {-code}"

    def send(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        self._popen.send_signal(number)

    def kill(self) -> None:
        """Kill it."""
        self._killed = True
        self._popen.kill()

    def channel_ended(self) -> None:
        """Note that its channel has ended: without a pidfd, that is the end of the process."""
        if not hasattr(os, "pidfd_open"):
            self._loop.call_soon(self._ended)

    def _ended(self) -> None:
        if self._pidfd >= 0:
            self._loop.remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1
        self._on_end()


def start(
    command: Sequence[str],
    *,
    descriptors: Iterable[int],
    stdout: int,
    stderr: int,
    directory: str | None,
    identity: Identity | None = None,
    on_end: Callable[[], None],
    by_oom: Callable[[], bool] = lambda: False,
) -> Process:
    """Run `command` in `directory` (None: ours) as `identity` (None: us), with `descriptors` open under the same numbers.

    `by_oom` says whether it was the OOM killer that killed it. Raises OSError.
    """
    become: dict[str, Any] = {}
    if identity is not None:
        become = {
            "user": identity.uid,
            "group": identity.gid,
            "extra_groups": identity.groups,
            "env": {**os.environ, **identity.environ},
        }
    popen = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        pass_fds=tuple(descriptors),
        cwd=directory,
        start_new_session=True,
        **become,
    )
    try:
        return Process(popen, on_end, by_oom)
    except OSError:  # no descriptor left for its pidfd
        popen.kill()
        popen.wait()
        raise
