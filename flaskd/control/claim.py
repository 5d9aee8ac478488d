"""Claim an instance's place: steal no live one, touch no foreign file, and remove a stale one.

The order is: a private directory (ours, 0700) → flock on `lock` → what is left there is stale: remove our sockets, refuse
anything else → bind our own sockets and listen, with mode 0600 → give access to the users and groups in the rules (`access`).
The lock, not the presence of a file, decides whether the place is taken; the kernel releases it with
the process, even after kill -9.
"""

import contextlib
import fcntl
import logging
import os
import socket
import stat
from collections.abc import Iterable, Iterator
from typing import Any, Final, Self

from flaskd.audit.files import write_atomically
from flaskd.control.access.permissions import CONNECT, READ, SEARCH, AccessMethod, closed_parent, grant_access
from flaskd.control.access.policy import Rules
from flaskd.errors import ClaimError, NameTaken
from flaskd.listening.unix_paths import inode_at, remove_stale
from flaskd.process import forks
from flaskd.process.descriptors import duplicates, open_descriptors
from flaskd_ctl.contract.endpoint import Place

BACKLOG: Final = 128

log = logging.getLogger("flaskd.control")


class Claim:
    """A place that is ours, see `hold`. `stream` and `zmq` are bound, listening, and 0600 or as the rules say."""

    def __init__(
        self, place: Place, rules: Rules, lock: int, stream: socket.socket, zmq: socket.socket
    ) -> None:
        self.place = place
        self.stream = stream
        self.zmq = zmq
        self._lock = lock
        self._rules = rules
        self.set_rules(rules)

    @classmethod
    @contextlib.contextmanager
    def hold(cls, place: Place, rules: Rules) -> Iterator[Self]:
        """Claim `place`; release it on leaving.

        Raises NameTaken (with the pid of the instance that has it) or ClaimError, and has then changed nothing except,
        perhaps, created the directory.
        """
        with contextlib.ExitStack() as stack:
            lock = _lock(place, shared=rules.include_other_users())
            stack.callback(_release, place, lock)
            for path in (place.sock, place.zmq, place.tcp):  # we hold the lock: no live instance is there
                if problem := remove_stale(path):
                    raise ClaimError(
                        f"cannot use {path}: {problem}",
                        hint="move it away, or choose another --runtime-dir or --name",
                    )
            claim = cls(place, rules, lock, _listen(place.sock, stack), _listen(place.zmq, stack))
            forks.close_in_children(claim)
            try:
                yield claim
            finally:
                claim._lock = -1

    def publish(self, facts: dict[str, Any]) -> None:
        """Write `instance.json` atomically, which says that the instance serves. Raises ClaimError."""
        try:
            write_atomically(self.place.instance_file, facts)
        except OSError as error:
            raise ClaimError(f"cannot write {self.place.instance_file}: {error.strerror}") from None
        grant_access({self.place.instance_file: READ}, self._rules)

    def set_rules(self, rules: Rules) -> None:
        """Give file access to the users and groups in `rules`, and to no others; log what still keeps them out."""
        self._rules = rules
        place = self.place
        method = grant_access({place.sock: CONNECT, place.zmq: CONNECT, place.directory: SEARCH}, rules)
        with contextlib.suppress(FileNotFoundError):  # not published yet
            grant_access({place.instance_file: READ}, rules)
        if method is AccessMethod.EVERYONE:
            log.warning(
                "%s: this file system has no access control lists, so every user can connect; users without a role are refused",
                place.directory,
            )
        if method is not AccessMethod.OWNER_ONLY and (closed := closed_parent(place.directory)):
            log.warning(
                "only the owner can enter %s, so other users with a role cannot reach %s",
                closed,
                place.directory,
            )

    def descriptors(self) -> Iterable[int]:
        """Return the lock and every socket at our paths, for `forks`: listening or accepted, ours or libzmq's."""
        if self._lock < 0:
            return []
        paths = {self.place.sock, self.place.zmq}
        ours = (
            number
            for number in open_descriptors()
            for sock in duplicates([number])
            if sock.family == socket.AF_UNIX and sock.getsockname() in paths
        )
        return [self._lock, *ours]


