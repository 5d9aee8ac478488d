"""How long `status` takes, and a bare echo in another process at the same moments: a busy machine delays both."""

import contextlib
import itertools
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from tests.support.daemons import PATIENCE, Daemon
from tests.support.operating import client

ROOT: Final = Path(__file__).parents[2]

ANSWERS_WITHIN: Final = 0.25
"""Seconds in which `status` answers, whatever happens, on a machine that has nothing else to do."""

STALLS: Final = 4
"""How many of the longest waits of an echo a `status` may have besides: it takes the CPU more than once."""


Echo = Callable[[], object]


class Slowest(NamedTuple):
    """The longest time of a `status` and of an echo, in seconds."""

    status: float
    echo: float

    @property
    def allowed(self) -> float:
        """The seconds that a `status` may take on this machine now."""
        return ANSWERS_WITHIN + STALLS * self.echo


def slowest(daemon: Daemon, echo: Echo, until: threading.Event | None = None, *, times: int = 200) -> Slowest:
    """Ask for the status and for an echo by turns, so many times, or until something has happened."""
    statuses, echoes = [0.0], [0.0]
    with client(daemon) as shop:
        for _ in itertools.count() if until else range(times):
            statuses.append(_seconds(shop.status))
            echoes.append(_seconds(echo))
            if until and until.is_set():
                break
    return Slowest(max(statuses), max(echoes))


def _seconds(ask: Callable[[], object]) -> float:
    began = time.perf_counter()
    ask()
    return time.perf_counter() - began


@contextlib.contextmanager
def echoing() -> Iterator[Echo]:
    """Start a process that echoes; give a function that waits for one echo."""
    with tempfile.TemporaryDirectory(prefix="fd-", dir="/tmp") as directory:
        command = [sys.executable, "-m", "benchmarks.echo", directory]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
            try:
                assert process.stdout is not None
                assert process.stdout.readline()
                with socket.socket(socket.AF_UNIX) as connection, connection.makefile("rb") as lines:
                    connection.settimeout(PATIENCE)
                    connection.connect(os.path.join(directory, "sock"))

                    def ask() -> bytes:
                        connection.sendall(b"status\n")
                        return lines.readline()

                    yield ask
            finally:
                process.kill()
