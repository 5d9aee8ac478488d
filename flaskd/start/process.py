"""Start a process in the background, and learn whether it serves.

    flaskd start ─── fork ──> a session leader ─── fork, exec ──> flaskd run
         │  waits on a pipe       │  waits on a pipe: ready, or the exit code
         └────────────────────────┴── then it exits; `flaskd run` belongs to init

The process between them makes the session, so `flaskd run` is in a session without a terminal and does not lead it: it never
gets a terminal by opening one (setsid(2), open(2)). And it is the parent that learns the exit code of a start that fails.
"""

import os
import select
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Final, NoReturn

from flaskd.start.starter import READY, VARIABLE

FAILED: Final = "cannot run it"


class Starting:
    """A process that has been started in the background; `pid` is 0 if it could not be."""

    def __init__(self, command: Sequence[str], *, environ: Mapping[str, str], output: int) -> None:
        """Run `command` with stdin from /dev/null and its output at the descriptor `output`."""
        self._news, news = os.pipe()
        for stream in filter(None, (sys.stdout, sys.stderr)):  # None: it is closed
            stream.flush()
        self._between = os.fork()
        if not self._between:
            os.close(self._news)
            _be_between(command, environ, output, news)
        os.close(news)
        self._read = b""
        told = self._line()
        self.pid = int(told) if told.isdecimal() else 0
        self._told = "" if self.pid else told

    @property
    def failure(self) -> str:
        """Why there is no process; "" if there is one."""
        return self._told if not self.pid else ""

    def takes_longer(self, seconds: float) -> bool:
        """Wait until it serves or has ended, but no longer than this; return whether neither has happened."""
        return not select.select([self._news], [], [], seconds)[0]

    def wait(self) -> int | None:
        """Wait until it serves (None), or has ended: its exit code, as a shell shows it (128 + the signal's number)."""
        told = self._told or self._line()
        self._told = told
        if self._between:
            os.waitpid(self._between, 0)
            self._between = 0
        if told == READY.decode().strip():
            return None
        code = int(told) if told.lstrip("-").isdecimal() else 1
        return code if code >= 0 else 128 - code

    def stop(self) -> None:
        """Have it stop, as Ctrl-C does for `flaskd run`. Call it before `wait` has returned: then the pid is still its own."""
        if self.pid:
            os.kill(self.pid, signal.SIGTERM)

    def _line(self) -> str:
        """Read a line of the process between us; "" once it has ended."""
        while b"\n" not in self._read:
            data = os.read(self._news, 4096)
            if not data:
                break
            self._read += data
        line, _, self._read = self._read.partition(b"\n")
        return line.decode()


def _be_between(command: Sequence[str], environ: Mapping[str, str], output: int, news: int) -> NoReturn:
    """Start it, and tell its pid, then that it is ready, or its exit code."""
    try:
        os.setsid()
        ready, tell = os.pipe()
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**environ, VARIABLE: str(tell)},
            pass_fds=[tell],
        )
        os.close(tell)
        os.write(news, f"{process.pid}\n".encode())
        word = os.read(ready, len(READY))
        os.write(news, word or f"{process.wait()}\n".encode())
    except BaseException as error:  # noqa: BLE001 - the process's outer edge
        os.write(news, f"{FAILED}: {error}\n".encode(errors="replace"))
    finally:
        os._exit(0)
