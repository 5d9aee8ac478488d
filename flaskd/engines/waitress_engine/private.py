"""What of waitress we use that is waitress's own affair: all of it here, and in `waitress_request` its buffer.

waitress (Pylons) is a WSGI server in pure Python. Of it we use the *channel*: a connection with a queue of whole requests,
worked off by one thread at a time, and with an output buffer between that thread and the loop, which writes what a slow client
has not yet taken. Around it are our own loop (`waitress_engine`), a strict reading of requests (`waitress_request`), and the
framing of responses (`answering`).

What has to be known of waitress 3.0.2:

- `HTTPChannel` asks its server for `add_task`, `pull_trigger` and `active_channels`. Here a channel is its own server.
- `received` feeds `request`, an object of `parser_class`, and appends it to `requests` when it is `completed`, under
  `requests_lock`; the first one calls `add_task`. `service` takes one, on a thread.
- `write_soon`, on that thread, appends to `outbufs` under `outbuf_lock`, and waits on it while `total_outbufs_len` is above
  `outbuf_high_watermark`. It raises `ClientDisconnected` where `connected` is false.
- `_flush_some_if_lockable` sends from the loop and notifies. Both send with `send`, whose errors we note for the loop to see:
  waitress would close the socket on whichever thread it is.
- `close_when_flushed` asks for the end. `handle_close` lets go of buffers, socket and entries in the two maps.
"""

import contextlib
import functools
import importlib.metadata
import inspect
import selectors
import socket
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from waitress.adjustments import Adjustments
from waitress.channel import ClientDisconnected, HTTPChannel

from flaskd.engines.shared import answering, closing
from flaskd.engines.waitress_engine.request import Request
from flaskd.errors import ConfigError
from flaskd.http.bodies import Pace
from flaskd.http.late_answers import ANSWERED
from flaskd.http.syntax import Head, Refused
from flaskd.process import forks

if TYPE_CHECKING:
    from flaskd.engines.waitress_engine.front import Front

NAME: Final = "waitress"  # what a response says in Server
SUPPORTED: Final = "3.0"
READ: Final = selectors.EVENT_READ
RECEIVE: Final = 65_536  # bytes at a time

PRIVATE: Final = {
    "__init__": "self server sock addr adj map",
    "received": "self data",
    "write_soon": "self data",
    "readable": "self",
    "handle_close": "self",
    "send_continue": "self",
    "_flush_some_if_lockable": "self do_close",
    "_flush_outbufs_below_high_watermark": "self",
    "add_channel": "self map",
    "del_channel": "self map",
}
"""The channel's methods that we call or replace, and what they take."""


def probe() -> str:
    """Return waitress's version; raise ConfigError where it is not installed or its channel is not as written here."""
    try:
        version = importlib.metadata.version("waitress")
    except importlib.metadata.PackageNotFoundError:
        raise ConfigError("waitress is not installed", hint="pip install 'waitress>=3.0.2,<3.1'") from None
    for name, expected in PRIVATE.items():
        method = getattr(HTTPChannel, name, None)
        seen = " ".join(inspect.signature(method).parameters) if method else "nothing"
        if seen != expected or not version.startswith(f"{SUPPORTED}."):
            raise ConfigError(
                f"waitress {version} is not as known: HTTPChannel.{name} takes ({seen}), not ({expected})",
                hint="pip install 'waitress>=3.0.2,<3.1', or choose another --engine",
            )
    return version


ADJUSTMENTS: Final = Adjustments(log_socket_errors=False)
"""waitress's settings; `send_bytes` is 1, so that what a stream says goes out at once."""


class Output(answering.Transport):
    """A channel as the way of one response; `mine` is asked, before anything is sent, whether nobody else has answered."""

    def __init__(
        self, channel: "Channel", head: Head | None = None, mine: Callable[[], bool] | None = None
    ) -> None:
        self._channel = channel
        self._head = head
        self._mine = mine

    def may_keep(self) -> bool:
        """Tell whether the request allows it, and no stop is under way."""
        return self._head is not None and not (self._head.close or self._channel.front.engine.closing)

    def send(self, data: bytes) -> None:
        """Send, or keep for the loop what the kernel does not take; raises ClientLeft."""
        if self._mine is not None and not self._mine():
            raise answering.ClientLeft("it was answered meanwhile")
        self._channel.write_soon(data)


