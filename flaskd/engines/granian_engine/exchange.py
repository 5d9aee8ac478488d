"""A request that granian has read and the response to it, on granian's ASGI protocol object (granian 2.8, src/asgi/io.rs).

granian's WSGI protocol is not enough. It completes every response, even if the application failed halfway; its `read` does
not distinguish a body that broke off from a whole one, and waits without a bound; it shows neither the client's port nor the
bytes of a header, and takes no bytes either. ASGI's `receive` and `send` do all of that. They return futures, for which the
request's own thread waits: no event loop runs.

- `receive` returns the next piece of the body, or says that the client has left or has sent something malformed.
- `send` returns a future only if the client takes less than it is sent.
- `done` of what brought the request (a "watcher") breaks a response off: a streamed body then ends in an error, so that hyper
  closes the connection without a last chunk. If the object were only dropped, the body would end normally.
"""

import threading
import time
from typing import Any, Final

from flaskd.engines.granian_engine.body import Body
from flaskd.engines.granian_engine.server import Server
from flaskd.http.bodies import MinRateTimeout
from flaskd.http.failures import ClientLeft

Headers = list[tuple[str, str]]

CHECK_EVERY: Final = 0.1
"""Seconds of streaming between two checks whether the client has left: granian accepts data that nobody receives."""


def _result(future: Any, timeout: float) -> Any:
    """Wait for a future of granian's; raises TimeoutError."""
    done = threading.Lock()
    done.acquire()
    future.add_done_callback(lambda _: done.release())
    if not done.acquire(timeout=max(0.0, timeout)) and future.cancel():
        raise TimeoutError
    return future.result()


class Exchange:
    """One request and its response. For one thread at a time; `response_bytes` for any thread while no response has begun."""

    __slots__ = (
        "_check_at",
        "_closes",
        "_kept",
        "_pending",
        "_proto",
        "_server",
        "_timeout",
        "_watcher",
        "begun",
        "body",
        "ended",
        "scope",
    )

    def begin(self, watcher: Any, server: Server) -> None:
        """Set each attribute, once (see `take` in `dispatch`)."""
        self._watcher = watcher
        self._proto = watcher.proto
        self._server = server
        self._pending: Any = None  # a piece of the body that was asked for
        self._kept: list[dict[str, Any]] = []  # pieces that came and were not read
        self._closes = False  # whether the end of the connection is the end of the response's body
        self._timeout: MinRateTimeout | None = None  # for a client that has to be waited for
        self._check_at = 0.0  # when to check whether the client has left, monotonic
        self.scope: dict[str, Any] = watcher.scope
        self.body: Body | None = None
        """The reader of the request's body, if there is one."""
        self.begun = False
        """Whether part of a response has been handed over."""
        self.ended = False
        """Whether all of it has."""

    def receive(self, timeout: float) -> tuple[bytes, bool] | None:
        """Wait for the next piece of the body; returns it and whether there may be more, or None if the body is broken.

        After a TimeoutError, nothing more can be received.
        """
        if self._proto is None:
            return None
        if self._kept:
            message = self._kept.pop(0)
        else:
            pending, self._pending = self._pending or self._proto.receive(), None
            message = _result(pending, timeout)
        return (message["body"], message["more_body"]) if message["type"] == "http.request" else None

    def response_bytes(self, status: int, headers: Headers, body: bytes) -> None:
        """Send a whole response."""
        self.begun = True
        send = self._proto.send
        send({"type": "http.response.start", "status": status, "headers": _encoded(headers)})
        self.ended = True
        send({"type": "http.response.body", "body": body})

    def response_write(self, status: int, headers: Headers, piece: bytes) -> None:
        """Send the next piece, the head before the first one; raises ClientLeft."""
        if self.begun:
            self._check_client()
        else:
            self.begun = True
            self._closes = self.scope["http_version"] == "1" and not any(
                name.lower() == "content-length" for name, _ in headers
            )
            self._proto.send({"type": "http.response.start", "status": status, "headers": _encoded(headers)})
            self._check_at = time.monotonic() + CHECK_EVERY
        future = self._proto.send({"type": "http.response.body", "body": piece, "more_body": True})
        if hasattr(future, "add_done_callback"):
            self._wait(future, len(piece))

    def response_end(self) -> None:
        """End a response that was sent in pieces."""
        self.ended = True
        self._proto.send({"type": "http.response.body", "body": b""})

    def break_off(self) -> None:
        """End a response that has begun so that no client can take it for complete."""
        self.ended = True
        if self._closes:
            self._server.connections.reset(self.scope["client"], now=False)
        self._watcher.done()

    def release(self) -> None:
        """Drop everything of granian's; this object may live on, for example in the traceback of an error.

        hyper closes a connection if nobody can read the rest of its request, but only when something comes. If the client has
        stalled, we make it find the end. Not otherwise: an end that follows a whole request would cost the response.
        """
        body, self.body = self.body, None
        if body is not None:
            self._watcher.done()
            if body.stalled:
                self._server.connections.shut_reading(self.scope["client"])
        self._watcher = self._proto = self._pending = None

    def _wait(self, future: Any, count: int) -> None:
        timeout = self._timeout = self._timeout or MinRateTimeout(self._server.options.write_timeout)
        began = time.monotonic()
        try:
            _result(future, timeout.remaining)
        except TimeoutError:
            # The error that breaks it off would wait behind what the client does not take.
            self._server.connections.reset(self.scope["client"], now=True)
            raise ClientLeft("the client did not take the response in its time") from None
        timeout.transferred(count, time.monotonic() - began)

    def _check_client(self) -> None:
        """Raise ClientLeft if the client has left, which is received instead of the body's next piece, or after the last.

        Pieces of the body that come meanwhile are kept for the reader: one for each check. The more there are, the rarer the
        checks.
        """
        now = time.monotonic()
        if now < self._check_at:
            return
        self._check_at = now + CHECK_EVERY * (1 + len(self._kept))
        if self._pending is None:
            self._pending = self._proto.receive()
            self._pending.add_done_callback(_nothing)  # so that the thread that brings it is known
        elif self._pending.done():
            message = self._pending.result()
            if message["type"] != "http.request":
                raise ClientLeft("the client has left")
            self._kept.append(message)
            self._pending = None


def _encoded(headers: Headers) -> list[tuple[bytes, bytes]]:
    # A name is ASCII: see `check_start`.
    return [(name.encode(), value.encode("latin-1")) for name, value in headers]


def _nothing(_: Any) -> None:
    pass
