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


def identity_at(path: str) -> tuple[int, int] | None:
    """Return device and inode of `path`, not following links; None where nothing is.

    The inode alone does not say which file it is: a file system that is mounted anew counts from the beginning.
    """
    try:
        there = os.lstat(path)
    except OSError:
        return None
    return there.st_dev, there.st_ino


def identity_of(descriptor: int) -> tuple[int, int]:
    """Return device and inode of an open file."""
    opened = os.fstat(descriptor)
    return opened.st_dev, opened.st_ino


def accepted_at(path: str) -> set[int]:
    """Return the inodes of the connections that were made at `path` and accepted (/proc/net/unix, proc(5)); empty elsewhere."""
    with (
        contextlib.suppress(OSError),
        open("/proc/net/unix", encoding="utf-8", errors="surrogateescape") as table,
    ):
        rows = (row.rstrip("\n").split(None, 7) for row in table)
        return {int(row[6]) for row in rows if len(row) == 8 and row[5] == "03" and row[7] == path}
    return set()
