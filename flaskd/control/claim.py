"""Claiming an instance's place, so that no live one is stolen, no foreign file touched, and no stale one in the way.

The order is: a private directory (ours, 0700) → flock on `lock` → what is left there is stale: sockets of ours are removed,
anything else refused → we bind and listen our own sockets at 0600 → whom the rules name is let near (`access`). The lock, not
the presence of a file, says whether the place is taken; the kernel drops it with the process, also at kill -9.
"""

import contextlib
import fcntl
import logging
import os
import socket
import stat
from collections.abc import Iterable
from typing import Any, Final, Self

from flaskd.audit.files import write_atomically
from flaskd.control.access.permissions import CONNECT, READ, SEARCH, AccessMethod, closed_parent, grant_access
from flaskd.control.access.policy import Rules
from flaskd.errors import ClaimError, NameTaken
from flaskd.listening.unix_paths import inode_at, is_listening
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
        self._lock = -1
        self._inodes: dict[str, int] = {}
        self.stream: socket.socket
        self.zmq: socket.socket

    def __enter__(self) -> Self:
        while self._lock < 0:
            # Not there: who lived here ended and removed the directory just now.
            with contextlib.suppress(FileNotFoundError):
                _make_private(self.place.directory, shared=self._rules.include_other_users())
                self._lock = _locked(self.place)
        try:
            for path in (self.place.sock, self.place.zmq, self.place.tcp):
                _clear_stale(path)
            self.stream = self._listen(self.place.sock)
            self.zmq = self._listen(self.place.zmq)
            self.set_rules(self._rules)
        except BaseException:
            self.__exit__()
            raise
        forks.close_in_children(self)
        return self

    def __exit__(self, *exc: object) -> None:
        for path, inode in self._inodes.items():
            if inode_at(path) == inode:
                os.unlink(path)
        if hasattr(self, "stream"):
            self.stream.close()
        if hasattr(self, "zmq"):
            self.zmq.close()
        # Everything goes before the lock does: who gets the lock next finds an empty place or none.
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.place.instance_file)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.place.lock)
        with contextlib.suppress(OSError):  # not empty, or systemd's to remove
            os.rmdir(self.place.directory)
        fcntl.flock(self._lock, fcntl.LOCK_UN)  # also where a child forked behind Python's back holds a copy
        os.close(self._lock)
        self._lock = -1

    def publish(self, facts: dict[str, Any]) -> None:
        """Write `instance.json`, whole or not at all; its appearance says that the instance serves. Raises ClaimError."""
        try:
            write_atomically(self.place.instance_file, facts)
        except OSError as error:
            raise ClaimError(f"cannot write {self.place.instance_file}: {error.strerror}") from None
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
        """Name, for `forks`, the lock and every socket at our paths: listening or accepted."""
        if self._lock < 0:
            return []
        paths = {self.place.sock, self.place.zmq}
        return [self._lock, *(number for number in open_descriptors() if _stands_at(number, paths))]

    def _listen(self, path: str) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.bind(path)
            self._inodes[path] = inode_at(path)
            os.chmod(path, 0o600)  # before listen: nobody can have connected
            sock.listen(BACKLOG)
        except OSError as error:
            sock.close()
            raise ClaimError(f"cannot listen at {path}: {error.strerror}") from None
        sock.setblocking(False)
        return sock


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
            who = f"process {pid}" if pid else "another process"
            raise NameTaken(
                f"an instance called {place.name} already lives in {place.directory} ({who})",
                pid=pid,
                hint=f"choose another --name, or end it with `flaskd_ctl --name {place.name} shutdown`",
            ) from None
        if os.fstat(lock).st_ino == inode_at(place.lock):
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
        os.close(
            lock
        )  # its holder ended and removed it between our open and our flock: again, on the new file


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