class Channel(HTTPChannel):  # type: ignore[misc]  # waitress has no types
    """One connection. The loop calls everything but `service` and `send`; those are for the thread that has its request."""

    # waitress's own
    socket: Any
    connected: bool
    request: Request | None
    requests: list[Request]
    close_when_flushed: bool
    sent_continue: bool
    total_outbufs_len: int
    current_outbuf_count: int
    outbuf_lock: threading.Condition
    requests_lock: threading.Lock

    def __init__(self, front: "Front", sock: "socket.socket", address: Any) -> None:
        self.front = front
        self.active_channels = front.engine.channels
        self.since = time.monotonic()  # when it was last waited for the head of a request
        self.interest = 0  # the events that the loop waits for
        self.lost = False  # the client has reset
        self.to_reset = False  # what was sent must not look complete
        self.discarding: float | None = None  # since when what the client still sends is read and thrown away
        self.unfinished = False  # a request was answered before it had come whole
        self._discarded = 0
        self._sent = 0  # bytes, ever
        self._writing: Pace | None = None
        self._looked = (0.0, 0)  # when, and `_sent` then
        super().__init__(None, sock, address, ADJUSTMENTS, map={})

    @property
    def server(self) -> "Channel":
        """Whoever waitress's channel calls its server."""
        return self

    @server.setter
    def server(self, server: object) -> None:
        """Pass over what waitress sets."""

    def parser_class(self, adjustments: object) -> Request:
        """Make the next request."""
        return Request(self.front.engine.options, self.front.engine.spool)

    def add_task(self, channel: "Channel") -> None:
        """Let a thread work off the next request."""
        self.front.engine.hand_over(self)

    def pull_trigger(self) -> None:
        """Let the loop look: there is more to send."""
        self.front.engine.touch(self)

    def busy(self) -> bool:
        """Tell whether a request is here whose head is complete, and whose response is not finished."""
        request = self.request
        return bool(self.requests) or (request is not None and request.headers_finished)

    def handle_read(self) -> None:
        """Take what has come."""
        try:
            data = self.socket.recv(RECEIVE)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data and self.request is not None and self.request.headers_finished:
            self._refuse(self.request, Refused(400, "The request's body is not complete"))
        elif not data:
            self.handle_close()
        elif self.discarding is not None:
            self._discarded += len(data)
            self.since = time.monotonic()
            if self._discarded > closing.BYTES:
                self.handle_close()
        else:
            now = time.monotonic()
            request = self.request
            if request is not None and request.headers_finished:
                request.pace.moved(len(data), now - request.since)
                request.since = now
            self.received(data)

    def handle_write(self) -> None:
        """Send what waits."""
        self._flush_some_if_lockable(do_close=False)

    def send(self, data: bytes, do_close: bool = True) -> int:
        """Send what the kernel takes; on the loop's thread or the request's, under `outbuf_lock`."""
        try:
            count: int = self.socket.send(data)
        except (BlockingIOError, InterruptedError):
            return 0
        except (OSError, AttributeError):  # the client has left; or we have closed
            self.lost = True
            self.connected = False
            self.front.engine.touch(self)
            return 0
        self._sent += count
        return count

    def write_soon(self, data: bytes) -> int:
        """Send, or keep for the loop what the kernel does not take; waits while that is too much."""
        with self.outbuf_lock:
            if self.connected and not self.total_outbufs_len:
                rest = memoryview(data)[self.send(data) :]
                if not rest:
                    return len(data)
                data = rest.tobytes()
            try:
                return int(super().write_soon(data))
            except ClientDisconnected as error:
                raise answering.ClientLeft from error

    def service(self) -> None:
        """Answer the first request of the queue."""
        request: Request = self.requests[0]
        depth = forks.depth
        close = not self.connected or self._answer(request)
        if forks.depth != depth:
            return  # a lock may have been another thread's when the application forked
        request.close()
        now = time.monotonic()
        with self.requests_lock:
            self.since = now
            if close:
                self.close_when_flushed = True
                for each in self.requests[1:]:
                    each.close()
                self.requests = []
            else:
                self.requests.pop(0)
                if self.requests:
                    self.add_task(self)
                elif self.request is not None and self.request.headers_finished:
                    self.request.since = now
                    if self.request.expect_continue and not self.sent_continue:
                        self.send_continue()
        # Where the client only has to send its next request, and the loop hears of that, it need not be woken.
        if close or self.total_outbufs_len or not self.interest & READ:
            self.front.engine.touch(self)
        self.front.engine.answered()

    def _answer(self, request: Request) -> bool:
        """Send the response; returns whether the connection ends with it."""
        head, front = request.head, self.front
        if request.error is not None or head is None:
            error = request.error or Refused(400, "This is not HTTP")
            self.unfinished = True
            with contextlib.suppress(answering.ClientLeft):
                self._respond(head).refuse(error.status, error.reason)
            return True
        environ = front.environ(request, self.addr)
        late = front.engine.options.late
        if late is None:
            response = self._respond(head, Output(self, head))
            answering.answer(front.engine.app, environ, response)
        else:
            with late.within(environ, functools.partial(self._answer_late, head)) as mine:
                response = self._respond(head, Output(self, head, mine))
                answering.answer(front.engine.app, environ, response)
        self.to_reset = response.reset and ANSWERED not in environ
        if self.current_outbuf_count:  # so that a buffer does not live, and grow, as long as its connection
            self.current_outbuf_count = ADJUSTMENTS.outbuf_high_watermark
        return response.close

    def _respond(self, head: Head | None, output: "Output | None" = None) -> answering.Response:
        """Make the response to a request; by itself one after which the connection ends."""
        return answering.Response(
            output or Output(self),
            method=head.method if head else "GET",
            version=head.version if head else "HTTP/1.1",
            server=NAME,
        )

    def _answer_late(self, head: Head, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        """Answer in the application's place, on any thread, and let the connection end."""
        response = self._respond(head)
        with contextlib.suppress(answering.ClientLeft):
            response.start(f"{status} {HTTPStatus(status).phrase}", headers)
            response.write(body, whole=True)
        self.close_when_flushed = True
        self.front.engine.touch(self)

    def readable(self) -> bool:
        """Tell whether the loop is to read: not while a request is answered, which bounds what one client can queue."""
        return self.discarding is not None or bool(super().readable())

    def expire(self, now: float, pause: float) -> float:
        """End what has had its time, with whatever is right for what it is; returns when to look again, `pause` at most."""
        options = self.front.engine.options
        if self.total_outbufs_len:
            return self._write_in_time(now, pause)
        self._writing = None
        if self.discarding is not None:
            end = min(self.since + closing.PAUSE, self.discarding + closing.TIME)
            if now >= end:
                self.handle_close()
            return end
        if self.requests:
            return now + options.head_timeout
        request = self.request
        if request is not None and request.headers_finished:
            end = request.since + float(request.pace.left)
            if now >= end:
                self._refuse(request, Refused(408, "The request's body did not come in time"))
            return end
        end = self.since + options.head_timeout
        if now >= end:
            self.end_idle()
        return end

    def end_idle(self) -> None:
        """Close, where no request has come: what has arrived meanwhile is answered first."""
        self.handle_read()
        if self.socket is not None and not self.busy() and not self.total_outbufs_len:
            self.finish()

    def finish(self) -> None:
        """Close when everything is sent; where the client still sends, only our side: a reset may overtake the response."""
        if self.to_reset:
            self.abort()
            return
        try:
            self.socket.shutdown(socket.SHUT_WR)
            unread = len(self.socket.recv(RECEIVE))
        except BlockingIOError:
            unread = int(self.unfinished)
        except OSError:
            unread = 0
        if unread:
            self.since = self.discarding = time.monotonic()
            self.close_when_flushed = False
        else:
            self.handle_close()

    def abort(self) -> None:
        """Reset the connection."""
        if self.socket is not None:
            closing.reset_when_closed(self.socket)
        self.handle_close()

    def handle_close(self) -> None:
        """Close the socket, while nobody sends on it: its number may be another's at once."""
        with self.outbuf_lock:
            if self.socket is None:
                return
            self.front.engine.left(self)
            super().handle_close()
        request, self.request = self.request, None
        if request is not None:
            request.close()

    def _refuse(self, request: Request, error: Refused) -> None:
        """Answer a request that has not come whole."""
        with self.requests_lock:
            request.refuse(error)
            self.request = None
            self.requests.append(request)
        self.add_task(self)

    def _write_in_time(self, now: float, pause: float) -> float:
        """Reset a connection whose client takes its response too slowly; returns when to look again."""
        looked, sent = self._looked
        self._looked = now, self._sent
        if self._writing is None:
            self._writing = Pace(self.front.engine.options.write_timeout)
        else:
            self._writing.moved(self._sent - sent, now - looked)
        if self._writing.left <= 0:
            self.abort()
        return now + pause
