"""granian's HTTP server, written in Rust, in our own process and on our own listeners; how it is started: `granian_private`.

What it does not offer is done from outside, in this order at a stop:

- **Deaf.** What it accepts from is made deaf: `ears`.
- **Seen.** It tells nothing about its connections. `Sightings` finds them among our descriptors; `reports_changes` is
  False, so the owner looks again. What is in the application is counted where granian calls it.
- **The end.** granian closes idle connections by itself, but leaves one with half a head alone until its timeout. We hang up on
  those: where nothing is in the application, and twice in a row a connection has nothing unsent and nothing was sent in
  between, no response is under way.
- **Gone.** When it has said that it is done, its threads are still ending, and some take the GIL once more for that. Where the
  interpreter ends meanwhile, Python ends such a thread beneath Rust's frames, and the process with it, in a panic.
"""

import logging
import socket
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from flaskd.engines.granian_engine import native_threads, private
from flaskd.engines.granian_engine.body import Lingering
from flaskd.engines.granian_engine.certificate import check_certificate
from flaskd.engines.granian_engine.connections import Sightings
from flaskd.engines.granian_engine.exchange import Server
from flaskd.engines.granian_engine.listener_copies import Ears
from flaskd.engines.granian_engine.reception import reception
from flaskd.engines.granian_engine.turns import Turns
from flaskd.engines.granian_engine.wsgi import Traffic, gateway
from flaskd.engines.protocol import Activity, Options
from flaskd.engines.shared.acceptor import max_connections
from flaskd.http.environ import server_environ
from flaskd.listening.listeners import prepare
from flaskd.process import forks

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

UNIX_CLIENT: Final = {"REMOTE_ADDR": "", "REMOTE_PORT": ""}
"""The client of requests that come over a Unix socket."""

SETTLE: Final = 0.05  # seconds between two looks at the same connection, at the end
LOST_WORD: Final = 1.0  # seconds that granian gets to say that it is done once nothing is open
THREADS_TIME: Final = 0.5  # seconds that its threads get to end after that

log = logging.getLogger("flaskd.http")


