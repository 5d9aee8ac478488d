"""Asks of a path at which a Unix socket may stand: does anybody listen, and is it still the same file."""

import os
import socket


def listened_at(path: str) -> bool:
    """Tell whether a process listens at `path`, also with a full accept queue; does not wait. Raises OSError otherwise."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return False
        except BlockingIOError:
            pass  # EAGAIN: its queue is full (unix(7))
        return True


def inode_at(path: str) -> int:
    """Return the inode number of `path`, not following links; -1 where nothing is."""
    try:
        return os.lstat(path).st_ino
    except OSError:
        return -1
