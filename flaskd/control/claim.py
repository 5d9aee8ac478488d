"""Claiming an instance's place, so that no live one is stolen, no foreign file touched, and no stale one in the way.

libzmq by itself unlinks whatever stands at an ipc path and takes it, and creates sockets that anybody may connect to. So the
order is: a private directory (ours, 0700) → flock on `lock` → what is left there is stale: sockets of ours are removed,
anything else refused → we bind and listen our own sockets at 0600 → whom the rules name is let near (`access`) → libzmq gets
the descriptor (ZMQ_USE_FD). The lock, not the presence of a file, says whether the place is taken; the kernel drops it with
the process, also at kill -9.
"""

import contextlib
import logging
import os
import socket
import stat
from collections.abc import Iterable
from typing import Any, Final, Self

from flaskd.audit.files import write_atomically
from flaskd.control.access.permissions import CONNECT, READ, SEARCH, AccessMethod, closed_parent, grant_access
from flaskd.control.access.policy import Rules
from flaskd.control.lock import Lock
from flaskd.control.record import ProcessRecord
from flaskd.errors import ClaimError
from flaskd.listening.unix_paths import identity_at, is_listening
from flaskd.process import forks
from flaskd.process.descriptors import duplicates, open_descriptors
from flaskd_ctl.contract.endpoint import Place

BACKLOG: Final = 128

log = logging.getLogger("flaskd.control")


class Claim:
    """Our hold on a place, from `__enter__` to `__exit__`. `stream` and `zmq` are bound, listening, and 0600 or as `rules` say.

    Entering raises NameTaken (with the pid of who lives there) or ClaimError, and has then changed nothing but, perhaps, made
    the directory.
    """

    def __init__(self, place: Place, rules: Rules) -> None:
        self.place = place
        self._rules = rules
        self._lock = Lock(place)
        self._record = ProcessRecord(place)
        self._sockets: dict[str, tuple[int, int] | None] = {}
        self._facts: dict[str, Any] | None = None
        self.stream: socket.socket
        self.zmq: socket.socket

    def __enter__(self) -> Self:
        self._record.refuse_second()
        self._acquire()
        try:
            for path in (self.place.sock, self.place.zmq, self.place.tcp):
                _clear_stale(path)
            self.stream = self._listen(self.place.sock)
            self.zmq = self._listen(self.place.zmq)
            self.set_rules(self._rules)
            self._record.write()
        except BaseException:
            self.__exit__()
            raise
        forks.close_in_children(self)
        return self

    def __exit__(self, *exc: object) -> None:
        self.withdraw()
        for path, identity in self._sockets.items():
            if identity_at(path) == identity:
                _remove(path)
        if hasattr(self, "stream"):
            self.stream.close()
        if hasattr(self, "zmq"):
            self.zmq.close()
        # Everything goes before the lock does: who gets the lock next finds an empty place or none.
        if self._lock.in_place():
            _remove(self.place.lock)
            with contextlib.suppress(OSError):  # not empty, or systemd's to remove
                os.rmdir(self.place.directory)
        self._lock.release()

    def withdraw(self) -> None:
        """Remove what says that this process serves; call it before the sockets close.

        From then on a socket at which nothing listens means that the instance has stopped.
        """
        self._facts = None
        self._record.remove()
        if self._lock.in_place():  # otherwise the file may be another instance's
            _remove(self.place.instance_file)

    def missing(self) -> list[str]:
        """Name the files of ours that are no longer at their paths."""
        lost = [path for path, identity in self._sockets.items() if identity_at(path) != identity]
        if not self._lock.in_place():
            lost.append(self.place.lock)
        if self._facts is not None and not os.path.lexists(self.place.instance_file):
            lost.append(self.place.instance_file)
        return lost

    def renew(self) -> None:
        """Make anew what is missing; `stream` or `zmq` is then another socket. Raises ClaimError, and may be called again."""
        if not self._lock.in_place():
            self._acquire()
        for path in [each for each in self.missing() if each in self._sockets]:
            _clear_stale(path)
            if path == self.place.sock:
                self.stream = self._listen(path)
            else:
                self.zmq = self._listen(path)
        self.set_rules(self._rules)
        if self._facts is not None:
            self.publish(self._facts)

    def _acquire(self) -> None:
        """Make the directory, and take the lock in it."""
        while not self._lock.in_place():
            # Not there: who lived here ended and removed the directory just now.
            with contextlib.suppress(FileNotFoundError):
                _make_private(self.place.directory, shared=self._rules.include_other_users())
                self._lock.acquire()

    def publish(self, facts: dict[str, Any]) -> None:
        """Write `instance.json`, whole or not at all; its appearance says that the instance serves. Raises ClaimError."""
        try:
            write_atomically(self.place.instance_file, facts)
        except OSError as error:
            raise ClaimError(f"cannot write {self.place.instance_file}: {error.strerror}") from None
        self._facts = facts
        grant_access({self.place.instance_file: READ}, self._rules)

    def set_rules(self, rules: Rules) -> None:
        """Let near whom `rules` name, and nobody else; what keeps them away all the same is logged."""
        self._rules = rules
        place = self.place
        method = grant_access({place.sock: CONNECT, place.zmq: CONNECT, place.directory: SEARCH}, rules)
        with contextlib.suppress(FileNotFoundError):  # not published yet
            grant_access({place.instance_file: READ}, rules)
        if method is AccessMethod.EVERYONE:
            log.warning(
                "%s: this file system has no access control lists: every user may connect, and is refused",
                place.directory,
            )
        if method is not AccessMethod.OWNER_ONLY and (closed := closed_parent(place.directory)):
            log.warning(
                "only the owner of %s may go through it: who has a role cannot reach %s",
                closed,
                place.directory,
            )

    def descriptors(self) -> Iterable[int]:
        """Name, for `forks`, the lock and every socket at our paths: listening, accepted, ours or libzmq's."""
        if self._lock.descriptor < 0:
            return []
        paths = {self.place.sock, self.place.zmq}
        return [
            self._lock.descriptor,
            *(number for number in open_descriptors() if _stands_at(number, paths)),
        ]

    def _listen(self, path: str) -> socket.socket:
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
        return sock


