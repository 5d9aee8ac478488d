"""waitress's connections in a loop of our own: it reads requests whole and writes what slow clients leave, threads only answer.

The loop (`flaskd-accept`) waits on {listeners, connections, wake descriptor} with epoll or kqueue, and has no timeout while
nothing is open. It owns the connections: only it opens, closes and expires them. A thread that has answered a request wakes it
only where it has something to do. What a connection waits for is told to the kernel lazily: reading ends when something comes
that is not wanted yet, not with each request, so that a kept connection costs no system call for it.

At most `CONNECTIONS` are open. When there are more, the one that has waited longest for a request makes room, so that silent
clients keep nobody out. None is accepted while as many requests as there are threads wait for one: other workers may be free.
"""

import contextlib
import logging
import resource
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from flaskd.engines.protocol import Activity, Options
from flaskd.engines.shared.pool import Pool
from flaskd.engines.waitress_engine import private
from flaskd.engines.waitress_engine.front import Front
from flaskd.engines.waitress_engine.private import READ, Channel
from flaskd.engines.waitress_engine.request import Spool
from flaskd.listening.listeners import prepare, welcome
from flaskd.process import forks
from flaskd.process.descriptors import RESERVE

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

CONNECTIONS: Final = 1024
"""Connections at most, where the descriptors allow; the rest waits in the kernel's queue. An idle one costs no thread."""

PATIENCE: Final = 1.0
"""Seconds that a connection may wait for its request before it has to make room for another one."""

WRITE: Final = selectors.EVENT_WRITE
NO_DESCRIPTOR_PAUSE: Final = 0.1  # seconds; accept(2) said EMFILE, a descriptor may come free at any time
LONGEST_PAUSE: Final = 1.0  # seconds between two looks at how fast a client takes its response

log = logging.getLogger("flaskd.http")