class GranianEngine:
    """See `flaskd.engines.Engine`. At most `threads` requests are in the application at a time.

    A connection that stays silent for `head_timeout` seconds before its request head is complete is closed, also one that is
    kept alive. `close_idle` does nothing: silent connections hold no thread, and from outside they look like any other.
    """

    name = "granian"
    reports_changes = False

    def __init__(self, options: Options) -> None:
        self.version = private.probe()
        if options.tls is not None:
            check_certificate(options.tls.certificate)
        self._options = options
        self._threads = options.threads
        self._ears: Ears | None = None
        self._ends: list[Callable[[], None]] = []
        self._sightings = Sightings([])
        self._traffic = Traffic(Lingering(options.threads // 2))
        self._turns = Turns(options.threads)
        self._lock = threading.Lock()  # protects _left
        self._not_ours: set[int] = set()  # threads that were there before granian's
        self._left = 0  # workers that have not said that they are done
        self._stopping = False
        self._said_done = threading.Event()
        self._done = threading.Event()
        self._on_change: Callable[[], None] = lambda: None

    def serve(
        self, app: "WSGIApplication", listeners: Sequence[socket.socket], *, on_change: Callable[[], None]
    ) -> None:
        """Begin to accept on `listeners`, with one worker for each."""
        self._on_change = on_change
        self._sightings = Sightings(listeners)
        self._ears = Ears(listeners)
        forks.close_in_children(self)
        try:
            self._begin(app, listeners, self._ears)
        except BaseException:
            self.stop()
            raise

    def descriptors(self) -> list[int]:
        """Name, for `forks`, granian's duplicates of the listeners, as long as they are listeners."""
        return [] if self._ears is None else self._ears.descriptors()

    def activity(self) -> Activity:
        """Count what is open now; until granian has ended, a stop counts at least one."""
        connections = len(self._sightings.look())
        ending = self._stopping and not self._done.is_set()
        return Activity(max(connections, ending), len(self._traffic.running))

    def set_keepalive(self, *, enabled: bool) -> None:
        """Let each response say `Connection: close`, or no longer."""
        self._traffic.closing = not enabled

    def stop_accepting(self) -> None:
        """Put a deaf socket in the place of each of granian's listeners."""
        if self._ears is not None:
            self._ears.stop_accepting()

    def close_idle(self, older_than: float) -> None:
        """Do nothing: what waits for a request head cannot be told from what waits for its response."""

    def stop(self) -> None:
        """Let granian close what is idle and write out the rest, and hang up on what has sent half a head."""
        self.stop_accepting()
        if self._stopping or not self._ends:
            return
        self._stopping = True
        for end in self._ends:
            end()
        threading.Thread(target=self._see_out, name="flaskd-granian-end", daemon=True).start()

    def abort(self) -> int:
        """Close each connection; a thread that is in the application goes on until it wants to write.

        Counted are requests in the application and responses unfinished; where all threads are taken, every connection, as
        each may hold a request that waits for one.
        """
        busy = len(self._traffic.running)
        unfinished = busy + self._sightings.unsent()
        count = self._sightings.shut(socket.SHUT_RDWR)
        for end in self._ends:
            end()
        self._stopping = True
        self._said_done.set()
        self._done.set()  # nobody waits for the rest
        return count if busy >= self._threads else min(count, unfinished)

    def _begin(self, app: "WSGIApplication", listeners: Sequence[socket.socket], ears: Ears) -> None:
        self._not_ours = native_threads.alive()
        for listener in listeners:
            unix = listener.family == socket.AF_UNIX
            prepare(listener, write_timeout=self._options.write_timeout)
            base = {
                **server_environ(
                    listener,
                    "granian",
                    multiprocess=self._options.multiprocess,
                    scheme="https" if self._options.tls else "http",
                ),
                "GATEWAY_INTERFACE": "CGI/1.1",
                **(UNIX_CLIENT if unix else {}),
            }
            call = gateway(app, base, self._traffic, body_timeout=self._options.body_timeout)
            end = private.begin(
                ears.lend(),
                reception(
                    call if self._options.late is None else self._options.late.around(call),
                    self._traffic,
                    self._turns,
                    Server(self._options.write_timeout, self._sightings),
                    max_head=self._options.max_head,
                ),
                unix=unix,
                backlog=self._options.backlog,
                threads=self._threads + 1,  # one is always free: see `Turns`
                connections=max_connections(self._threads) // len(listeners),
                head_timeout=self._options.head_timeout,
                max_head=self._options.max_head,
                tls=self._options.tls,
                on_thread=lambda: self._traffic.callers.caller,
                on_exhausted=ears.rest,
                on_end=self._ended,
            )
            self._left += 1
            self._ends.append(end)
        self._traffic.threads |= native_threads.started_since(self._not_ours)

    def _ended(self) -> None:
        """Note that one worker is done; called by granian, on a thread of its own."""
        self._traffic.threads.add(threading.get_native_id())
        with self._lock:
            self._left -= 1
            left = self._left
        if not left:
            self._said_done.set()

    def _see_out(self) -> None:
        """Hang up on what has nothing under way and does not end by itself, until granian is done."""
        before: dict[int, int] = {}
        empty_since: float | None = None
        while not self._said_done.wait(SETTLE):
            now = {} if self._traffic.running else self._sightings.still()
            self._sightings.shut(
                socket.SHUT_RD, {inode: sent for inode, sent in now.items() if before.get(inode) == sent}
            )
            before = now
            if self._traffic.running or self._sightings.look():
                empty_since = None
            elif empty_since is None:
                empty_since = time.monotonic()
            elif time.monotonic() - empty_since > LOST_WORD:
                log.debug("granian did not say that it is done")
                break
        ours = self._traffic.threads | (private.runtime_threads() - self._not_ours)
        native_threads.see_gone(ours, within=THREADS_TIME)
        self._done.set()
        self._on_change()
