"""The server of `flaskd_ctl web` in a thread of this process, and a browser's part of the conversation with it."""

import asyncio
import contextlib
import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator, Set
from typing import Any, NamedTuple, Self

from flaskd_ctl.live.watch import Asked
from flaskd_ctl.web.guard import Guard
from flaskd_ctl.web.room import Room
from flaskd_ctl.web.server import listening, serve
from tests.flaskd_ctl.live.scripted import Scripted

PATIENCE = 30.0

READS = ("status", "stats", "requests", "errors", "events", "logs")
"""What a viewer may run."""


def shop(**attrs: Any) -> tuple[Scripted, Scripted]:
    """Make an instance: one to watch, one to call."""
    return Scripted(**attrs), Scripted(**attrs)


class Answer(NamedTuple):
    """A response, read to its end."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def error(self) -> str:
        """The name of the error."""
        return str(self.json["error"]["name"])


class Happening(NamedTuple):
    """A server-sent event."""

    id: str
    kind: str
    data: Any


class Stream:
    """An open stream of server-sent events; a context manager."""

    def __init__(self, connection: http.client.HTTPConnection, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self._connection = connection
        self._response = response

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Go away."""
        self._response.close()
        self._connection.close()

    def next(self, kind: str = "", *, such: Callable[[Any], bool] = lambda _: True) -> Happening:
        """Return the next event, of this kind and such that; fails at the end of the stream."""
        deadline = time.monotonic() + PATIENCE
        while True:
            assert time.monotonic() < deadline, f"no {kind} such that"
            fields: dict[str, str] = {}
            while line := self._response.readline().decode():
                if not line.strip():
                    break
                name, _, value = line.rstrip("\n").partition(": ")
                fields[name] = value
            else:
                raise EOFError("the stream has ended")
            if fields.get("event") and kind in {"", fields["event"]}:
                happening = Happening(fields["id"], fields["event"], json.loads(fields["data"]))
                if such(happening.data):
                    return happening

    def rest(self) -> bytes:
        """Read to the end."""
        return self._response.read()


class Served:
    """A running server, and a browser that talks to it."""

    def __init__(
        self, port: int, guard: Guard, rooms: dict[str, Room], loop: asyncio.AbstractEventLoop
    ) -> None:
        self.port = port
        self.guard = guard
        self.rooms = rooms
        self.loop = loop
        self.base = f"http://127.0.0.1:{port}"
        self.session = {"Cookie": f"{guard.cookie}={guard.session}"}
        self.own = {**self.session, "Origin": self.base, "Content-Type": "application/json"}
        self.end: Callable[[], None] = lambda: None

    def soon(self, work: Callable[[], object]) -> None:
        """Do something in the server's thread."""
        self.loop.call_soon_threadsafe(work)

    def ask(
        self,
        path: str,
        *,
        method: str = "GET",
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """Send a request, with the cookie unless `headers` are given."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        with contextlib.closing(connection):
            connection.request(method, path, body, self.session if headers is None else headers)
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())

    def call(
        self,
        method: str,
        params: object = None,
        *,
        label: str = "shop",
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """Call a command, as the page does."""
        body = json.dumps({"method": method, **({} if params is None else {"params": params})}).encode()
        return self.ask(
            f"/api/instances/{label}/call",
            method="POST",
            body=body,
            headers=self.own if headers is None else headers,
        )

    def live(self, label: str = "shop", *, last: str = "", query: str = "") -> Stream:
        """Open the stream of an instance."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        headers = self.session | ({"Last-Event-ID": last} if last else {})
        connection.request("GET", f"/api/instances/{label}/live{query}", headers=headers)
        return Stream(connection, connection.getresponse())


@contextlib.contextmanager
def served(
    *pairs: tuple[Asked, Asked],
    allow_changes: bool = False,
    interval: float = 0.05,
    users: Set[int] | None = None,
) -> Iterator[Served]:
    """Serve these instances, each as the one that is watched and the one that is called."""
    started: list[Served] = []
    ready, failed = threading.Event(), list[BaseException]()

    async def run() -> None:
        rooms = {
            watched.label: Room(
                watched.label, _in_turn(watched, asked), interval=interval, allow_changes=allow_changes
            )
            for watched, asked in pairs
        }
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        with listening(0) as listener:
            port = listener.getsockname()[1]
            one = Served(port, Guard(port, users=users), rooms, loop)
            one.end = lambda: one.soon(stop.set)
            started.append(one)
            ready.set()
            await serve(rooms, one.guard, listener=listener, allow_changes=allow_changes, stop=stop)

    def work() -> None:
        try:
            asyncio.run(run())
        except BaseException as error:  # noqa: BLE001 - the test's own thread raises it
            failed.append(error)
            ready.set()

    thread = threading.Thread(target=work)
    thread.start()
    assert ready.wait(PATIENCE)
    try:
        if started:
            yield started[0]
    finally:
        if started and thread.is_alive():
            started[0].end()
        thread.join(PATIENCE)
        assert not thread.is_alive(), "the server does not end"
        if failed:
            raise failed[0]


def _in_turn(watched: Asked, asked: Asked) -> Callable[[], Asked]:
    """Give the one that is watched, and after that the one that is called."""
    first = iter([watched])
    return lambda: next(first, asked)
