"""Network namespaces of machines and engines that a test has started."""

import ctypes
import socket
import threading

from tests.support.daemons import PATIENCE

_CLONE_NEWNET = 0x40000000


def connect_within(pid: int, host: str, port: int) -> socket.socket:
    """Connect to an address of the network of process `pid`; a socket stays where it was made."""
    made: list[socket.socket] = []

    def make() -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        with open(f"/proc/{pid}/ns/net", "rb") as namespace:
            if libc.setns(namespace.fileno(), _CLONE_NEWNET) == 0:  # of this thread only
                made.append(socket.socket())

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    assert made, "setns(2) failed"
    made[0].settimeout(PATIENCE)
    made[0].connect((host, port))
    return made[0]
