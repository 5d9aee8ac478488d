"""The process of the first worker, or with --preload of the first template, started before the supervisor has read a setting.

A worker imports Flask and flaskd for as long as the supervisor takes to get ready: both do it at the same time. What a worker
inherits does not exist yet then: it follows over the channel (SCM_RIGHTS, unix(7)), with the environment, from which systemd's
variables have been taken by then. `flaskd.worker.handover` is the other side.

It is forked from a process that has imported what both need (`flaskd.both`), and does not execute Python anew: so the two
share that memory. If something has started a thread by then (a debugger, an agent that is loaded with Python), a fork would
lose it, and Python is executed anew.

The process is of no use, and ended, if the worker has to run as another user, in another directory or at a terminal, or if
the supervisor does not get as far.
"""

import _socket
import contextlib
import os
import signal
import sys
from collections.abc import Sequence

from flaskd.process.directory import logical_directory
from flaskd.process.inherited import raise_descriptor_limit
from flaskd.version import __version__

FIRST = 512
"""The number that its first descriptor gets: nothing that Python or a library has opened before has so high a one."""

MOST = 200
"""Descriptors that fit into one message (SCM_MAX_FD, unix(7)), with some to spare."""

LARGEST = 65_536
"""Bytes of the message: more might fill the socket, and the supervisor would wait."""

SIZE_BYTES = 4
"""What comes first: the size of the message, big-endian."""


class EarlyWorker:
    """A worker's process that waits for what it is to serve.

    For `supervisor.process.Process` it is what a `Popen` is. Without `anew`, `pid` is 0 in that process, where the constructor
    returns too. Raises OSError.
    """

    def __init__(self, *, anew: bool = True) -> None:
        self.directory = logical_directory()
        self.returncode: int | None = None
        self._ours, theirs = _socket.socketpair()
        try:
            self.pid = os.fork()  # posix_spawn(3) leaves signals ignored that glibc uses
            if not self.pid:
                self._ours.close()
                _be(theirs.detach(), anew=anew)
        except BaseException:
            self._ours.close()
            raise
        finally:
            theirs.close()

    def give(self, descriptors: Sequence[int], role: str = "worker") -> dict[int, int] | None:
        """Hand duplicates of these descriptors over; returns the numbers that they have there.

        The first three are the worker's end of its channel, stdout and stderr. `role` is "worker" or "template". Returns None,
        and ends the process, if it is not possible.
        """
        import json
        import socket

        numbers = dict(zip(descriptors, range(FIRST, FIRST + len(descriptors)), strict=True))
        numbers.update(zip(descriptors[1:3], (1, 2), strict=True))
        told = {
            "role": role,
            "descriptors": [numbers[each] for each in descriptors],
            "environ": dict(os.environ),
        }
        message = json.dumps(told).encode()
        with socket.socket(fileno=self._ours.detach()) as sock:
            if len(descriptors) <= MOST and len(message) <= LARGEST:
                size = len(message).to_bytes(SIZE_BYTES, "big")
                with contextlib.suppress(OSError):  # it has ended
                    socket.send_fds(sock, [size, message], descriptors)
                    return numbers
        self.end()
        return None

    def end(self) -> None:
        """End it."""
        self._ours.close()
        self.send_signal(signal.SIGKILL)
        self.wait()

    def send_signal(self, number: int) -> None:
        """Send it a signal; until it was waited for, its pid is of no other process."""
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def wait(self) -> int:
        """Wait until it has ended, and return its exit code, or minus the number of the signal that ended it."""
        if self.returncode is None:
            try:
                self.returncode = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
            except ChildProcessError:  # the reaper of process 1 was quicker
                self.returncode = 0
        return self.returncode


def _be(channel: int, *, anew: bool) -> None:
    """Be the process, with nothing but the channel: in a Python that is executed anew, or in this one."""
    try:
        os.setsid()
        null = os.open(os.devnull, os.O_RDWR)
        for standard in range(3):
            os.dup2(null, standard)
        # Listeners from systemd, and what else came through our own exec.
        for number in {int(name) for name in os.listdir("/proc/self/fd")} - {0, 1, 2, channel}:
            with contextlib.suppress(OSError):  # that of the listing itself
                os.close(number)
        arguments = [str(channel), __version__, "early" if anew else "forked"]
        if anew:
            for number in (signal.SIGPIPE, signal.SIGXFSZ):  # which Python ignores
                signal.signal(number, signal.SIG_DFL)
            os.set_inheritable(channel, True)
            command = [sys.executable, "-P", "-m", "flaskd.worker", *arguments]
            os.execv(command[0], command)  # noqa: S606 - there is nothing for a shell to do
        if not sys.flags.safe_path and sys.path[:1] == [os.path.dirname(os.path.realpath(sys.argv[0]))]:
            del sys.path[0]  # the script's directory
        sys.argv[1:] = arguments
        for standard, name in enumerate(("stdin", "stdout", "stderr")):
            if getattr(sys, name) is None:  # it was closed when Python began
                mode, errors = "w" if standard else "r", "backslashreplace" if standard == 2 else "strict"
                setattr(sys, name, open(standard, mode, errors=errors))  # noqa: SIM115 - for good
    except BaseException:  # noqa: BLE001 - it must not go on as a supervisor
        os._exit(1)


_waiting: EarlyWorker | None = None


def begin() -> bool:
    """Start the process, if this system can hand descriptors over as we do, and has enough of them.

    Returns True in that process, if it was forked: there is only `serve` left to do.
    """
    global _waiting
    if sys.platform == "linux" and raise_descriptor_limit() > FIRST + MOST:
        with contextlib.suppress(OSError):  # a worker that is started later says why
            early = EarlyWorker(anew=len(os.listdir("/proc/self/task")) > 1)
            if not early.pid:
                return True
            _waiting = early
    return False


def serve() -> None:
    """Be a worker, as `python -m flaskd.worker`, in the process that was forked."""
    import runpy

    runpy.run_module("flaskd.worker", run_name="__main__", alter_sys=True)


def take(directory: str | None, *, fits: bool) -> EarlyWorker | None:
    """Return the process for the first worker, once; None if there is none, or it runs elsewhere, or does not fit for more."""
    global _waiting
    early, _waiting = _waiting, None
    if early is not None and (early.directory != directory or not fits):
        early.end()
        return None
    return early


def discard() -> None:
    """End it, unless it was taken."""
    if _waiting is not None:
        take(None, fits=False)