class WaitressEngine:
    """See `flaskd.engines.Engine`. At most `threads` requests are in the application at a time."""

    name = "waitress"
    reports_changes = True

    def __init__(self, options: Options) -> None:
        self.version = private.probe()
        self.options = options
        self.spool = Spool(options.spool)
        self.channels: dict[int, Channel] = {}  # by descriptor
        self.closing = False
        self.app: WSGIApplication
        self._pool: Pool[Channel] = Pool(options.threads, Channel.service, name="flaskd-http")
        self._most = _bound(options.threads)
        times = (options.head_timeout, options.body_timeout, options.write_timeout)
        self._pause = min(LONGEST_PAUSE, *(each / 8 for each in times))
        self._fronts: list[Front] = []
        self._selector = selectors.DefaultSelector()
        self._touched: deque[Channel] = deque()
        self._orders: deque[Callable[[], None]] = deque()
        self._wake_end, self._woken_end = socket.socketpair()
        self._wake_end.setblocking(False)
        self._woken_end.setblocking(False)
        self._awake = False
        self._thread: threading.Thread | None = None
        self._listening = False
        self._deaf = threading.Event()
        self._going_deaf = False
        self._stopping = False
        self._accept_again = 0.0  # monotonic; after EMFILE
        self._look: float | None = None  # when the loop looks for what has had its time
        self._on_change: Callable[[], None] = lambda: None

    def serve(
        self, app: "WSGIApplication", listeners: Sequence[socket.socket], *, on_change: Callable[[], None]
    ) -> None:
        """Begin to accept on `listeners`."""
        self.app = app
        self._on_change = on_change
        for listener in listeners:
            prepare(listener, write_timeout=self.options.write_timeout)
        self._fronts = [Front(self, listener) for listener in listeners]
        self._selector.register(self._woken_end, READ, None)
        forks.close_in_children(self)
        self._thread = threading.Thread(target=self._run, name="flaskd-accept", daemon=True)
        self._thread.start()

    def descriptors(self) -> list[int]:
        """Name, for `forks`, what is open: a child that unwinds through a request would end its parent's connection."""
        return list(self.channels)

    def activity(self) -> Activity:
        """Count what is open now; not what has been answered and only lingers."""
        channels = [channel for channel in list(self.channels.values()) if channel.discarding is None]
        return Activity(len(channels), sum(channel.busy() for channel in channels))

    def set_keepalive(self, *, enabled: bool) -> None:
        """Let each response say `Connection: close`, or no longer."""
        self.closing = not enabled

    def stop_accepting(self) -> None:
        """Stop accepting; returns when the loop has let go of the listeners."""
        self._going_deaf = True
        if self._fronts:
            self._wake()
            self._deaf.wait()

    def close_idle(self, older_than: float) -> None:
        """Close connections that have waited for a complete request head for more than `older_than` seconds."""
        limit = time.monotonic() - older_than
        self._order(lambda: self._end_idle(limit))

    def stop(self) -> None:
        """Close what is idle, and the rest when it is written out."""
        self.stop_accepting()
        self._stopping = self.closing = True
        self._order(lambda: self._end_idle(time.monotonic()))

    def abort(self) -> int:
        """Reset each connection; a thread that is in the application goes on until it wants to write."""
        channels = [channel for channel in list(self.channels.values()) if channel.discarding is None]
        busy = sum(bool(channel.busy() or channel.total_outbufs_len) for channel in channels)
        self._going_deaf = self._stopping = True
        self._order(self._abort_all)
        if self._thread is not None:
            self._thread.join()
        return busy

    def hand_over(self, channel: Channel) -> None:
        """Let a thread answer the next request of a channel."""
        self._pool.put(channel)

    def touch(self, channel: Channel) -> None:
        """Let the loop look at a channel; from any thread."""
        self._touched.append(channel)
        self._wake()

    def answered(self) -> None:
        """Take note that a request has been answered."""
        self._on_change()

    def left(self, channel: Channel) -> None:
        """Take a channel, which is about to close, out of the loop."""
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(channel.socket)
        channel.interest = 0
        self.channels.pop(channel.socket.fileno(), None)
        self._on_change()

    def _order(self, order: Callable[[], None]) -> None:
        """Let the loop do it, before anything else."""
        self._orders.append(order)
        self._wake()

    def _wake(self) -> None:
        if not self._awake:
            self._awake = True
            with contextlib.suppress(OSError):  # full: it is awake; closed: the loop has ended
                self._wake_end.send(b"\0")

    def _run(self) -> None:
        try:
            while not (self._stopping and not self.channels):
                self._turn()
        finally:
            self._deaf.set()
            self._pool.end()
            self._selector.close()
            self._wake_end.close()
            self._woken_end.close()

    def _turn(self) -> None:
        """Wait for events, and deal with each."""
        self._listen_or_not()
        for key, events in self._selector.select(self._timeout()):
            thing = key.data
            if thing is None:
                with contextlib.suppress(BlockingIOError):
                    self._woken_end.recv(4096)
            elif isinstance(thing, Front):
                self._accept(thing)
            else:
                self._attend(thing, events)
        self._awake = False  # what is appended from now on wakes us again
        while self._orders:
            self._orders.popleft()()
        while self._touched:
            self._settle(self._touched.popleft())
        now = time.monotonic()
        if self._look is not None and now >= self._look:
            ends = [channel.expire(now, self._pause) for channel in list(self.channels.values())]
            for channel in list(self.channels.values()):
                self._settle(channel)
            self._look = max(min(ends), now + self._pause / 4) if ends else None

    def _timeout(self) -> float | None:
        if not self.channels:
            self._look = None
        ends = [end for end in (self._look, self._accept_again or None) if end is not None]
        return max(0.0, min(ends) - time.monotonic()) if ends else None

    def _look_by(self, end: float) -> None:
        self._look = end if self._look is None else min(self._look, end)

    def _listen_or_not(self) -> None:
        """Wait for new connections, or no longer: while there are too many, and for ever when deaf."""
        if self._accept_again and time.monotonic() >= self._accept_again:
            self._accept_again = 0.0
        wanted = not (self._going_deaf or self._accept_again or self._pool.waiting >= self.options.threads)
        if wanted != self._listening:
            for front in self._fronts:
                if wanted:
                    self._selector.register(front.listener, READ, front)
                else:
                    self._selector.unregister(front.listener)
            self._listening = wanted
        if self._going_deaf:
            self._deaf.set()

    def _accept(self, front: Front) -> None:
        if not self._listening or self._going_deaf:
            return
        if len(self.channels) >= self._most and not self._make_room():
            self._accept_again = time.monotonic() + NO_DESCRIPTOR_PAUSE
            return
        try:
            sock, address = front.listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionError):
            return  # another worker was quicker, or the client has left
        except OSError as error:
            log.error("cannot accept a connection: %s", error)  # noqa: TRY400 - expected under EMFILE, no traceback
            if not self._make_room():
                self._accept_again = time.monotonic() + NO_DESCRIPTOR_PAUSE
            return
        try:
            welcome(sock)
            channel = Channel(front, sock, address)
        except OSError:  # it has left already
            sock.close()
            return
        channel.interest = READ
        self._selector.register(sock, READ, channel)
        self._look_by(channel.since + self.options.head_timeout)
        self._on_change()

    def _make_room(self) -> bool:
        """Close the connection that has waited longest for a request; returns False where none has waited long."""
        waiting = [each for each in self.channels.values() if not each.busy() and not each.total_outbufs_len]
        oldest = min(waiting, key=lambda channel: channel.since, default=None)
        if oldest is None or time.monotonic() < oldest.since + PATIENCE:
            return False
        oldest.end_idle()
        return oldest.socket is None

    def _attend(self, channel: Channel, events: int) -> None:
        """Read and write."""
        try:
            if events & WRITE:
                channel.handle_write()
            if events & READ and channel.socket is not None:
                if channel.readable():
                    channel.handle_read()
                else:
                    self._wait_for(channel, channel.interest & ~READ)
        except Exception:  # the loop's edge: one connection must not end all others
            log.exception("a connection failed")
            channel.abort()
        self._settle(channel)

    def _settle(self, channel: Channel) -> None:
        """Close a channel that is finished, and wait for what the other ones need."""
        if channel.socket is None:
            return
        if channel.lost:
            channel.handle_close()
        elif channel.total_outbufs_len:
            if not channel.interest & WRITE:
                self._look_by(time.monotonic() + self._pause)
            self._wait_for(channel, channel.interest | WRITE)
        elif channel.close_when_flushed or (self._stopping and not channel.busy()):
            channel.finish()
            if channel.socket is not None:  # it discards what comes, and counts no more
                self._on_change()
                self._look_by(time.monotonic() + self._pause)
                self._wait_for(channel, READ)
        else:
            request = channel.request
            if request is not None and request.headers_finished:
                self._look_by(request.since + request.pace.left)
            # Looked at last: a thread that has just answered looks at `interest` after that.
            self._wait_for(channel, channel.interest & READ)
            if not channel.interest and channel.readable():
                self._wait_for(channel, READ)

    def _wait_for(self, channel: Channel, events: int) -> None:
        """Tell the kernel what to wait for."""
        before, channel.interest = channel.interest, events
        if events == before:
            return
        if not before:
            self._selector.register(channel.socket, events, channel)
        elif events:
            self._selector.modify(channel.socket, events, channel)
        else:
            self._selector.unregister(channel.socket)

    def _abort_all(self) -> None:
        for channel in list(self.channels.values()):
            channel.abort()

    def _end_idle(self, limit: float) -> None:
        """Close what has waited for a complete request head since `limit` or longer (monotonic)."""
        for channel in list(self.channels.values()):
            if not channel.busy() and channel.since <= limit and channel.discarding is None:
                if not channel.total_outbufs_len:
                    channel.end_idle()
                self._settle(channel)


def _bound(threads: int) -> int:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return CONNECTIONS if limit == resource.RLIM_INFINITY else max(threads, min(CONNECTIONS, limit - RESERVE))
