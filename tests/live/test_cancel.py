"""Cancelling requests while they are served: each is answered or cancelled, and nothing else is hit."""

import contextlib
import http.client
import itertools
import logging
import random
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import urlsplit

import pytest

from flaskd import Server
from flaskd.ledger.middleware import Ledger, find
from tests.support.daemons import PATIENCE
from tests.support.extent import FULL

pytestmark = pytest.mark.live

CANCELS: Final = 10_000 if FULL else 300
"""Cancellations with each engine."""

THREADS: Final = 4
ENGINES: Final = ["granian", "waitress", "werkzeug"]


class Application:
    """Answers with the request's id, after some work in Python, in one of several ways."""

    def __init__(self) -> None:
        self.together = threading.Barrier(THREADS)

    def __call__(self, environ: Any, start_response: Any) -> Any:
        own = environ["HTTP_X_REQUEST_ID"].encode()
        kind = environ["PATH_INFO"]
        work()
        if kind == "/together":
            self.together.wait(PATIENCE)
            work(20_000)
        if kind == "/read":
            assert environ["wsgi.input"].read() == own
        if kind == "/write":
            write = start_response("200 OK", [("Content-Length", str(2 * len(own)))])
            write(own)
            work()
            return [own]
        if kind == "/stream":
            start_response("200 OK", [])
            return self.stream(own)
        start_response("200 OK", [("Content-Length", str(2 * len(own)))])
        return [2 * own]

    def stream(self, own: bytes) -> Iterator[bytes]:
        for _ in range(2):
            work()
            yield own


def work(most: int = 3000) -> None:
    for _ in range(random.randrange(most)):
        pass


class Clients:
    """Threads that send one request after the other on connections that are kept, and check each answer."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._address = (parts.hostname or "", parts.port or 80)
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(THREADS + 1)]
        self.answered: set[str] = set()
        self.cancelled: set[str] = set()
        self.wrong: list[str] = []

    def __enter__(self) -> "Clients":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(PATIENCE)

    def _run(self, number: int) -> None:
        connection = http.client.HTTPConnection(*self._address, timeout=PATIENCE)
        for count in itertools.count():
            if self._over.is_set():
                break
            kind = ("/plain", "/stream", "/write", "/read")[count % 4]
            ident = f"client-{number}-{count}"
            try:
                self._ask(connection, kind, ident)
            except Exception as error:  # noqa: BLE001 - the test fails with it
                self.wrong.append(f"{kind} {ident}: {error!r}")
                connection.close()
        connection.close()

    def _ask(self, connection: http.client.HTTPConnection, kind: str, ident: str) -> None:
        body = ident.encode() if kind == "/read" else None
        try:
            connection.request("POST" if body else "GET", kind, body, {"X-Request-ID": ident})
            response = connection.getresponse()
            data = response.read()
        except (http.client.HTTPException, ConnectionError) as error:
            # It had begun: only those that send in parts can break off.
            connection.close()
            if kind in {"/stream", "/write"}:
                self.cancelled.add(ident)
            else:
                self.wrong.append(f"{kind} {ident} broke off: {error!r}")
            return
        assert response.getheader("X-Request-ID") == ident
        if response.status == 503:
            assert data == b"The request was cancelled.\n"
            self.cancelled.add(ident)
        else:
            assert (response.status, data) == (200, 2 * ident.encode())
            self.answered.add(ident)


def cancel_at_random(ledger: Ledger) -> set[str]:
    """Cancel CANCELS requests, each at some moment of its life; return their ids."""
    sent: set[str] = set()
    deadline = time.monotonic() + 20 * PATIENCE
    while len(sent) < CANCELS:
        assert time.monotonic() < deadline, f"{len(sent)} of {CANCELS} requests were cancelled"
        rows = [row for row in ledger.table.requests() if row.request_id not in sent]
        if not rows:
            time.sleep(0)
            continue
        row = random.choice(rows)
        work(1000)
        request = find(ledger, row.id)
        if request is not None:
            request.cancel()
            sent.add(row.request_id)
    return sent


@pytest.fixture
def short_turns() -> Iterator[None]:
    """Threads of Python's take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


# Python swallows an exception in callbacks of weak references (concurrent.futures has one) and of the garbage collector
# (hypothesis has one): then a request is not cancelled, and the interpreter says so.
@pytest.mark.filterwarnings("ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("runtime_dir", "short_turns")
@pytest.mark.parametrize("engine", ENGINES)
def test_a_cancellation_that_races_completion_hits_nothing_else(
    engine: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Each request has its own 200, a 503, or breaks off; only those that were cancelled; every thread goes on."""
    app = Application()
    with Server(app, bind="127.0.0.1:0", name="race", engine=engine, threads=THREADS) as server:
        assert server._running is not None
        ledger = server._running._core.ledger
        with Clients(server.listeners[0]) as clients:
            sent = cancel_at_random(ledger)
        assert clients.wrong == []
        assert clients.cancelled <= sent
        assert clients.cancelled
        assert clients.answered & sent, "no completion was quicker than its cancellation"
        together(server.listeners[0])
    assert ledger.table.in_flight == 0
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []


def together(url: str) -> None:
    """Have every thread of the engine serve at the same time, and run Python: none has died, none has anything pending."""
    parts = urlsplit(url)
    failed: list[object] = []

    def ask() -> None:
        with contextlib.closing(
            http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=PATIENCE)
        ) as connection:
            connection.request("GET", "/together")
            response = connection.getresponse()
            response.read()
            if response.status != 200:
                failed.append(response.status)

    threads = [threading.Thread(target=ask) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert failed == []
