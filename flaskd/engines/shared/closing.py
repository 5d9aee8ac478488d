"""How a connection is closed that has been answered.

One that is closed while its client still sends is reset, and the reset may overtake the response (RFC 9112, section 9.6). So
where the request has not been read to its end, only our own side is closed, and what comes is discarded until the client closes
too, or a bound is reached.
"""

import contextlib
import socket
import ssl
import struct
import time
from typing import Final

# Apache's pause, a third of its time.
PAUSE: Final = 2.0  # seconds without a byte
TIME: Final = 10.0  # seconds in all
BYTES: Final = 64 * 1024 * 1024

RESET: Final = struct.pack("ii", 1, 0)  # SO_LINGER on, 0 s: close() sends RST (socket(7))


def shut(sock: socket.socket, how: int) -> None:
    """Shut down a connection (shutdown(2)) that may be gone already, below its encryption."""
    with contextlib.suppress(OSError):  # the client was quicker
        # Not SSLSocket's, which takes the encryption from under a handler that goes on writing.
        socket.socket.shutdown(sock, how)


def reset_when_closed(sock: socket.socket) -> None:
    """Let close(2) send a reset, so that the client takes what it has not for the whole."""
    with contextlib.suppress(OSError):  # a Unix socket has no linger, a closed one nothing
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)


def close_our_side(sock: socket.socket) -> None:
    """Say that nothing more is sent, over TLS with its close_notify first (RFC 8446, section 6.1); waits for nothing."""
    if isinstance(sock, ssl.SSLSocket):
        with contextlib.suppress(OSError, ValueError):  # it has left, or never shook hands
            sock.setblocking(False)
            sock.unwrap()
    shut(sock, socket.SHUT_WR)


def discard(sock: socket.socket) -> None:
    """Read what the client still sends, encrypted or not, until it closes or a bound is reached."""
    deadline = time.monotonic() + TIME
    left = BYTES
    with contextlib.suppress(OSError):  # it was silent for too long, or has reset
        while left > 0 and (wait := deadline - time.monotonic()) > 0:
            sock.settimeout(min(wait, PAUSE))
            if not (got := len(socket.socket.recv(sock, 65536))):
                return
            left -= got
