"""The event loop of the waitress engine: accepts connections, reads requests whole, writes what slow clients leave.

It waits on {listeners, connections, waker} with epoll or kqueue, and has no timeout while nothing is open. Only its thread
opens, closes and expires connections. A thread that has answered a request wakes it only if there is something to do. The loop
changes lazily what the kernel waits for: it stops reading when something comes that is not wanted yet, not with each request.
So a kept connection costs no system call for it.

At most `max_connections` are open. One more closes the connection that has waited longest for a request, so that silent clients
keep nobody out. None is accepted while as many requests as there are threads wait for one: other workers may be free.
"""

import contextlib
import functools
import logging
import selectors
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from flaskd.engines.protocol import Options
from flaskd.engines.shared.acceptor import Acceptor, max_connections
from flaskd.engines.shared.kernel_queue import waited_in_kernel
from flaskd.engines.shared.load_share import LoadShare
from flaskd.engines.shared.pool import Pool
from flaskd.engines.shared.waker import Waker
from flaskd.engines.waitress_engine.channel import READ, Channel
from flaskd.engines.waitress_engine.request import Spool
from flaskd.engines.waitress_engine.responder import respond
from flaskd.engines.waitress_engine.timeouts import check_timeouts

MIN_WAIT: Final = 1.0
"""Seconds that a connection may wait for its request before it is closed to make room for another."""

MOST_ACCEPTED: Final = 16
"""Connections that are accepted in one turn; requests come between."""

WRITE: Final = selectors.EVENT_WRITE
MAX_PAUSE: Final = 1.0  # seconds between two checks of how fast a client takes its response

log = logging.getLogger("flaskd.http")


