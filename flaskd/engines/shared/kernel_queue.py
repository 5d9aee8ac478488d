"""How long an accepted connection has waited in the kernel's accept queue, as far as the kernel tells.

Linux notes when data last arrived (`tcpi_last_data_recv` of TCP_INFO, tcp(7)), to a clock tick of up to 10 ms. If there is
something to read, it has been waiting for us for that time. If there is nothing, the client has only connected, and waits for
nothing. Unix sockets and other systems do not tell.
"""

import socket
import struct
import sys
from typing import Final

LINUX: Final = sys.platform == "linux"
OFFSET: Final = 52  # tcpi_last_data_recv in struct tcp_info, linux/tcp.h; milliseconds

SHORTEST: Final = 0.02
"""Seconds below which it is taken for no time."""


def waited_in_kernel(sock: socket.socket) -> float:
    """Return the seconds that what has arrived on a new connection has waited to be read; 0.0 where that is not known."""
    if not LINUX or sock.family == socket.AF_UNIX:
        return 0.0
    try:
        if not sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT):
            return 0.0
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, OFFSET + 4)
    except OSError:  # nothing has arrived, or the client has left
        return 0.0
    seconds = float(struct.unpack_from("=I", info, OFFSET)[0]) / 1000
    return seconds if seconds >= SHORTEST else 0.0
