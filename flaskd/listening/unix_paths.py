"""Look at a path that may be a Unix socket: whether a process listens there, and whether it is still the same file."""

import contextlib
import os
import socket
import stat


def is_listening(path: str) -> bool:
    """Return whether a process listens at `path`, even with a full accept queue. Does not wait. Raises other OSErrors."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return False
        except BlockingIOError:
            pass  # EAGAIN: its queue is full (unix(7))
        return True


def remove_stale(path: str) -> str:
    """Remove a dead socket of ours. Return why anything else is left, "" if the path is free."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return ""
    if not stat.S_ISSOCK(found.st_mode):
        return "a file that is not a socket is there"
    try:
        if is_listening(path):
            return "another process listens there"
    except OSError as error:
        return f"a socket that cannot be ours is there: {error.strerror}"
    if found.st_uid != os.geteuid():
        return f"a dead socket of uid {found.st_uid} is there"
    os.unlink(path)
    return ""


def identity_at(path: str) -> tuple[int, int] | None:
    """Return device and inode of `path` without following links; None if nothing is there.

    The inode alone is not enough: a file system that is mounted again counts from the beginning.
    """
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def identity_of(descriptor: int) -> tuple[int, int]:
    """Return device and inode of an open file."""
    found = os.fstat(descriptor)
    return found.st_dev, found.st_ino


def accepted_at(path: str) -> set[int]:
    """Return the inodes of the accepted connections to `path` (/proc/net/unix, proc(5)); empty on other systems."""
    with (
        contextlib.suppress(OSError),
        open("/proc/net/unix", encoding="utf-8", errors="surrogateescape") as table,
    ):
        rows = (row.rstrip("\n").split(None, 7) for row in table)
        return {int(row[6]) for row in rows if len(row) == 8 and row[5] == "03" and row[7] == path}
    return set()
