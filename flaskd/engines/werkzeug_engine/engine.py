"""An HTTP server with a thread for each connection, in the place of Werkzeug's, and with its `werkzeug.socket`.

Werkzeug's own server is for development. Its `serve_forever` wakes twice a second to look at a flag, starts threads without
bound and cannot stop accepting by itself; it takes half a request for a whole one, and its `wsgi.input` does not end with the
body. What applications see of it is kept: the environ, and the socket, on which simple-websocket speaks WebSocket.

One thread waits on {listeners, waker}. A connection goes to a pool of at most `threads` threads, started when first needed;
when all are busy, further connections wait in the kernel's accept queue. A connection has one request: there is no keep-alive.
The pool's threads are daemons, because a hung application must not keep the process alive. So nothing waits for them but
`activity`.
"""

import importlib.metadata
import logging
import platform
import selectors
import socket
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import msgspec

from flaskd.engines.protocol import Activity, LiveOptions, Options
from flaskd.engines.shared import closing
from flaskd.engines.shared.acceptor import Acceptor
from flaskd.engines.shared.kernel_queue import waited_in_kernel
from flaskd.engines.shared.load_share import LoadShare
from flaskd.engines.shared.pool import Pool
from flaskd.engines.shared.waker import Waker
from flaskd.engines.werkzeug_engine.connection import Connection, Server
from flaskd.http.environ import server_environ
from flaskd.listening.listeners import prepare, prepare_again
from flaskd.process import forks

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

log = logging.getLogger("flaskd.http")


class WerkzeugEngine:
    """See `flaskd.engines.protocol.Engine`. At most `threads` connections are open at a time.

    A connection whose request head, with the TLS handshake before it, takes more than `head_timeout` seconds is closed.
    """

    name = "werkzeug"
    reports_changes = True

    def __init__(self, options: Options) -> None:
        self.version = importlib.metadata.version("werkzeug")
        self._options = options
        self._pool = Pool(options.threads, self._handle, name="flaskd-http", waiting=options.waiting)
        self._lock = threading.Lock()  # protects _open, _full and each connection's socket
        self._open: set[Connection] = set()
        self._full = False
        self._selector = selectors.DefaultSelector()
        self._waker = Waker()
        self._load_share = options.load_share or LoadShare()
        self._acceptor = Acceptor(self._selector, self._waker, self._load_share)
        self._on_change: Callable[[], None] = lambda: None
        self._servers: list[Server] = []
        self._listeners: Sequence[socket.socket] = ()

    def serve(
        self, app: "WSGIApplication", listeners: Sequence[socket.socket], *, on_change: Callable[[], None]
    ) -> None:
        """Begin to accept on `listeners`."""
        options = self._options
        software = f"Werkzeug/{self.version}"
        name = f"{software} Python/{platform.python_version()}"
        scheme = "https" if options.tls else "http"
        self._on_change = on_change
        self._listeners = listeners
        forks.close_in_children(self)
        for listener in listeners:
            prepare(listener, write_timeout=options.write_timeout)
            environ = server_environ(listener, software, multiprocess=options.multiprocess, scheme=scheme)
            self._servers.append(Server(app, options, environ, name, self._lock))
            self._acceptor.add(listener, self._servers[-1])
        threading.Thread(target=self._accept_loop, name="flaskd-accept", daemon=True).start()

    def change_options(self, options: LiveOptions) -> None:
        """Use other options from the next connection on."""
        self._options = msgspec.structs.replace(self._options, **options._asdict())
        for server in self._servers:
            server.options = self._options
        prepare_again(self._listeners, write_timeout=options.write_timeout)
        self._pool.resize(options.threads)
        self._waker.wake()

    def descriptors(self) -> list[int]:
        """Return the open descriptors for `forks`: a child that unwinds through a request would end its parent's connection."""
        numbers = [connection.socket.fileno() for connection in list(self._open)]
        return [number for number in numbers if number >= 0]

    def activity(self) -> Activity:
        """Count open connections."""
        with self._lock:
            return Activity(len(self._open), sum(connection.busy for connection in self._open))

    def set_keepalive(self, *, enabled: bool) -> None:
        """Do nothing: no connection is kept."""

    def stop_accepting(self) -> None:
        """Stop accepting; returns when the accept loop has let go of the listeners."""
        self._acceptor.stop()
        self._acceptor.wait()

    def close_idle(self, older_than: float) -> None:
        """Close connections that have waited for a complete request head for more than `older_than` seconds."""
        limit = time.monotonic() - older_than
        with self._lock:
            for connection in self._open:
                if not connection.busy and connection.since <= limit:
                    # What has arrived can still be read and is answered; then the handler sees the end and closes.
                    closing.shut(connection.socket, socket.SHUT_RD)

    def stop(self) -> None:
        """Close idle connections, and the others after their responses."""
        self.stop_accepting()
        self.close_idle(0)
        self._pool.end()

    def abort(self) -> int:
        """Reset each connection; a thread that is in the application goes on until it wants to write."""
        with self._lock:
            busy = 0
            for connection in self._open:
                busy += connection.busy
                closing.reset_when_closed(connection.socket)
                closing.shut(connection.socket, socket.SHUT_RDWR)
        self._pool.end()
        return busy

    def _accept_loop(self) -> None:
        with self._selector, self._waker:
            self._selector.register(self._waker, selectors.EVENT_READ)
            while not self._acceptor.stopping:
                with self._lock:
                    self._full = len(self._open) >= self._options.threads
                retry_after = self._acceptor.listen(wanted=not self._full)
                for key, _ in self._selector.select(retry_after):
                    if key.data is self._acceptor:
                        self._acceptor.ring(key.fileobj)
                    else:
                        self._waker.clear()
                self._accept()
        self._acceptor.end()

    def _accept(self) -> None:
        """Accept the connections that wait, up to the bound on threads."""
        while not self._acceptor.stopping and len(self._open) < self._options.threads:
            try:
                accepted = self._acceptor.accept_next()
            except OSError as error:
                log.error("cannot accept a connection: %s", error)  # noqa: TRY400 - expected under EMFILE, no traceback
                self._acceptor.pause()
                break
            if accepted is None:
                break
            sock, address, server = accepted
            sock.setblocking(True)
            connection = Connection(sock, address, server)
            with self._lock:
                self._open.add(connection)
                self._load_share.loaded(len(self._open), 0)
            waited = waited_in_kernel(sock) if self._options.max_queue_time else 0.0
            self._pool.put(connection, waited=waited)
            self._on_change()

    def _handle(self, connection: Connection) -> None:
        depth = forks.depth
        connection.handle()
        if forks.depth != depth:
            return  # a lock may have been another thread's when the application forked
        with self._lock:
            self._open.discard(connection)
            full = self._full
            self._load_share.loaded(len(self._open), 0)
        if full:
            self._waker.wake()
        self._on_change()
