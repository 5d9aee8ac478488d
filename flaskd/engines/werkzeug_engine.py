"""Werkzeug's HTTP server with an accept loop of our own.

Werkzeug parses, calls the application and writes; we accept and own the threads, because its `serve_forever` wakes twice a
second to look at a flag, starts a thread for each connection without bound, and cannot be told to go deaf. Here one thread
waits on {listeners, wake descriptor}; a connection goes to a pool of at most `threads` handlers, started when first needed;
when all are taken, the rest waits in the kernel's accept queue. No keep-alive: Werkzeug answers one request a connection.
Handler threads are daemons (a hung application must not keep the process), so waiting for them is ours too: `activity`.

A connection that is closed while its client still sends is reset, and the reset may overtake the response (RFC 9112, section
9.6). So where the request has not been read to its end, its handler closes only its own side, and discards what comes until the
client closes too, or a bound is reached. Meanwhile the connection counts as open, but nothing is owed to it.
"""

import contextlib
import http.client
import importlib.metadata
import io
import logging
import queue
import selectors
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from werkzeug.serving import ThreadedWSGIServer, WSGIRequestHandler

from flaskd import forks
from flaskd.engines import MAX_HEAD, Activity
from flaskd.listeners import welcome
from flaskd.tls import Tls

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication, WSGIEnvironment

BLANK: Final = (b"\r\n", b"\n")
RESET: Final = struct.pack("ii", 1, 0)  # SO_LINGER on, 0 s: close() sends RST (socket(7))
NO_DESCRIPTOR_PAUSE: Final = 0.1  # seconds; accept(2) said EMFILE, a descriptor may come free at any time

# The lingering close, of a connection whose client may still be sending: Apache's pause, a third of its time.
LINGER_PAUSE: Final = 2.0  # seconds without a byte
LINGER_TIME: Final = 10.0  # seconds in all: a handler is taken for so long
LINGER_BYTES: Final = 64 * 1024 * 1024

log = logging.getLogger("flaskd.http")


class _Connection:
    """An accepted connection; `busy` from its complete request head to its response, `unread` where more may come then."""

    __slots__ = ("address", "busy", "front", "since", "socket", "unread")

    def __init__(self, sock: socket.socket, address: Any, front: "_Front") -> None:
        self.socket = sock
        self.address = address
        self.front = front
        self.since = time.monotonic()
        self.busy = False
        self.unread = False


