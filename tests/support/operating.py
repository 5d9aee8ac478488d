"""Operating a daemon in tests: `flaskd_ctl` as people run it, the client, and the events that order a test."""

import json
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

from flaskd_ctl import Client
from flaskd_ctl.protocol import StatsResult
from tests.support.daemons import PATIENCE, Daemon

Told = dict[str, Any]


def ctl(name: str, *args: str) -> subprocess.CompletedProcess[str]:
    """Run `flaskd_ctl` for the instance `name` of this test's runtime directory to its end."""
    return subprocess.run(
        [os.path.join(os.path.dirname(sys.executable), "flaskd_ctl"), "--name", name, *args],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE + 30,
        check=False,
    )


def client(daemon: Daemon, *, url: str = "") -> Client:
    """Make a client of this daemon, on its plain stream or at `url`."""
    return Client(endpoint=url or f"unix://{daemon.place.sock}", timeout=PATIENCE)


def settled(running: Client) -> StatsResult:
    """Return the numbers once no request is in flight: a client has a response a moment before its request has ended."""
    until = time.monotonic() + PATIENCE
    while (stats := running.stats()).in_flight:
        assert time.monotonic() < until, "requests do not end"
    return stats


class Watch:
    """The events of a daemon from now on; as a context manager it ends its subscription."""

    def __init__(self, daemon: Daemon, method: str = "events", **params: object) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(PATIENCE)
        self._lines = self._socket.makefile("rb")
        try:
            self._socket.connect(daemon.place.sock)
            asked = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
            self._socket.sendall(json.dumps(asked).encode() + b"\n")
            if method == "events":
                self.reply()
        except BaseException:
            self.__exit__()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._lines.close()
        self._socket.close()

    def events(self) -> Iterator[Told]:
        """Yield the events, up to the reply or the end."""
        while (message := self._message()) and "method" in message:
            yield message["params"]["event"]

    def until(self, wanted: Callable[[Told], bool]) -> Told:
        """Return the first event that is wanted."""
        for event in self.events():
            if wanted(event):
                return event
        raise AssertionError("the events ended before what was waited for")

    def until_worker(self, state: str, *, worker: int | None = None) -> Told:
        """Return the first event of a worker (this one) in this state."""
        return self.until(
            lambda event: (
                event["event"] == "worker"
                and event["state"] == state
                and (worker is None or event["worker"] == worker)
            )
        )

    def until_state(self, state: str) -> Told:
        """Return the event of the daemon's move to this state."""
        return self.until(lambda event: event["event"] == "state" and event["state"] == state)

    def until_incident(self) -> Told:
        """Return the next incident."""
        incident: Told = self.until(lambda event: event["event"] == "incident")["incident"]
        return incident

    def reply(self) -> Told:
        """Return the result, or the error, passing over events."""
        while (message := self._message()) and "method" in message:
            pass
        assert message is not None, "the connection ended without a reply"
        answer: Told = message.get("result") or message["error"]
        return answer

    def _message(self) -> Told | None:
        line = self._lines.readline()
        return json.loads(line) if line else None


def children(pid: int) -> list[int]:
    """List the processes whose parent this is."""
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return [int(word) for word in file.read().split()]


def name_of(pid: int) -> str:
    """Return a process's name, as `ps -o comm` shows it."""
    return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").rstrip("\n")


@contextmanager
def all_gone(*pids: int) -> Iterator[None]:
    """Fail unless all these processes, which live now, have ended a while after the block."""
    descriptors = [os.pidfd_open(pid) for pid in pids]
    try:
        yield
        for pid, descriptor in zip(pids, descriptors, strict=True):
            ready, _, _ = select.select([descriptor], [], [], PATIENCE)
            assert ready, f"process {pid} is still there"
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def until_stopped(pid: int) -> None:
    """Wait until every thread of a process has stopped (proc_pid_stat(5)): kill(2) returns before that."""
    deadline = time.monotonic() + PATIENCE
    while True:
        assert time.monotonic() < deadline, f"process {pid} does not stop"
        with suppress(FileNotFoundError):  # a thread that has just ended
            tasks = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/stat")]
            if all(task.rpartition(")")[2].split()[0] == "T" for task in tasks):
                return
