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
from typing import Any, Final

from flaskd.engines.bodies import Pace
from flaskd.engines.granian_input import Input
from flaskd.engines.sightings import Sightings

Headers = list[tuple[str, str]]

WATCHED_AFTER: Final = 0.1
"""Seconds of streaming after which granian is asked to tell when the client leaves; before, that is not worth its cost."""


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


class Exchange:
    """One request and its response; `connections` has the connection itself, where granian has no word for what is to be done.

    Everything is for one thread at a time, and `response_bytes` for any, as long as nothing has begun.
    """

    __slots__ = (
        "_closes",
        "_connections",
        "_gone",
        "_pace",
        "_proto",
        "_since",
        "_watched",
        "_watcher",
        "begun",
        "body",
        "drawn",
        "ended",
        "scope",
    )

    def __init__(self, watcher: Any, *, write_timeout: float, connections: Sightings) -> None:
        self._watcher = watcher
        self._proto = watcher.proto
        self.scope: dict[str, Any] = watcher.scope
        self._pace = Pace(write_timeout)
        self._connections = connections
        self._closes = False  # whether the end of the connection is the end of the body
        self._since = 0.0
        self._watched = False
        self._gone = False
        self.body: Input | None = None
        """What reads the request's body, if it has one."""
        self.drawn = False
        """Whether there is no body, or it has been received to its end."""
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
        message = _result(self._proto.receive(), timeout)
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
            self._since = time.monotonic()
        elif not self._watched and self.drawn and time.monotonic() - self._since > WATCHED_AFTER:
            self._watched = True
            self._watch(None)
        if self._gone:
            raise Gone("the client has left")
        future = self._proto.send({"type": "http.response.body", "body": piece, "more_body": True})
        if hasattr(future, "add_done_callback"):
            self._wait(future, len(piece))

    def response_iter(self, status: int, headers: Headers, body: Any) -> None:
        """Send what `body` yields, and close it. Where it raises, or nobody takes it, the response is broken off."""
        step = body.__next__
        try:
            if not self.begun:
                self.response_write(status, headers, b"")
            while True:
                self.response_write(status, headers, step())
        except StopIteration:
            self.ended = True
            self._proto.send({"type": "http.response.body", "body": b""})
        except Gone:
            self.break_off()
        except BaseException:
            self.break_off()
            raise
        finally:
            body.close()

    def break_off(self) -> None:
        """End a response that has begun so that no client can take it for whole."""
        self.ended = True
        if self._closes:
            self._connections.reset(self.scope["client"], False)
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
                self._connections.hang_up(self.scope["client"])
        self._watcher = self._proto = None

    def _head(self, status: int, headers: Headers) -> None:
        self.begun = True
        if self.scope["http_version"] == "1":
            self._closes = not any(name.lower() == "content-length" for name, _ in headers)
        sent = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        self._proto.send({"type": "http.response.start", "status": status, "headers": sent})

    def _wait(self, future: Any, count: int) -> None:
        began = time.monotonic()
        try:
            _result(future, self._pace.left)
        except TimeoutError:
            # The error that breaks it off would wait behind what the client does not take.
            self._connections.reset(self.scope["client"], True)
            raise Gone("the client did not take the response in its time") from None
        self._pace.moved(count, time.monotonic() - began)

    def _watch(self, future: Any) -> None:
        """Ask to be told when the client leaves: that is what is received once the body has ended."""
        if future is not None and future.result()["type"] == "http.disconnect":
            self._gone = True
        elif self._proto is not None:
            self._proto.receive().add_done_callback(self._watch)