class WerkzeugEngine:
    """See `flaskd.engines.Engine`. At most `threads` connections are open at a time.

    A connection that stays silent for `head_timeout` seconds before its request head is complete is closed.
    """

    name = "werkzeug"
    keep_alive = False
    tells = True

    def __init__(
        self, *, threads: int, head_timeout: float, max_head: int = MAX_HEAD, tls: Tls | None = None
    ) -> None:
        self.version = importlib.metadata.version("werkzeug")
        self.head_timeout = head_timeout
        self.max_head = max_head
        self.tls = tls
        self._threads = threads
        self._lock = threading.Lock()  # protects _open, _idle, _started, _paused and _ended
        self._open: set[_Connection] = set()
        self._idle = 0  # handlers without a connection; below 0, connections without a handler
        self._started = 0
        self._paused = False
        self._ended = False
        self._deaf = threading.Event()
        self._going_deaf = False
        self._waiting: queue.SimpleQueue[_Connection | None] = queue.SimpleQueue()
        self._fronts: list[_Front] = []
        self._wake_end, self._woken_end = socket.socketpair()
        self._woken_end.setblocking(False)
        self._wake_end.setblocking(False)
        self._on_change: Callable[[], None] = lambda: None

    def serve(
        self, app: "WSGIApplication", listeners: Sequence[socket.socket], *, on_change: Callable[[], None]
    ) -> None:
        """Begin to accept on `listeners`."""
        self._on_change = on_change
        forks.close_in_children(self)
        self._fronts = [_Front(self, listener, app) for listener in listeners]
        threading.Thread(target=self._accept_loop, name="flaskd-accept", daemon=True).start()

    def descriptors(self) -> list[int]:
        """Name, for `forks`, what is open: a child that unwinds through a handler would end its parent's connection."""
        return [
            connection.socket.fileno() for connection in list(self._open) if connection.socket.fileno() >= 0
        ]

    def activity(self) -> Activity:
        """Count what is open now."""
        with self._lock:
            return Activity(len(self._open), sum(connection.busy for connection in self._open))

    def deafen(self) -> None:
        """Stop accepting; returns when the accept loop has let go of the listeners."""
        self._going_deaf = True
        self._wake()
        self._deaf.wait()

    def reap(self, older_than: float) -> None:
        """Close connections without a complete request head that are older than `older_than` seconds."""
        limit = time.monotonic() - older_than
        with self._lock:
            for connection in self._open:
                if not connection.busy and connection.since <= limit:
                    # What has arrived can still be read and is answered; then the handler sees the end and closes.
                    _shut(connection.socket, socket.SHUT_RD)

    def stop(self) -> None:
        """Let Werkzeug's servers go, and the handlers when they have written what they have."""
        for front in self._fronts:
            front.shutdown()
        self.reap(0)
        self._end_pool()

    def cut(self) -> int:
        """Close each connection; a handler that is in the application goes on until it wants to write."""
        with self._lock:
            busy = 0
            for connection in self._open:
                busy += connection.busy
                with contextlib.suppress(OSError):  # a Unix socket has no linger, a closed one nothing
                    connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                _shut(connection.socket, socket.SHUT_RDWR)
        self._end_pool()
        return busy

    def secure(self, connection: _Connection, context: ssl.SSLContext) -> None:
        """Shake hands, on the handler's thread and in its time: in the accept loop one silent client would stop everybody."""
        connection.socket.settimeout(self.head_timeout)
        with self._lock:  # the descriptor moves to another object, which `reap` and `cut` have to find
            connection.socket = context.wrap_socket(
                connection.socket, server_side=True, do_handshake_on_connect=False
            )
        connection.socket.do_handshake()

    def see_off(self, connection: _Connection) -> None:
        """Close our side of a connection that is answered, and wait for the client's where it may still be sending."""
        connection.busy = False
        _say_goodbye(connection.socket)
        _shut(connection.socket, socket.SHUT_WR)
        if connection.unread:
            _discard(connection.socket)

    def _end_pool(self) -> None:
        with self._lock:
            if self._ended:
                return
            self._ended = True
            for _ in range(self._started):
                self._waiting.put(None)

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError, OSError):  # full: it is awake; closed: the loop has ended
            self._wake_end.send(b"\0")

    def _accept_loop(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._woken_end, selectors.EVENT_READ)
            listening = False
            pause: float | None = None
            while not self._going_deaf:
                with self._lock:
                    self._paused = len(self._open) >= self._threads or pause is not None
                    wanted = not self._paused
                if wanted != listening:
                    for front in self._fronts:
                        if wanted:
                            selector.register(front.socket, selectors.EVENT_READ, front)
                        else:
                            selector.unregister(front.socket)
                    listening = wanted
                ready = selector.select(pause)
                pause = None
                for key, _ in ready:
                    if key.data is None:
                        with contextlib.suppress(BlockingIOError):
                            self._woken_end.recv(4096)
                    elif not self._accept(key.data):
                        pause = NO_DESCRIPTOR_PAUSE
        self._deaf.set()
        self._wake_end.close()
        self._woken_end.close()

    def _accept(self, front: "_Front") -> bool:
        """Accept what waits, up to the bound on threads; returns False where the process is out of descriptors."""
        try:
            while not self._going_deaf:
                with self._lock:
                    if len(self._open) >= self._threads:
                        break
                sock, address = front.socket.accept()
                sock.setblocking(True)
                welcome(sock)
                self._hand_over(_Connection(sock, address, front))
        except (BlockingIOError, InterruptedError, ConnectionError):
            pass  # the queue is empty, or the client has left it
        except OSError as error:
            log.error("cannot accept a connection: %s", error)  # noqa: TRY400 - expected under EMFILE, no traceback
            return False
        self._on_change()
        return True

    def _hand_over(self, connection: _Connection) -> None:
        with self._lock:
            self._open.add(connection)
            fresh = 0
            if self._idle > 0:
                self._idle -= 1
            else:
                self._started += 1
                fresh = self._started
        self._waiting.put(connection)
        if fresh:
            try:
                threading.Thread(target=self._handle_all, name=f"flaskd-http-{fresh}", daemon=True).start()
            except RuntimeError as error:  # the system has no thread for us: the next free handler takes it
                log.error("cannot start a thread: %s", error)  # noqa: TRY400 - expected under a limit, no traceback
                with self._lock:
                    self._started -= 1
                    self._idle -= 1

    def _handle_all(self) -> None:
        while (connection := self._waiting.get()) is not None:
            goes_on = False
            try:
                connection.front.answer(connection)
                goes_on = True
            finally:  # where the application raises SystemExit, the thread ends: then it is not one that waits
                with self._lock:
                    self._open.discard(connection)
                    self._idle += goes_on
                    self._started -= not goes_on
                    paused = self._paused
                    ended = self._ended
                if paused:
                    self._wake()
                self._on_change()
            if ended:
                break


class _Front(ThreadedWSGIServer):
    """Werkzeug's server object for one listener: it has the application and answers; the engine accepts."""

    def __init__(self, engine: WerkzeugEngine, listener: socket.socket, app: "WSGIApplication") -> None:
        unix = listener.family == socket.AF_UNIX
        host, port = ("unix://", 0) if unix else listener.getsockname()[:2]
        super().__init__(host, port, app, handler=_Handler, fd=listener.fileno())
        self.socket.close()  # a duplicate that nothing would close in a forked child
        self.socket = listener
        if unix:
            self.server_address = (
                "localhost",
                80,
            )  # for SERVER_NAME and SERVER_PORT; clients send their own Host
        self.engine = engine
        self.ssl_context = engine.tls.context if engine.tls else None  # what Werkzeug tells the scheme from

    def answer(self, connection: _Connection) -> None:
        """Handle one connection from its first byte to its close."""
        try:
            if self.ssl_context is not None:
                self.engine.secure(connection, self.ssl_context)
            _Handler(connection, connection.address, self)
        except OSError as error:  # no handshake, or a client that left
            log.debug("a connection failed: %s", error)
        except Exception:  # the thread's outer edge: one connection must not take a handler with it
            log.exception("a connection failed")
        finally:
            self.engine.see_off(connection)
            self.close_request(connection.socket)

    def shutdown(self) -> None:
        """Let the accept loop end; Werkzeug's own would wait for a loop that never ran."""
        self.engine.deafen()


