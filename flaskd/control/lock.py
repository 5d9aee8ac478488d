"""The lock of an instance's place: the process that holds it owns the name.

The kernel releases it with the process, even after kill -9. A lock on a file that somebody has removed keeps nobody away, since
the next instance creates a file of its own. So the holder can check whether its file is still in place, and lock it again.
"""

import contextlib
import fcntl
import os

from flaskd.errors import ClaimError, NameTaken
from flaskd.listening.unix_paths import identity_at, identity_of
from flaskd_ctl.contract.endpoint import Place


class Lock:
    """The lock of `place`, from `acquire` to `release`."""

    def __init__(self, place: Place) -> None:
        self.descriptor = -1
        self._place = place

    def acquire(self) -> None:
        """Lock the file that is at the path now, or create it. Raises NameTaken, ClaimError, or FileNotFoundError.

        FileNotFoundError: the directory is not there, or the file was removed between our open and our flock.
        """
        lock = _locked(self._place)
        self.release()
        self.descriptor = lock

    def in_place(self) -> bool:
        """Return whether the file that we have locked is still at its path."""
        return self.descriptor >= 0 and identity_of(self.descriptor) == identity_at(self._place.lock)

    def release(self) -> None:
        """Release it, also if a child that Python did not fork holds a copy. May be called twice."""
        if self.descriptor >= 0:
            fcntl.flock(self.descriptor, fcntl.LOCK_UN)
            os.close(self.descriptor)
            self.descriptor = -1


def _locked(place: Place) -> int:
    try:
        lock = os.open(place.lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ClaimError(f"cannot open the lock {place.lock}: {error.strerror}") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pid = int(os.pread(lock, 20, 0) or b"0")
        os.close(lock)
        raise name_taken(place, pid) from None
    if identity_of(lock) != identity_at(place.lock):
        os.close(lock)
        raise FileNotFoundError(place.lock)
    try:
        os.ftruncate(lock, 0)
        os.pwrite(lock, str(os.getpid()).encode(), 0)
    except OSError as error:  # the disk is full
        with contextlib.suppress(OSError):
            os.unlink(place.lock)
            os.rmdir(place.directory)
        os.close(lock)
        raise ClaimError(f"cannot write the lock {place.lock}: {error.strerror}") from None
    return lock


def name_taken(place: Place, pid: int) -> NameTaken:
    """Make the error for a name that the process `pid` has; 0 is unknown."""
    process = f"process {pid}" if pid else "another process"
    return NameTaken(
        f"an instance called {place.name} is already running in {place.directory} ({process})",
        pid=pid,
        hint=f"choose another --name, or stop it with `flaskd_ctl --name {place.name} shutdown`",
    )