def _remove(path: str) -> None:
    """Remove a file of ours; one that cannot be removed ends no stop."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        log.warning("cannot remove %s: %s", path, error.strerror)


def _make_private(directory: str, *, shared: bool) -> None:
    """Make the instance's directory, or see that it is ours alone; raise ClaimError before anything is created if not.

    `shared`: others are to reach it through the runtime directory.
    """
    runtime = os.path.dirname(directory)
    try:
        if not os.path.isdir(runtime):
            seen = shared or runtime.startswith("/run/")
            os.makedirs(runtime, mode=0o755 if seen else 0o700, exist_ok=True)
        if runtime.startswith("/tmp/"):  # noqa: S108 - anybody may make a directory there: whose is it?
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


def _clear_stale(path: str) -> None:
    """Remove a dead socket of ours; leave anything else and refuse. We hold the lock: no live instance is there."""
    try:
        there = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(there.st_mode) or there.st_uid != os.geteuid():
        raise ClaimError(
            f"{path} is not a socket of ours, it was left alone",
            hint="move it away, or choose another --runtime-dir or --name",
        )
    try:
        live = is_listening(path)
    except OSError:  # a socket of another type: not one of an instance that died
        live = True
    if live:
        raise ClaimError(
            f"another program listens at {path}, it was left alone", hint="choose another --name"
        )
    os.unlink(path)


def _stands_at(descriptor: int, paths: set[str]) -> bool:
    """Return whether `descriptor` is a Unix socket bound to one of `paths`."""
    return any(
        sock.family == socket.AF_UNIX and sock.getsockname() in paths for sock in duplicates([descriptor])
    )