class _Handler(WSGIRequestHandler):
    """Werkzeug's handler that tells when its request head is complete, and serves no half one."""

    server: _Front

    def __init__(self, connection: _Connection, address: Any, front: _Front) -> None:
        self.flaskd = connection
        super().__init__(connection.socket, address, front)

    def setup(self) -> None:
        super().setup()
        self._raw = _Counted(self.connection)
        self.rfile = io.BufferedReader(self._raw)
        self.connection.settimeout(self.server.engine.head_timeout)

    def parse_request(self) -> bool:
        # http.client reads a head up to a blank line *or the end of the stream*: a client that went away, or was reaped, in
        # the middle of its head would have half a request carried out.
        if not self.raw_requestline.endswith(b"\n"):
            self.close_connection = True
            return False
        body = self.rfile
        head = _Head(body, len(self.raw_requestline), self.server.engine.max_head)
        self.rfile = head  # type: ignore[assignment]  # only readline is asked of it
        try:
            parsed = super().parse_request()
        finally:
            self.rfile = body
        if not parsed:
            return False
        if head.last not in BLANK:
            self.close_connection = True
            return False
        self._body_begins = head.size
        self.flaskd.busy = True
        self.connection.settimeout(None)
        return True

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        self.flaskd.unread = True  # it was refused before it was read
        super().send_error(code, message, explain)

    def handle_expect_100(self) -> bool:
        return True  # Werkzeug answers it, too, and once is enough

    def make_environ(self) -> "WSGIEnvironment":
        environ = super().make_environ()
        self.rfile = _Leftover(self.rfile)  # type: ignore[assignment]  # the application keeps the stream itself
        return environ

    def run_wsgi(self) -> None:
        try:
            super().run_wsgi()
        finally:
            self.flaskd.unread = self._may_send()

    def _may_send(self) -> bool:
        """Tell whether some of the request's body has not been received; of a chunked one it is not known."""
        if self.headers.get("Transfer-Encoding"):
            return True
        length = self.headers.get("Content-Length", "0").strip()
        return not length.isdecimal() or self._raw.received < self._body_begins + int(length)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        pass  # the ledger writes the access log, for every engine alike

    def log_error(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        log.debug(format, *args)


class _Counted(socket.SocketIO):
    """Reads a socket and counts what it has received."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock, "r")
        self.received = 0

    def readinto(self, buffer: Any) -> int | None:
        count = super().readinto(buffer)
        self.received += count or 0
        return count


class _Head:
    """Passes `readline` through, remembers the last line, and ends a head that is larger than `limit` bytes."""

    def __init__(self, stream: Any, size: int, limit: int) -> None:
        self._stream = stream
        self._limit = limit
        self.size = size
        self.last = b""

    def readline(self, limit: int = -1) -> bytes:
        self.last = self._stream.readline(limit)
        self.size += len(self.last)
        if self.size > self._limit:
            raise http.client.HTTPException(f"The request head is larger than {self._limit} bytes")
        return self.last


class _Leftover:
    """Takes from Werkzeug what it would read after the response: the lingering close does so, when the response is closed.

    It asks for 10 MB at once, which blocks until they have come or the client closes; and when the client has reset, what is
    raised keeps it from closing the application's response (werkzeug 3.1, serving.py, `execute`).
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def read(self, size: int) -> bytes:
        return b""

    def close(self) -> None:
        self._stream.close()


def _shut(sock: socket.socket, how: int) -> None:
    with contextlib.suppress(OSError):  # the client was quicker
        # Not SSLSocket's, which takes the encryption from under a handler that goes on writing.
        socket.socket.shutdown(sock, how)


def _say_goodbye(sock: socket.socket) -> None:
    """Send TLS's close_notify, without waiting for the client's (RFC 8446, section 6.1)."""
    if isinstance(sock, ssl.SSLSocket):
        with contextlib.suppress(OSError, ValueError):  # it has left, or never shook hands
            sock.setblocking(False)
            sock.unwrap()


def _discard(sock: socket.socket) -> None:
    """Read what the client still sends, encrypted or not, until it closes or a bound is reached."""
    deadline = time.monotonic() + LINGER_TIME
    left = LINGER_BYTES
    with contextlib.suppress(OSError):  # it was silent for too long, or has reset
        while left > 0 and (wait := deadline - time.monotonic()) > 0:
            sock.settimeout(min(wait, LINGER_PAUSE))
            if not (got := len(socket.socket.recv(sock, 65536))):
                return
            left -= got
