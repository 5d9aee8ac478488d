"""The lock of an instance's place: whoever holds it owns the name.

The kernel releases it with the process, also at kill -9. A lock on a file that somebody has removed keeps nobody away: the next
instance makes a file of its own. So the holder can ask whether its file is still in place, and take the lock again.
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
        self._place = place
        self.descriptor = -1

    def acquire(self) -> None:
        """Take the lock; raise NameTaken, ClaimError, or FileNotFoundError if the directory is not there.

        Call it again to take the lock on a new file, if the first one was removed.
        """
        descriptor = _locked(self._place)
        self.release()
        self.descriptor = descriptor

    def in_place(self) -> bool:
        """Tell whether the file that we have locked is still at its path."""
        return self.descriptor >= 0 and identity_of(self.descriptor) == identity_at(self._place.lock)

    def release(self) -> None:
        """Release it, also where a child forked behind Python's back holds a copy of the descriptor."""
        if self.descriptor >= 0:
            fcntl.flock(self.descriptor, fcntl.LOCK_UN)
            os.close(self.descriptor)
            self.descriptor = -1


def _locked(place: Place) -> int:
    """Return a descriptor that holds the lock of `place`, or raise NameTaken."""
    while True:
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
            raise taken(place, pid) from None
        if identity_of(lock) == identity_at(place.lock):
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
        # Its holder ended and removed it between our open and our flock: again, on the new file.
        os.close(lock)


def taken(place: Place, pid: int) -> NameTaken:
    """Make the error for a name that process `pid` has (0: not known)."""
    who = f"process {pid}" if pid else "another process"
    return NameTaken(
        f"an instance called {place.name} already lives in {place.directory} ({who})",
        pid=pid,
        hint=f"choose another --name, or end it with `flaskd_ctl --name {place.name} shutdown`",
    )
