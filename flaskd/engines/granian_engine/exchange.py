"""A request that granian has read and the response to it, on granian's ASGI protocol object (granian 2.8, src/asgi/io.rs).

Why not its WSGI protocol: that ends every response well, also where the application failed in the middle; its `read` does not
tell a body that broke off from a whole one, and waits without a bound; it tells neither the client's port nor the bytes of a
header, and takes none. ASGI's `receive` and `send` do all of that. They return futures, for which we wait on the request's own
thread: no event loop runs.

- `receive` gives the next piece of the body, or says that the client has left or has sent something malformed.
- `send` returns a future only where the client takes less than it is sent.
- A response is broken off by `done` of what brought the request (a "watcher"): a streamed body then ends in an error, so that
  hyper closes the connection without a last chunk. Were the object merely dropped, the body would end well.
"""

import threading
import time
from collections import deque
from typing import Any, Final, NamedTuple

from flaskd.engines.granian_engine.body import Input
from flaskd.engines.granian_engine.connections import Sightings
from flaskd.http.bodies import Pace

Headers = list[tuple[str, str]]

LOOK_EVERY: Final = 0.1
"""Seconds of streaming after which, and between which, we look whether the client has left: granian takes what nobody gets."""


class Gone(ConnectionError):
    """The client has left, or did not take the response in its time."""


def _result(future: Any, timeout: float) -> Any:
    """Wait for a future of granian's; raises TimeoutError."""
    done = threading.Lock()
    done.acquire()
    future.add_done_callback(lambda _: done.release())
    if not done.acquire(timeout=max(0.0, timeout)) and future.cancel():
        raise TimeoutError
    return future.result()


class Server(NamedTuple):
    """What is the same for all exchanges; `connections` is for what granian has no word for."""

    write_timeout: float
    connections: Sightings


class Exchange:
    """One request and its response.

    Everything is for one thread at a time, and `response_bytes` for any, as long as nothing has begun.
    """

    __slots__ = (
        "_closes",
        "_kept",
        "_look_at",
        "_pace",
        "_pending",
        "_proto",
        "_server",
        "_watcher",
        "begun",
        "body",
        "ended",
        "scope",
    )

    def __init__(self, watcher: Any, server: Server) -> None:
        self._watcher = watcher
        self._proto = watcher.proto
        self._server = server
        self._pending: Any = None  # a piece of the body that was asked for
        self._kept: deque[dict[str, Any]] | None = None  # those that came and were not read
        self.scope: dict[str, Any] = watcher.scope
        self.body: Input | None = None
        """What reads the request's body, if it has one."""
        self.begun = False
        """Whether something of a response has been handed over."""
        self.ended = False
        """Whether all of it has."""

    def receive(self, timeout: float) -> tuple[bytes, bool] | None:
        """Wait for the next piece of the body; returns it, and whether there may be more. None: the body is broken.

        Raises TimeoutError; nothing more can be received then.
        """
        if self._proto is None:
            return None
        if self._kept:
            message = self._kept.popleft()
        else:
            pending, self._pending = self._pending or self._proto.receive(), None
            message = _result(pending, timeout)
        return (message["body"], message["more_body"]) if message["type"] == "http.request" else None

    def response_bytes(self, status: int, headers: Headers, body: bytes) -> None:
        """Answer at once."""
        self._head(status, headers)
        self.ended = True
        self._proto.send({"type": "http.response.body", "body": body})

    def response_write(self, status: int, headers: Headers, piece: bytes) -> None:
        """Send the next piece, behind the head where it is the first; raises Gone where nobody takes it."""
        if not self.begun:
            self._head(status, headers)
            self._pace = Pace(self._server.write_timeout)
            self._kept = deque()
            self._look_at = time.monotonic() + LOOK_EVERY
        else:
            self._look()
        future = self._proto.send({"type": "http.response.body", "body": piece, "more_body": True})
        if hasattr(future, "add_done_callback"):
            self._wait(future, len(piece))

    def response_iter(self, status: int, headers: Headers, body: Any) -> None:
        """Send what `body` yields, and close it; what it raises is raised, and Gone where nobody takes it."""
        step = body.__next__
        try:
            if not self.begun:
                self.response_write(status, headers, b"")
            while True:
                self.response_write(status, headers, step())
        except StopIteration:
            self.ended = True
            self._proto.send({"type": "http.response.body", "body": b""})
        finally:
            body.close()

    def break_off(self) -> None:
        """End a response that has begun so that no client can take it for whole."""
        self.ended = True
        if self._closes:
            self._server.connections.reset(self.scope["client"], False)
        self._watcher.done()

    def let_go(self) -> None:
        """Drop all that is granian's; others may keep us, as the traceback of an error does.

        hyper closes a connection of which nobody can read the rest, but looks only when something comes: where nothing does, we
        let it find the end. Only there: an end that follows a whole request would cost the response.
        """
        body, self.body = self.body, None
        if body is not None:
            self._watcher.done()
            if body.stalled:
                self._server.connections.hang_up(self.scope["client"])
        self._watcher = self._proto = self._pending = None

    def _head(self, status: int, headers: Headers) -> None:
        self.begun = True
        # Whether the end of the connection is the end of the body.
        self._closes = self.scope["http_version"] == "1" and not any(
            name.lower() == "content-length" for name, _ in headers
        )
        sent = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        self._proto.send({"type": "http.response.start", "status": status, "headers": sent})

    def _wait(self, future: Any, count: int) -> None:
        began = time.monotonic()
        try:
            _result(future, self._pace.left)
        except TimeoutError:
            # The error that breaks it off would wait behind what the client does not take.
            self._server.connections.reset(self.scope["client"], True)
            raise Gone("the client did not take the response in its time") from None
        self._pace.moved(count, time.monotonic() - began)

    def _look(self) -> None:
        """See whether the client has left: that is received in the place of the body, or behind it.

        What comes of the body meanwhile is kept for who reads it; one piece for each look, and the more there are the rarer.
        """
        now = time.monotonic()
        kept = self._kept
        if kept is None or now < self._look_at:
            return
        self._look_at = now + LOOK_EVERY * (1 + len(kept))
        if self._pending is None:
            self._pending = self._proto.receive()
            self._pending.add_done_callback(_nothing)  # so that the thread that brings it is known
        elif self._pending.done():
            message = self._pending.result()
            if message["type"] != "http.request":
                raise Gone("the client has left")
            kept.append(message)
            self._pending = None


def _nothing(_: Any) -> None:
    pass
