"""Claim an instance's place: steal no live one, touch no foreign file, and remove a stale one.

The order is: a private directory (ours, 0700) → flock on `lock` → what is left there is stale: remove our sockets, refuse
anything else → bind our own sockets and listen, with mode 0600 → give access to the users and groups in the rules (`access`).
The lock, not the presence of a file, decides whether the place is taken, or the record (`record`) if somebody has removed the
lock.
"""

import contextlib
import logging
import os
import socket
import stat
from collections.abc import Iterable, Iterator
from typing import Any, Final, Self

from flaskd.audit.files import write_atomically
from flaskd.control.access.permissions import CONNECT, READ, SEARCH, AccessMethod, closed_parent, grant_access
from flaskd.control.access.policy import Rules
from flaskd.control.lock import Lock
from flaskd.control.record import ProcessRecord
from flaskd.errors import ClaimError
from flaskd.listening.unix_paths import identity_at, remove_stale
from flaskd.process import forks
from flaskd.process.descriptors import duplicates, open_descriptors
from flaskd_ctl.contract.endpoint import Place

BACKLOG: Final = 128

log = logging.getLogger("flaskd.control")


class Claim:
    """A place that is ours, see `hold`. `stream` and `zmq` are bound, listening, and 0600 or as the rules say."""

    stream: socket.socket
    zmq: socket.socket

    def __init__(self, place: Place, rules: Rules) -> None:
        self.place = place
        self._rules = rules
        self._lock = Lock(place)
        self._record = ProcessRecord(place)
        self._sockets: dict[str, tuple[int, int] | None] = {}
        self._facts: dict[str, Any] | None = None

    @classmethod
    @contextlib.contextmanager
    def hold(cls, place: Place, rules: Rules) -> Iterator[Self]:
        """Claim `place`; release it on leaving.

        Raises NameTaken (with the pid of the instance that has it) or ClaimError, and has then changed nothing except,
        perhaps, created the directory.
        """
        claim = cls(place, rules)
        claim._record.refuse_second()
        claim._acquire()
        try:
            claim._listen(place.sock, place.zmq, free=place.tcp)
            claim._record.write()
            forks.close_in_children(claim)
            yield claim
        finally:
            claim._release()

    def withdraw(self) -> None:
        """Remove what says that this process serves. Call it before the sockets close.

        From then on, a socket at which nothing listens means that the instance has stopped.
        """
        self._facts = None
        self._record.remove()
        if self._lock.in_place():  # otherwise the file may be another instance's
            _remove(self.place.instance_file)

    def missing(self) -> list[str]:
        """Return the files of ours that are no longer at their paths."""
        missing = [path for path, identity in self._sockets.items() if identity_at(path) != identity]
        if not self._lock.in_place():
            missing.append(self.place.lock)
        if self._facts is not None and not os.path.lexists(self.place.instance_file):
            missing.append(self.place.instance_file)
        return missing

    def renew(self) -> None:
        """Create what is missing again; `stream` and `zmq` may then be other sockets. Raises ClaimError; may be repeated."""
        if not self._lock.in_place():
            self._acquire()
        self._listen(*(path for path in self.missing() if path in self._sockets))
        if self._facts is not None:
            self.publish(self._facts)

    def publish(self, facts: dict[str, Any]) -> None:
        """Write `instance.json` atomically, which says that the instance serves. Raises ClaimError."""
        try:
            write_atomically(self.place.instance_file, facts)
        except OSError as error:
            raise ClaimError(f"cannot write {self.place.instance_file}: {error.strerror}") from None
        self._facts = facts
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
        if self._lock.descriptor < 0:
            return []
        paths = {self.place.sock, self.place.zmq}
        ours = (
            number
            for number in open_descriptors()
            for sock in duplicates([number])
            if sock.family == socket.AF_UNIX and sock.getsockname() in paths
        )
        return [self._lock.descriptor, *ours]

    def _acquire(self) -> None:
        """Take the lock, in a directory that is ours. Raises NameTaken or ClaimError."""
        while not self._lock.in_place():
            # Not found: the instance that had the place has just ended and removed it.
            with contextlib.suppress(FileNotFoundError):
                _make_private(self.place.directory, shared=self._rules.include_other_users())
                self._lock.acquire()

    def _listen(self, *paths: str, free: str = "") -> None:
        """Listen at these paths, which must be free, as `free` must be. We hold the lock: no live instance is there."""
        for path in filter(None, (*paths, free)):
            if problem := remove_stale(path):
                raise ClaimError(
                    f"cannot use {path}: {problem}",
                    hint="move it away, or choose another --runtime-dir or --name",
                )
        for path in paths:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                sock.bind(path)
                self._sockets[path] = identity_at(path)
                os.chmod(path, 0o600)  # before listen: nobody can have connected
                sock.listen(BACKLOG)
            except OSError as error:
                sock.close()
                raise ClaimError(f"cannot listen at {path}: {error.strerror}") from None
            sock.setblocking(False)
            setattr(self, "stream" if path == self.place.sock else "zmq", sock)
        self.set_rules(self._rules)

    def _release(self) -> None:
        """Remove all that is ours, then release the lock: the next holder finds an empty directory or none."""
        self.withdraw()
        for path, identity in self._sockets.items():
            if identity_at(path) == identity:
                _remove(path)
        for name in ("stream", "zmq"):
            if hasattr(self, name):
                getattr(self, name).close()
        if self._lock.in_place():
            _remove(self.place.lock)
            with contextlib.suppress(OSError):  # not empty, or systemd's to remove
                os.rmdir(self.place.directory)
        self._lock.release()


def _remove(path: str) -> None:
    """Remove a file of ours. One that cannot be removed fails no stop."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        log.warning("cannot remove %s: %s", path, error.strerror)


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
    if os.stat(directory).st_mode & 0o777 != 0o700:  # systemd makes a RuntimeDirectory 0755
        os.chmod(directory, 0o700)


def _check_ours(directory: str) -> None:
    there = os.lstat(directory)
    if not stat.S_ISDIR(there.st_mode):
        raise ClaimError(f"{directory} is not a directory", hint="choose another --runtime-dir or --name")
    if there.st_uid != os.geteuid():
        raise ClaimError(
            f"{directory} belongs to uid {there.st_uid}, not to us (uid {os.geteuid()})",
            hint="choose another --runtime-dir or --name",
        )
