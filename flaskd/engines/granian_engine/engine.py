"""granian's HTTP server, written in Rust, in our own process and on our own listeners; `private` has how it is started.

What granian does not offer is done from outside, in this order at a stop:

- **Accepting stops**: `listener_copies` disconnects what granian accepts from.
- **Connections are counted.** granian does not report them. `ConnectionFinder` finds them among our descriptors;
  `reports_changes` is False, so the owner polls `activity`. Requests are counted where granian calls the application.
- **Idle connections end.** granian closes them by itself, but leaves one with half a head alone until its timeout. We shut
  those down: if nothing is in the application, and twice in a row a connection has nothing unsent and nothing was sent in
  between, no response is under way.
- **Threads end.** After granian has reported that it is done, its threads are still ending, and some take the GIL once more for
  that. If the interpreter ends meanwhile, Python ends such a thread beneath Rust's frames, and the process with it, in a panic.
"""

import contextlib
import logging
import socket
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

import msgspec

from flaskd.engines.granian_engine import native_threads, private
from flaskd.engines.granian_engine.certificate import check_certificate
from flaskd.engines.granian_engine.connections import ConnectionCounter, ConnectionFinder
from flaskd.engines.granian_engine.dispatch import dispatcher
from flaskd.engines.granian_engine.listener_copies import ListenerCopies
from flaskd.engines.granian_engine.server import Server
from flaskd.engines.protocol import Activity, LiveOptions, Options
from flaskd.engines.shared.acceptor import max_connections
from flaskd.http.environ import server_environ
from flaskd.listening.listeners import prepare, prepare_again
from flaskd.process import forks

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

UNIX_CLIENT: Final = {"REMOTE_ADDR": "", "REMOTE_PORT": ""}
"""The client of requests that come over a Unix socket."""

POLL: Final = 0.05  # seconds between two looks at the same connection, at the end
DONE_TIMEOUT: Final = 1.0  # seconds that granian gets to report that it is done once nothing is open
EXIT_TIMEOUT: Final = 0.5  # seconds that its threads get to end after that

log = logging.getLogger("flaskd.http")


