"""One connection of the waitress engine: waitress's channel with an orderly close, and with errors left to the loop."""

import enum
import selectors
import socket
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from waitress.channel import ClientDisconnected, HTTPChannel

from flaskd.engines.protocol import Options
from flaskd.engines.shared import closing
from flaskd.engines.shared.load_share import LoadShare
from flaskd.engines.waitress_engine.private import ADJUSTMENTS
from flaskd.engines.waitress_engine.request import Request, Spool
from flaskd.http.bodies import MinRateTimeout
from flaskd.http.failures import ClientLeft
from flaskd.http.syntax import Refused

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication, WSGIEnvironment

READ: Final = selectors.EVENT_READ
RECEIVE: Final = 65_536  # bytes at a time


class Ending(enum.Enum):
    """How a connection ends once everything was sent."""

    CLOSE = enum.auto()
    LINGER = enum.auto()  # the request has not come whole, so its client may still send
    RESET = enum.auto()  # the response must not look complete


class Server(NamedTuple):
    """What the connections to one listener share."""

    app: "WSGIApplication"
    environ: "WSGIEnvironment"


class Loop(Protocol):
    """What a channel needs of the event loop that it is in."""

    options: Options
    spool: Spool
    channels: "dict[int, Channel]"
    keepalive: bool
    crowded: bool
    load_share: LoadShare
    on_change: Callable[[], None]

    def answer(self, channel: "Channel") -> None:
        """Have a thread answer the channel's first request."""

    def load(self) -> tuple[int, int]:
        """Count open connections and requests; from any thread."""

    def request_ended(self) -> None:
        """Note that a request is answered, on the thread that has answered it and is about to be free."""

    def update_soon(self, channel: "Channel") -> None:
        """Have the loop look at a channel; from any thread."""

    def remove(self, channel: "Channel") -> None:
        """Take a channel that is about to close out of the loop."""


