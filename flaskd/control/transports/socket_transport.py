"""The transport of a local control connection: asyncio's interface, without its detours.

For an accepted socket asyncio makes a task, a future and three callbacks. It reads from it two rounds of its loop later, and
closes it in yet another one. That is most of what a `status` on a connection of its own cost. Here `open` reads at once: who
has connected has usually asked already. The loop watches a descriptor only while there is something to wait for.
"""

import asyncio
import logging
import socket
from typing import Final

HIGH_WATER: Final = 64 * 1024
"""Unsent bytes above which the protocol is told to pause writing, as asyncio's transports have it."""

LOW_WATER: Final = 16 * 1024
"""Unsent bytes from which on it may write again."""

log = logging.getLogger("flaskd.control")


class SocketTransport(asyncio.Transport):
    """A connected socket that does not block, from `open` until `protocol.connection_lost`; used on the running loop."""

    def __init__(self, sock: socket.socket, protocol: asyncio.BufferedProtocol) -> None:
        super().__init__({"socket": sock})
        self._sock = sock
        # Asked for the socket, selectors would write its repr, with both its addresses, into each KeyError: 50 µs.
        self._descriptor = sock.fileno()
        self._protocol = protocol
        self._loop = asyncio.get_running_loop()
        self._unsent = bytearray()
        self._watched = False  # by the loop, for bytes to read
        self._writing_paused = False
        self._at_end = False  # of what the peer sends
        self._closing = False
        self._ended = False

    def open(self) -> None:
        """Give the protocol its transport, read what has come, and watch for more."""
        self._protocol.connection_made(self)
        self._read()
        self.resume_reading()

    def is_closing(self) -> bool:
        """Return whether it is closed, or will be when all is sent."""
        return self._closing

    def is_reading(self) -> bool:
        """Return whether bytes that come are read."""
        return self._watched

    def pause_reading(self) -> None:
        """Leave to the kernel what more comes."""
        if self._watched:
            self._watched = False
            self._loop.remove_reader(self._descriptor)

    def resume_reading(self) -> None:
        """Read what comes from now on."""
        if not (self._watched or self._closing or self._at_end):
            self._watched = True
            self._loop.add_reader(self._descriptor, self._read)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send it, now or when the peer has read what was sent before."""
        if self._closing:
            return
        sent = 0
        if not self._unsent:
            try:
                sent = self._sock.send(data)
            except (BlockingIOError, InterruptedError):
                pass
            except OSError:
                self.abort()
                return
            if sent == len(data):
                return
            self._loop.add_writer(self._descriptor, self._flush)
        self._unsent += memoryview(data)[sent:]
        if len(self._unsent) > HIGH_WATER and not self._writing_paused:
            self._writing_paused = True
            self._protocol.pause_writing()

    def close(self) -> None:
        """Close when all is sent; at once if it is."""
        if not self._closing:
            self._closing = True
            self.pause_reading()
            if not self._unsent:
                self._end()

    def abort(self) -> None:
        """Close in the loop's next round, whatever is unsent."""
        self._closing = True
        self.pause_reading()
        if self._unsent:
            self._unsent.clear()
            self._loop.remove_writer(self._descriptor)
        self._loop.call_soon(self._end)

    def _read(self) -> None:
        try:
            size = self._sock.recv_into(self._protocol.get_buffer(-1))
            if size:
                self._protocol.buffer_updated(size)
                return
            self._at_end = True
            self.pause_reading()
            self._protocol.eof_received()
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self.abort()
        except Exception:
            log.exception("a connection to the control socket failed")
            self.abort()

    def _flush(self) -> None:
        try:
            sent = self._sock.send(self._unsent)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self.abort()
            return
        del self._unsent[:sent]
        if not self._unsent:
            self._loop.remove_writer(self._descriptor)
            if self._closing:
                self._end()
                return
        if self._writing_paused and len(self._unsent) <= LOW_WATER:
            self._writing_paused = False
            self._protocol.resume_writing()

    def _end(self) -> None:
        if not self._ended:
            self._ended = True
            try:
                self._protocol.connection_lost(None)
            finally:
                self._sock.close()
