"""A worker's process: started by exec, with inherited descriptors; a pidfd tells when it has ended (pidfd_open(2)).

The supervisor never forks it: it holds ZeroMQ sockets and threads, which do not work in a forked child. The first one is forked
before there are any (see `early_worker`), and with --preload a template forks, which has neither (see `forked_process`). The
process leads its own session, so Ctrl-C does not reach it. Where the kernel has no pidfd, or refuses it, a thread waits for the
process.
"""

import asyncio
import contextlib
import errno
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Protocol

from flaskd.guard import warn_once
from flaskd.settings.identity import Identity

EXHAUSTED: Final = {errno.EMFILE, errno.ENFILE, errno.ENOMEM}
"""Why there may be no pidfd although the kernel has them."""


class Child(Protocol):
    """A child of this process, as `Popen` has it."""

    pid: int

    def wait(self) -> int:
        """Wait until it has ended, and return its exit code, or minus the number of the signal that ended it."""

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""


class Process:
    """A child process; `on_end` is called on the running loop when it has ended."""

    stacks: int | None = None

    def __init__(self, popen: Child, on_end: Callable[[], None], by_oom: Callable[[], bool]) -> None:
        self.pid = popen.pid
        self._by_oom = by_oom
        self._killed = False
        self._how = ""
        self.out_of_memory = False
        """Whether the OOM killer has ended it, once `how_it_ended` says how it ended."""
        self._popen = popen
        self._on_end = on_end
        self._loop = asyncio.get_running_loop()
        self._pidfd = _pidfd(popen.pid)
        if self._pidfd >= 0:
            self._loop.add_reader(self._pidfd, self._ended)
        else:
            threading.Thread(target=self._wait, name="flaskd-wait", daemon=True).start()

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
            self.out_of_memory = True
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
        self._popen.send_signal(signal.SIGKILL)

    def close(self) -> None:
        """Release what it holds beside the process: nothing."""

    def _wait(self) -> None:
        self._popen.wait()
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody asks any more
            self._loop.call_soon_threadsafe(self._ended)

    def _ended(self) -> None:
        if self._pidfd >= 0:
            self._loop.remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1
        self._on_end()


def _pidfd(pid: int) -> int:
    """Open a pidfd; -1 if the platform, the kernel or a sandbox does not allow it. Raises OSError for want of descriptors."""
    if not hasattr(os, "pidfd_open"):
        return -1
    try:
        return os.pidfd_open(pid)
    except OSError as error:
        if error.errno in EXHAUSTED:
            raise
        warn_once(f"pidfd_open: {error.strerror}; a thread waits for each worker instead")
        return -1


def start(
    command: Sequence[str],
    *,
    descriptors: Iterable[int],
    stdin: int = subprocess.DEVNULL,
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
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        pass_fds=tuple(descriptors),
        cwd=directory,
        start_new_session=True,
        **become,
    )
    try:
        return Process(popen, on_end, by_oom)
    except (OSError, RuntimeError):  # no descriptor left for its pidfd, or no thread
        popen.kill()
        popen.wait()
        raise
