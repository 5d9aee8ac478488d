"""Those who must not notice: HTTP clients and callers of `status`, at work while a daemon is under attack.

What is asked of the daemon's own process (descriptors, memory) is read from /proc.
"""

import contextlib
import http.client
import os
import threading
import time
from collections.abc import Callable
from typing import Self

from tests.fuzz.talk import Plain, dealer
from tests.support.daemons import PATIENCE, Daemon


class Bystanders:
    """One HTTP client and two callers of `status`, one on each transport, from `__enter__` to `__exit__`.

    The first that gets no answer, or another than it should, is raised at the end; so is one that was never answered at all.
    """

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._over = threading.Event()
        self._news = threading.Condition()  # protects answered and _failures
        self._failures: list[str] = []
        self.answered = {"http": 0, "plain": 0, "zeromq": 0}
        self._threads = [
            threading.Thread(target=self._repeat, args=(name, ask))
            for name, ask in (("http", self._http), ("plain", self._plain), ("zeromq", self._zeromq))
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *exc: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(2 * PATIENCE)
        if kind is None:
            assert not self._failures, self._failures
            assert all(self.answered.values()), self.answered

    def see(self, answers: int) -> None:
        """Return when each has had so many more; raise if one has failed."""
        with self._news:
            wanted = {name: count + answers for name, count in self.answered.items()}
            came = self._news.wait_for(
                lambda: self._failures or all(self.answered[name] >= count for name, count in wanted.items()),
                2 * PATIENCE,
            )
            assert came, f"{self.answered}, {wanted} were expected"
            assert not self._failures, self._failures

    def _repeat(self, name: str, ask: Callable[[], None]) -> None:
        try:
            while not self._over.is_set():
                ask()
                with self._news:
                    self.answered[name] += 1
                    self._news.notify_all()
        except Exception as error:  # noqa: BLE001 - the thread's outer edge
            with self._news:
                self._failures.append(f"{name}, after {self.answered[name]} answers: {error!r}")
                self._news.notify_all()

    def _http(self) -> None:
        client = http.client.HTTPConnection(*self._daemon.address, timeout=PATIENCE)
        with contextlib.closing(client):
            client.request("GET", "/")
            answer = client.getresponse()
            assert (answer.status, answer.read()[-1:]) == (200, b"\n")

    def _plain(self) -> None:
        with Plain(self._daemon.place.sock) as plain:
            assert plain.ask("status")["result"]["state"] == "running"

    def _zeromq(self) -> None:
        with dealer(self._daemon.place.zmq) as sock:
            sock.send(b'{"jsonrpc":"2.0","id":1,"method":"status"}')
            assert b'"state":"running"' in sock.recv()


def descriptors(daemon: Daemon) -> int:
    """Count the descriptors of the daemon's own process."""
    return len(os.listdir(f"/proc/{daemon.pid}/fd"))


def memory(daemon: Daemon) -> int:
    """Return the resident memory of the daemon's own process, in MiB."""
    with open(f"/proc/{daemon.pid}/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 20


def wait_for_descriptors(daemon: Daemon, most: int) -> None:
    """Ask for `status` until the daemon has let go of all but `most` descriptors."""
    deadline = time.monotonic() + PATIENCE
    with Plain(daemon.place.sock) as plain:
        while (now := descriptors(daemon)) > most + 1:  # one is this very connection
            assert time.monotonic() < deadline, f"{now} descriptors, {most} are expected"
            plain.ask("status")
