"""Werkzeug's HTTP server with an accept loop and input and output of our own.

Werkzeug makes the environ; reading and writing are ours (`werkzeug_handler`), and so are accepting and the threads, because
Werkzeug's `serve_forever` wakes twice a second to look at a flag, starts a thread for each connection without bound, and
cannot be told to go deaf. Here one thread waits on {listeners, wake descriptor}; a connection goes to a pool of at most
`threads` handlers, started when first needed; when all are taken, the rest waits in the kernel's accept queue. One request a
connection: there is no keep-alive. Handler threads are daemons (a hung application must not keep the process), so waiting for
them is ours too: `activity`.
"""

import contextlib
import importlib.metadata
import logging
import selectors
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from flaskd.engines.protocol import Activity, Options
from flaskd.engines.shared import closing as goodbye
from flaskd.engines.shared.pool import Pool
from flaskd.engines.werkzeug_engine.front import Front
from flaskd.engines.werkzeug_engine.handler import Connection
from flaskd.listening.listeners import welcome
from flaskd.process import forks

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

NO_DESCRIPTOR_PAUSE: Final = 0.1  # seconds; accept(2) said EMFILE, a descriptor may come free at any time

log = logging.getLogger("flaskd.http")


class WerkzeugEngine:
    """See `flaskd.engines.Engine`. At most `threads` connections are open at a time.

    A connection whose request head, with the TLS handshake before it, takes more than `head_timeout` seconds is closed.
    """

    name = "werkzeug"
    reports_changes = True

    def __init__(self, options: Options) -> None:
        self.version = importlib.metadata.version("werkzeug")
        self.options = options
        self._threads = options.threads
        self._pool = Pool(options.threads, self._handle, name="flaskd-http")
        self._lock = threading.Lock()  # protects _open and _paused
        self._open: set[Connection] = set()
        self._paused = False
        self._deaf = threading.Event()
        self._going_deaf = False
        self._fronts: list[Front] = []
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
        self._fronts = [Front(self, listener, app) for listener in listeners]
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

    def set_keepalive(self, *, enabled: bool) -> None:
        """Do nothing: each response says so."""

    def stop_accepting(self) -> None:
        """Stop accepting; returns when the accept loop has let go of the listeners."""
        self._going_deaf = True
        self._wake()
        self._deaf.wait()

    def close_idle(self, older_than: float) -> None:
        """Close connections without a complete request head that are older than `older_than` seconds."""
        limit = time.monotonic() - older_than
        with self._lock:
            for connection in self._open:
                if not connection.busy and connection.since <= limit:
                    # What has arrived can still be read and is answered; then the handler sees the end and closes.
                    goodbye.shut(connection.socket, socket.SHUT_RD)

    def stop(self) -> None:
        """Let Werkzeug's servers go, and the handlers when they have written what they have."""
        for front in self._fronts:
            front.shutdown()
        self.close_idle(0)
        self._pool.end()

    def abort(self) -> int:
        """Close each connection; a handler that is in the application goes on until it wants to write."""
        with self._lock:
            busy = 0
            for connection in self._open:
                busy += connection.busy
                goodbye.reset_when_closed(connection.socket)
                goodbye.shut(connection.socket, socket.SHUT_RDWR)
        self._pool.end()
        return busy

    def secure(self, connection: Connection, context: ssl.SSLContext) -> None:
        """Prepare for TLS. The handshake is the handler's: in the accept loop one silent client would stop everybody."""
        with (
            self._lock
        ):  # the descriptor moves to another object, which `close_idle` and `abort` have to find
            connection.socket = context.wrap_socket(
                connection.socket, server_side=True, do_handshake_on_connect=False
            )

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

    def _accept(self, front: Front) -> bool:
        """Accept what waits, up to the bound on threads; returns False where the process is out of descriptors."""
        try:
            while not self._going_deaf:
                with self._lock:
                    if len(self._open) >= self._threads:
                        break
                sock, address = front.socket.accept()
                sock.setblocking(True)
                welcome(sock)
                connection = Connection(sock, address, front)
                with self._lock:
                    self._open.add(connection)
                self._pool.put(connection)
        except (BlockingIOError, InterruptedError, ConnectionError):
            pass  # the queue is empty, or the client has left it
        except OSError as error:
            log.error("cannot accept a connection: %s", error)  # noqa: TRY400 - expected under EMFILE, no traceback
            return False
        self._on_change()
        return True

    def _handle(self, connection: Connection) -> None:
        depth = forks.depth
        connection.front.answer(connection)
        if forks.depth != depth:
            return  # a lock may have been another thread's when the application forked
        with self._lock:
            self._open.discard(connection)
            paused = self._paused
        if paused:
            self._wake()
        self._on_change()