def _listen(path: str, stack: contextlib.ExitStack) -> socket.socket:
    """Listen at `path` until `stack` is closed."""
    sock = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
    try:
        sock.bind(path)
        stack.callback(_unlink, path, inode_at(path))
        os.chmod(path, 0o600)  # before listen: nobody can have connected
        sock.listen(BACKLOG)
    except OSError as error:
        raise ClaimError(f"cannot listen at {path}: {error.strerror}") from None
    sock.setblocking(False)
    return sock


def _unlink(path: str, inode: int) -> None:
    if inode_at(path) == inode:
        os.unlink(path)


def _make_private(directory: str, *, shared: bool) -> None:
    """Create the instance's directory, or check that it is ours alone. Raises ClaimError before anything is created.

    With `shared`, other users can reach it through the runtime directory.
    """
    runtime = os.path.dirname(directory)
    try:
        if not os.path.isdir(runtime):
            open_to_all = shared or runtime.startswith("/run/")
            os.makedirs(runtime, mode=0o755 if open_to_all else 0o700, exist_ok=True)
        if runtime.startswith("/tmp/"):  # noqa: S108 - anybody may create a directory there
            _check_ours(runtime)
            if os.stat(runtime).st_mode & 0o022:
                raise ClaimError(
                    f"{runtime} can be written to by others", hint=f"make it yours: chmod 700 {runtime}"
                )
        with contextlib.suppress(FileExistsError):
            os.mkdir(directory, mode=0o700)
    except FileExistsError:
        raise ClaimError(f"{runtime} is not a directory", hint="choose another --runtime-dir") from None
    except OSError as error:
        raise ClaimError(
            f"cannot make the instance directory {directory}: {error.strerror}",
            hint="choose a directory that you may write to with --runtime-dir",
        ) from None
    _check_ours(directory)
    os.chmod(directory, 0o700)  # systemd makes a RuntimeDirectory 0755


def _check_ours(directory: str) -> None:
    there = os.lstat(directory)
    if not stat.S_ISDIR(there.st_mode):
        raise ClaimError(f"{directory} is not a directory", hint="choose another --runtime-dir or --name")
    if there.st_uid != os.geteuid():
        raise ClaimError(
            f"{directory} belongs to uid {there.st_uid}, not to us (uid {os.geteuid()})",
            hint="choose another --runtime-dir or --name",
        )


def _lock(place: Place, *, shared: bool) -> int:
    """Return a descriptor that holds the lock of `place`, in a directory that is ours. Raises NameTaken or ClaimError."""
    while True:
        # Not found: the instance that had the place has just ended and removed it.
        with contextlib.suppress(FileNotFoundError):
            _make_private(place.directory, shared=shared)
            return _locked(place)


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
        process = f"process {pid}" if pid else "another process"
        raise NameTaken(
            f"an instance called {place.name} is already running in {place.directory} ({process})",
            pid=pid,
            hint=f"choose another --name, or stop it with `flaskd_ctl --name {place.name} shutdown`",
        ) from None
    if os.fstat(lock).st_ino != inode_at(place.lock):  # removed between our open and our flock
        os.close(lock)
        raise FileNotFoundError(place.lock)
    try:
        os.ftruncate(lock, 0)
        os.pwrite(lock, str(os.getpid()).encode(), 0)
    except OSError as error:  # the disk is full
        _release(place, lock)
        raise ClaimError(f"cannot write the lock {place.lock}: {error.strerror}") from None
    return lock


def _release(place: Place, lock: int) -> None:
    """Remove all that is ours, then release the lock: the next holder finds an empty directory or none."""
    for remove, path in (
        (os.unlink, place.instance_file),
        (os.unlink, place.lock),
        (os.rmdir, place.directory),
    ):
        with contextlib.suppress(OSError):  # not there; a directory that is not empty, or systemd's to remove
            remove(path)
    fcntl.flock(lock, fcntl.LOCK_UN)  # also if a child that Python did not fork holds a copy
    os.close(lock)