class Channel(HTTPChannel):  # type: ignore[misc]  # waitress has no types
    """One connection. All methods are for the loop's thread, but those that say so are for the thread that has its request."""

    # waitress's own
    socket: Any
    addr: Any
    connected: bool
    request: Request | None
    requests: list[Request]
    close_when_flushed: bool
    sent_continue: bool
    total_outbufs_len: int
    current_outbuf_count: int
    outbuf_lock: threading.Condition
    requests_lock: threading.Lock

    def __init__(self, loop: Loop, sock: "socket.socket", address: Any, shared: Server) -> None:
        self.active_channels = loop.channels
        self.loop = loop
        self.shared = shared
        self.since = time.monotonic()  # when it began to wait for the head of a request
        self.waited = 0.0  # seconds that its first request waited before the connection was accepted
        self.events = 0  # the events that the loop waits for
        self.ending = Ending.CLOSE
        self.lingering: float | None = None  # since when what the client still sends is discarded
        self._discarded = 0
        self.sent = 0  # bytes, ever
        self.write_timeout: MinRateTimeout | None = None  # while a response waits to be taken
        self.write_checked = (0.0, 0)  # when, and `sent` then
        super().__init__(None, sock, address, ADJUSTMENTS, map={})

    @property
    def server(self) -> "Channel":
        """What waitress's channel calls its server."""
        return self

    @server.setter
    def server(self, server: object) -> None:
        """Ignore what waitress sets."""

    def parser_class(self, adjustments: object) -> Request:
        """Make the next request."""
        return Request(self.loop.options, self.loop.spool)

    def add_task(self, channel: "Channel") -> None:
        """Have a thread answer the first request."""
        self.loop.answer(self)

    def pull_trigger(self) -> None:
        """Wake the loop: there is more to send."""
        self.loop.update_soon(self)

    def busy(self) -> bool:
        """Tell whether there is a request whose head is complete and whose response is not finished."""
        return bool(self.requests) or self.receiving_body() is not None

    def more_has_come(self) -> bool:
        """Tell whether the client has sent more than the request that is answered, on that request's thread."""
        with self.requests_lock:  # the loop has it while it looks at what it has received
            if len(self.requests) > 1 or self.request is not None:
                return True
        try:
            return bool(self.socket.recv(1, socket.MSG_PEEK))
        except (OSError, AttributeError):  # nothing; the client has left; or we have closed
            return False

    def receiving_body(self) -> Request | None:
        """Return the request whose body is still to come."""
        request = self.request
        return request if request is not None and request.headers_finished else None

    def handle_read(self) -> None:
        """Receive available bytes."""
        try:
            data = self.socket.recv(RECEIVE)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        request = self.receiving_body()
        if not data and request is not None:
            self.refuse(request, Refused(400, "The request's body is not complete"))
        elif not data:
            self.handle_close()
        elif self.lingering is not None:
            self._discarded += len(data)
            self.since = time.monotonic()
            if self._discarded > closing.LINGERING_BYTES:
                self.handle_close()
        else:
            if request is not None:
                now = time.monotonic()
                request.timeout.transferred(len(data), now - request.since)
                request.since = now
            self.received(data)

    def handle_write(self) -> None:
        """Send buffered bytes."""
        self._flush_some_if_lockable(do_close=False)

    def send(self, data: bytes, do_close: bool = True) -> int:
        """Send what the kernel takes; on the loop's thread or the request's, under `outbuf_lock`."""
        try:
            count: int = self.socket.send(data)
        except (BlockingIOError, InterruptedError):
            return 0
        except (OSError, AttributeError):  # the client has left; or we have closed
            self.connected = False
            self.loop.update_soon(self)
            return 0
        self.sent += count
        return count

    def write_soon(self, data: bytes) -> int:
        """Send, or buffer what the kernel does not take; waits while too much is buffered. On the request's thread."""
        lock = self.outbuf_lock
        lock.acquire()  # `with` calls two functions in Python
        try:
            if self.connected and not self.total_outbufs_len:
                sent = self.send(data)
                if sent == len(data):
                    return sent
                data = data[sent:]
            return int(super().write_soon(data))
        except ClientDisconnected as error:
            raise ClientLeft from error
        finally:
            lock.release()

    def answered(self, request: Request, *, close: bool) -> None:
        """Go on to the next request, or close; on the thread that has answered `request`."""
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
                following = self.receiving_body()
                if self.requests:
                    self.loop.answer(self)
                elif following is not None:
                    following.since = now
                    if following.expect_continue and not self.sent_continue:
                        self.send_continue()
        # If the client only has to send its next request, and the loop hears of that, it need not be woken.
        if close or self.total_outbufs_len or not self.events & READ or self.loop.crowded:
            self.loop.update_soon(self)
        self.loop.request_ended()

    def readable(self) -> bool:
        """Tell whether the loop is to read: not while a request is answered, which bounds what one client can queue."""
        return self.lingering is not None or bool(HTTPChannel.readable(self))

    def close_idle(self) -> None:
        """Close the connection if it waits for a request; one that has arrived meanwhile is answered first."""
        self.handle_read()
        if self.socket is not None and not self.busy() and not self.total_outbufs_len:
            self.finish()

    def finish(self) -> None:
        """Close once everything was sent; if the client still sends, only our side: a reset may overtake the response."""
        if self.ending is Ending.RESET:
            self.abort()
            return
        try:
            self.socket.shutdown(socket.SHUT_WR)
            unread = bool(self.socket.recv(RECEIVE))
        except BlockingIOError:
            unread = self.ending is Ending.LINGER
        except OSError:
            unread = False
        if unread:
            self.since = self.lingering = time.monotonic()
            self.close_when_flushed = False
        else:
            self.handle_close()

    def abort(self) -> None:
        """Reset the connection."""
        if self.socket is not None:
            closing.reset_when_closed(self.socket)
        self.handle_close()

    def handle_close(self) -> None:
        """Close the socket while no thread sends on it: its number may be another's at once."""
        with self.outbuf_lock:
            if self.socket is None:
                return
            self.loop.remove(self)
            super().handle_close()
        request, self.request = self.request, None
        if request is not None:
            request.close()

    def refuse(self, request: Request, error: Refused) -> None:
        """Answer a request that has not come whole."""
        with self.requests_lock:
            request.refuse(error)
            self.request = None
            self.requests.append(request)
        self.loop.answer(self)