class EventLoop:
    """Runs on one thread. `call_soon`, `update_soon`, `answer` and `change_options` are for any thread."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.spool = Spool(options.spool)
        self.channels: dict[int, Channel] = {}  # by descriptor
        self.keepalive = True
        self.stopping = False  # end when no connection is left
        self.crowded = False  # nothing is accepted until requests that wait have found a thread
        self.on_change: Callable[[], None] = lambda: None
        self._selector = selectors.DefaultSelector()
        self._waker = Waker()
        self.load_share = options.load_share or LoadShare()
        self.acceptor = Acceptor(self._selector, self._waker, self.load_share)
        self._max = max_connections(options.threads)
        self._pool: Pool[Channel] = Pool(
            options.threads,
            respond,
            name="flaskd-http",
            waiting=options.waiting,
            max_wait=options.max_queue_time,
        )
        self._calls: deque[Callable[[], object]] = deque()
        self._pause = _pause(options)
        self._next_check: float | None = None  # of timeouts, monotonic

    def change_options(self, options: Options) -> None:
        """Use other options, from the return on; from any thread."""
        self.options = options
        self._max = max_connections(options.threads)
        self._pause = _pause(options)
        self._pool.resize(options.threads)
        self._pool.change_max_wait(options.max_queue_time)
        if self.channels:  # a shorter timeout may be over
            self.call_soon(lambda: self._check_by(time.monotonic()))

    def descriptors(self) -> list[int]:
        """Return the open descriptors for `forks`: a child that unwinds through a request would end its parent's connection."""
        return list(self.channels)

    def call_soon(self, call: Callable[[], object]) -> None:
        """Call it on the loop's thread."""
        self._calls.append(call)
        self._waker.wake()

    def update_soon(self, channel: Channel) -> None:
        """Look at a channel on the loop's thread."""
        self.call_soon(functools.partial(self._update, channel))

    def answer(self, channel: Channel) -> None:
        """Have a thread answer the channel's first request."""
        waited, channel.waited = channel.waited, 0.0
        self._pool.put(channel, waited=waited)
        self.load_share.loaded(len(self.channels), self._pool.busy)

    def load(self) -> tuple[int, int]:
        """Count open connections and requests; from any thread."""
        return len(self.channels), self._pool.busy

    def request_ended(self) -> None:
        """Note that a request is answered, on the thread that has answered it and is about to be free."""
        self.load_share.loaded(len(self.channels), max(0, self._pool.busy - 1))
        self.on_change()

    def remove(self, channel: Channel) -> None:
        """Take a channel that is about to close out of the loop."""
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(channel.socket)
        channel.events = 0
        self.channels.pop(channel.socket.fileno(), None)
        self.load_share.loaded(*self.load())
        self.on_change()

    def close_idle(self, limit: float) -> None:
        """Close connections that have waited for a complete request head since `limit` or longer (monotonic)."""
        for channel in list(self.channels.values()):
            if not channel.busy() and channel.since <= limit and channel.lingering is None:
                if not channel.total_outbufs_len:
                    channel.close_idle()
                self._update(channel)

    def abort(self) -> None:
        """Reset all connections."""
        for channel in list(self.channels.values()):
            channel.abort()

    def run(self) -> None:
        """Run until nothing is open after `stopping` is set."""
        with self._selector, self._waker:
            self._selector.register(self._waker, READ)
            try:
                while not (self.stopping and not self.channels):
                    self._turn()
            finally:
                self.acceptor.end()
                self._pool.end()

    def _turn(self) -> None:
        """Wait for events and handle each."""
        self.crowded = True  # first: a thread that is done after the look has to wake us
        self.crowded = self._pool.waiting >= self.options.threads
        retry_after = self.acceptor.listen(wanted=not self.crowded)
        woken = False
        for key, events in self._selector.select(self._timeout(retry_after)):
            if isinstance(key.data, Channel):
                self._handle(key.data, events)
            elif key.data is self.acceptor:
                self.acceptor.ring(key.fileobj)
            else:
                woken = True
        for _ in range(MOST_ACCEPTED):
            if not self._accept():
                break
        if woken:  # after the events: what they lead to is done now, without another turn
            self._waker.clear()
        while self._calls:
            self._calls.popleft()()
        now = time.monotonic()
        if self._next_check is not None and now >= self._next_check:
            ends = [check_timeouts(channel, self._pause) for channel in list(self.channels.values())]
            for channel in list(self.channels.values()):
                self._update(channel)
            self._next_check = max(min(ends), now + self._pause / 4) if ends else None

    def _timeout(self, retry_after: float | None) -> float | None:
        if not self.channels:
            self._next_check = None
        if self._next_check is None:
            return retry_after
        pause = max(0.0, self._next_check - time.monotonic())
        return pause if retry_after is None else min(pause, retry_after)

    def _check_by(self, end: float) -> None:
        self._next_check = end if self._next_check is None else min(self._next_check, end)

    def _accept(self) -> bool:
        """Accept a connection; returns whether another one may follow."""
        if len(self.channels) >= self._max:
            if not self.acceptor.waits():
                return False
            if not self._make_room():
                self.acceptor.pause()
                return False
        try:
            accepted = self.acceptor.accept_next()
        except OSError as error:
            log.error("cannot accept a connection: %s", error)  # noqa: TRY400 - expected under EMFILE, no traceback
            if not self._make_room():
                self.acceptor.pause()
            return False
        if accepted is None:
            return False
        sock, address, server = accepted
        try:
            channel = Channel(self, sock, address, server)
        except OSError:  # the client has left
            sock.close()
            return True
        self.load_share.loaded(*self.load())
        if self.options.max_queue_time:
            channel.waited = waited_in_kernel(sock)
        self._wait_for(channel, READ)
        self._check_by(channel.since + self.options.head_timeout)
        self.on_change()
        return True

    def _make_room(self) -> bool:
        """Close the connection that has waited longest for a request; returns False if none has waited long."""
        waiting = [each for each in self.channels.values() if not each.busy() and not each.total_outbufs_len]
        oldest = min(waiting, key=lambda channel: channel.since, default=None)
        if oldest is None or time.monotonic() < oldest.since + MIN_WAIT:
            return False
        oldest.close_idle()
        return oldest.socket is None

    def _handle(self, channel: Channel, events: int) -> None:
        """Write and read."""
        try:
            if events & WRITE:
                channel.handle_write()
            if events & READ and channel.socket is not None:
                if channel.readable():
                    channel.handle_read()
                else:
                    self._wait_for(channel, channel.events & ~READ)
        except Exception:  # one connection must not end all others
            log.exception("a connection failed")
            channel.abort()
        self._update(channel)

    def _update(self, channel: Channel) -> None:
        """Close a channel that is finished, or wait for its next events."""
        if channel.socket is None:
            return
        if not channel.connected:
            channel.handle_close()
        elif channel.total_outbufs_len:
            if not channel.events & WRITE:
                self._check_by(time.monotonic() + self._pause)
            self._wait_for(channel, channel.events | WRITE)
        elif channel.close_when_flushed or (self.stopping and not channel.busy()):
            channel.finish()
            if channel.socket is not None:  # it lingers, and does not count any more
                self.on_change()
                self._check_by(time.monotonic() + self._pause)
                self._wait_for(channel, READ)
        else:
            request = channel.receiving_body()
            if request is not None:
                self._check_by(request.since + request.timeout.remaining)
            # Looked at last: a thread that has just answered looks at `events` after that.
            self._wait_for(channel, channel.events & READ)
            if not channel.events and channel.readable():
                self._wait_for(channel, READ)

    def _wait_for(self, channel: Channel, events: int) -> None:
        """Tell the kernel which events to wait for."""
        before, channel.events = channel.events, events
        if events == before:
            return
        if not before:
            self._selector.register(channel.socket, events, channel)
        elif events:
            self._selector.modify(channel.socket, events, channel)
        else:
            self._selector.unregister(channel.socket)


def _pause(options: Options) -> float:
    """Return the seconds between two checks of how fast a client takes its response."""
    return min(MAX_PAUSE, options.head_timeout / 8, options.body_timeout / 8, options.write_timeout / 8)