class GranianEngine:
    """See `flaskd.engines.protocol.Engine`. At most `threads` requests are in the application at a time.

    A connection that stays silent for `head_timeout` seconds before its request head is complete is closed, also one that is
    kept alive. `close_idle` does nothing: silent connections hold no thread, and from outside they look like any other.
    """

    name = "granian"
    reports_changes = False

    def __init__(self, options: Options) -> None:
        self.version = private.probed()
        if options.tls is not None:
            check_certificate(options.tls.certificate)
        self._options = options
        self._server = Server(options)
        self._copies: ListenerCopies | None = None
        self._ends: list[Callable[[], None]] = []
        self._other_threads: set[int] = set()  # those that were there before granian's
        self._lock = threading.Lock()  # protects _running_workers
        self._running_workers = 0  # those that have not reported that they are done
        self._stopping = False
        self._reported_done = threading.Event()
        self._done = threading.Event()
        self._on_change: Callable[[], None] = lambda: None
        self._listeners: Sequence[socket.socket] = ()

    def serve(
        self, app: "WSGIApplication", listeners: Sequence[socket.socket], *, on_change: Callable[[], None]
    ) -> None:
        """Begin to accept on `listeners`, with one worker for each."""
        self._on_change = on_change
        self._listeners = listeners
        self._server.connections = ConnectionFinder(listeners)
        self._copies = ListenerCopies(listeners)
        forks.close_in_children(self)
        self._other_threads = native_threads.alive()
        with contextlib.ExitStack() as undo:
            undo.callback(self.stop)
            for listener in listeners:
                self._ends.append(self._begin(app, listener, self._copies, len(listeners)))
            undo.pop_all()
        counter = ConnectionCounter(self._server.connections, self._copies.descriptors())
        self._server.counter = counter
        self._server.load_share.hint(counter.hint)
        self._server.load_share.on_surplus = self._copies.step_aside
        self._server.load_share.accepts(True)
        self._server.threads |= native_threads.started_since(self._other_threads)

    def change_options(self, options: LiveOptions) -> None:
        """Use other timeouts for bodies and responses; granian was told the rest at its start."""
        self._server.options = msgspec.structs.replace(
            self._server.options, body_timeout=options.body_timeout, write_timeout=options.write_timeout
        )
        self._server.queue.change_max_wait(options.max_queue_time)
        prepare_again(self._listeners, write_timeout=options.write_timeout)

    def descriptors(self) -> list[int]:
        """Return granian's duplicates of the listeners for `forks`, as long as they are listeners."""
        return [] if self._copies is None else self._copies.descriptors()

    def activity(self) -> Activity:
        """Count open connections; during a stop at least one, until granian has ended."""
        connections = len(self._server.connections.find())
        ending = self._stopping and not self._done.is_set()
        return Activity(max(connections, ending), len(self._server.running))

    def set_keepalive(self, *, enabled: bool) -> None:
        """Keep connections open after a response, or send `Connection: close` with each."""
        self._server.keepalive = enabled

    def stop_accepting(self) -> None:
        """Put a dummy socket in the place of each of granian's listeners."""
        self._server.load_share.accepts(False)
        if self._copies is not None:
            self._copies.stop_accepting()

    def close_idle(self, older_than: float) -> None:
        """Do nothing: from outside, a wait for a request head looks like a wait for a response."""

    def stop(self) -> None:
        """Let granian close idle connections, and the others after their responses; shut down those with half a head."""
        self.stop_accepting()
        if self._stopping or not self._ends:
            return
        self._stopping = True
        for end in self._ends:
            end()
        threading.Thread(target=self._wait_for_end, name="flaskd-granian-end", daemon=True).start()

    def abort(self) -> int:
        """Close each connection; a thread that is in the application goes on until it wants to write.

        Counted are requests in the application and responses unfinished; if all threads are taken, every connection, as each
        may hold a request that waits for one.
        """
        busy = len(self._server.running)
        unfinished = busy + self._server.connections.unsent()
        count = self._server.connections.shut(socket.SHUT_RDWR)
        for end in self._ends:
            end()
        self._stopping = True
        self._reported_done.set()
        self._done.set()  # nobody waits for the rest
        return count if busy >= self._options.threads else min(count, unfinished)

    def _begin(
        self, app: "WSGIApplication", listener: socket.socket, copies: ListenerCopies, listeners: int
    ) -> Callable[[], None]:
        """Serve on a listener; returns the function that ends it."""
        options, server = self._options, self._server
        unix = listener.family == socket.AF_UNIX
        prepare(listener, write_timeout=options.write_timeout)
        scheme = "https" if options.tls else "http"
        environ = {
            **server_environ(listener, "granian", multiprocess=options.multiprocess, scheme=scheme),
            "GATEWAY_INTERFACE": "CGI/1.1",
            **(UNIX_CLIENT if unix else {}),
        }
        end = private.begin(
            copies.duplicate(),
            dispatcher(app, environ, server),
            options,
            unix=unix,
            connections=max_connections(options.threads) // listeners,
            on_thread=lambda: server.caller_ids.caller,
            on_exhausted=copies.pause,
            on_end=self._ended,
        )
        self._running_workers += 1
        return end

    def _ended(self) -> None:
        """Note that one worker is done; called by granian, on a thread of its own."""
        self._server.threads.add(threading.get_native_id())
        with self._lock:
            self._running_workers -= 1
            if not self._running_workers:
                self._reported_done.set()

    def _wait_for_end(self) -> None:
        """Shut down connections that have nothing under way and do not end by themselves, until granian is done."""
        server = self._server
        before: dict[int, int] = {}
        empty_since: float | None = None
        while not self._reported_done.wait(POLL):
            now = {} if server.running else server.connections.quiet()
            idle = {inode: sent for inode, sent in now.items() if before.get(inode) == sent}
            server.connections.shut(socket.SHUT_RD, idle)
            before = now
            if server.running or server.connections.find():
                empty_since = None
            elif empty_since is None:
                empty_since = time.monotonic()
            elif time.monotonic() - empty_since > DONE_TIMEOUT:
                log.debug("granian did not report that it is done")
                break
        ours = server.threads | (private.runtime_threads() - self._other_threads)
        native_threads.wait_for_exit(ours, timeout=EXIT_TIMEOUT)
        self._done.set()
        self._on_change()
