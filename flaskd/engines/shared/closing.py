"""Closes a connection after its response.

Closing a connection whose client still sends resets it, and the reset may overtake the response (RFC 9112, section 9.6). So
if the request was not read to its end, we close only our own side and discard what comes, until the client closes too or a
bound is reached. nginx calls this a lingering close.
"""

import contextlib
import socket
import ssl
import struct
import time
from typing import Final

# Apache's timeout, a third of its time.
LINGERING_TIMEOUT: Final = 2.0  # seconds without a byte
LINGERING_TIME: Final = 10.0  # seconds in all
LINGERING_BYTES: Final = 64 * 1024 * 1024

RESET: Final = struct.pack("ii", 1, 0)  # SO_LINGER on, 0 s: close() sends RST (socket(7))


def shut(sock: socket.socket, how: int) -> None:
    """Shut down a connection (shutdown(2)), below its encryption; it may be gone already."""
    with contextlib.suppress(OSError):  # the client was quicker
        # Not SSLSocket's, which removes the encryption while a thread may still write.
        socket.socket.shutdown(sock, how)


def reset_when_closed(sock: socket.socket) -> None:
    """Make close(2) send a reset, so that the client does not take what it has for the whole response."""
    with contextlib.suppress(OSError):  # a Unix socket has no linger, a closed one nothing
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)


def close_our_side(sock: socket.socket) -> None:
    """Send the end of our side, over TLS its close_notify first (RFC 8446, section 6.1); does not wait."""
    if isinstance(sock, ssl.SSLSocket):
        with contextlib.suppress(OSError, ValueError):  # the client has left, or there was no handshake
            sock.setblocking(False)
            sock.unwrap()
    shut(sock, socket.SHUT_WR)


def discard(sock: socket.socket) -> None:
    """Discard what the client still sends, encrypted or not, until it closes or a bound is reached."""
    deadline = time.monotonic() + LINGERING_TIME
    left = LINGERING_BYTES
    with contextlib.suppress(OSError):  # it was silent for too long, or has reset
        while left > 0 and (wait := deadline - time.monotonic()) > 0:
            sock.settimeout(min(wait, LINGERING_TIMEOUT))
            if not (got := len(socket.socket.recv(sock, 65536))):
                return
            left -= got
