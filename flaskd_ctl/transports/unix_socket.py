"""The Unix socket of an instance: connect to it, see whose it is, see whether it has ended.

connect(2) shows at once that nothing is there: ENOENT and ECONNREFUSED (nothing listens), or EACCES. A stopped daemon still has
its queue, so the connect succeeds and the wait for a reply ends at the deadline. If the queue is full, connect(2) keeps to
SO_SNDTIMEO (unix(7)).
"""

from __future__ import annotations

import socket
import struct
import sys
import time
from typing import Final

from flaskd_ctl.errors import BadPlace, ControlError, NotPermitted, NotRunning, TimedOut
from flaskd_ctl.transports.backend import Backend

CHUNK: Final = 64 * 1024
"""Bytes to read at once."""


def connect(path: str, *, deadline: float) -> socket.socket:
    """Connect to the socket at `path`; raise NotRunning, NotPermitted, TimedOut or BadPlace."""
    left = min(max(deadline - time.monotonic(), 0.001), 86_400.0)
    link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        link.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _timeval(left))
        link.connect(path)
    except OSError as error:
        link.close()
        raise explain(error, path) from None
    except BaseException:
        link.close()
        raise
    return link


async def open_socket(backend: Backend, path: str, *, deadline: float) -> socket.socket:
    """Connect as `connect` does; while the listener's queue is full, wait without blocking an event loop."""
    try:
        return connect(path, deadline=0.0)
    except TimedOut:
        return await backend.call(lambda: connect(path, deadline=deadline))


async def send_all(backend: Backend, link: socket.socket, data: bytes, *, deadline: float) -> None:
    """Send all bytes on a non-blocking socket; raise TimeoutError, or EOFError when the peer has gone."""
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[link.send(rest) :]
        except BlockingIOError:
            if not await backend.wait(writable=[link.fileno()], deadline=deadline):
                raise TimeoutError from None
        except (BrokenPipeError, ConnectionResetError):
            raise EOFError from None


def is_ended(link: socket.socket) -> bool:
    """Tell whether the peer of a non-blocking socket has closed it, without reading anything."""
    try:
        return not link.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    except OSError:
        return True


def explain(error: OSError, path: str) -> ControlError:
    """Make the error for a connect(2) to `path` that failed."""
    if isinstance(
        error, FileNotFoundError | ConnectionRefusedError | NotADirectoryError | ConnectionResetError
    ):
        return NotRunning(f"nothing listens at {path}", hint="try `flaskd_ctl list`")
    if isinstance(error, PermissionError):
        return NotPermitted(
            f"you may not open {path}",
            hint="run as the user of the instance, or as root",
        )
    if isinstance(error, BlockingIOError | TimeoutError):
        return TimedOut(
            f"what listens at {path} accepts no connection", hint="its process may be stopped or stuck"
        )
    return BadPlace(f"cannot connect to {path}: {error.strerror or error}", hint="check the --endpoint")


def peer_pid(link: socket.socket) -> int | None:
    """Return the pid of the process that listens (SO_PEERCRED).

    None on platforms without the option, and for a process outside our pid namespace (the kernel returns 0).
    """
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return None
    raw = link.getsockopt(socket.SOL_SOCKET, option, 12)  # struct ucred: pid, uid, gid
    return int.from_bytes(raw[:4], sys.byteorder, signed=True) or None


def _timeval(seconds: float) -> bytes:
    """Pack a struct timeval for setsockopt(2): two longs.

    On macOS the second one is a 32-bit tv_usec and padding, which is the same on a little-endian machine.
    """
    return struct.pack("@ll", int(seconds), int(seconds % 1 * 1e6))
