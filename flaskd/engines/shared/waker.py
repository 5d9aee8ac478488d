"""Wakes a thread that waits on a selector."""

import contextlib
import socket


class Waker:
    """A socket pair: one end is in the selector, and any thread writes to the other. A context manager."""

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self._awake = False

    def __enter__(self) -> "Waker":
        return self

    def __exit__(self, *_: object) -> None:
        self._reader.close()
        self._writer.close()

    def fileno(self) -> int:
        """Return the descriptor that becomes readable."""
        return self._reader.fileno()

    def wake(self) -> None:
        """Make the descriptor readable. What the thread is to find has to be there before."""
        if not self._awake:
            self._awake = True
            with contextlib.suppress(OSError):  # full: the thread is awake; closed: it has ended
                self._writer.send(b"\0")

    def clear(self) -> None:
        """Make the descriptor unreadable; the thread looks for what there is to do after this."""
        with contextlib.suppress(BlockingIOError):
            self._reader.recv(4096)
        self._awake = False
