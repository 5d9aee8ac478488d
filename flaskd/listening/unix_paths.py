"""Asks of a path at which a Unix socket may stand: does anybody listen, and is it still the same file."""

import contextlib
import os
import socket


def is_listening(path: str) -> bool:
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


def accepted_at(path: str) -> set[int]:
    """Return the inodes of the connections that were made at `path` and accepted (/proc/net/unix, proc(5)); empty elsewhere."""
    with (
        contextlib.suppress(OSError),
        open("/proc/net/unix", encoding="utf-8", errors="surrogateescape") as table,
    ):
        rows = (row.rstrip("\n").split(None, 7) for row in table)
        return {int(row[6]) for row in rows if len(row) == 8 and row[5] == "03" and row[7] == path}
    return set()
