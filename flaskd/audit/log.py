"""The audit: who asked for which change, and what became of it.

Each order leaves two lines under one id in the audit log: "begun" before anything is done, so that a daemon which is killed in
the middle has left who asked, and the same again with the outcome. A refusal is one line. The log is opened for each line
(logrotate needs no signal) with O_APPEND, which makes lines of several writers whole (open(2)). Beside it one sentence for each
order goes to the journal, with fields, or to stderr.

A line that cannot be written holds up no order: whoever operates a machine whose disk is full has to be able to
stop things on it. It is said once, and the sentence on stderr is there all the same (docs/decisions/0045).

What comes from outside is bounded, and written in ASCII with everything else escaped: no command line and no parameter can
forge a line or steer the terminal of whoever looks into the log.
"""

import contextlib
import errno
import json
import os
import stat
import time
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import Future
from typing import Any, Final, Self, TypeVar

import msgspec

from flaskd.audit.entry import entry_of, error_text, summary
from flaskd.audit.last_stop import state_directory
from flaskd.console.say import say
from flaskd.errors import ConfigError
from flaskd_ctl.contract import audit_log
from flaskd_ctl.protocol import Actor, AuditEntry

ENDING: Final = {"shutdown", "kill"}
MAX_STOP_REQUESTERS: Final = 64

MOST: Final = 100
A_WHILE: Final = 60.0
"""Seconds in which so many refusals are written down, and so many orders of the application: neither may fill the disk."""

T = TypeVar("T")

Reporter = Callable[[AuditEntry, str], None]
"""Takes an outcome and the sentence that tells it."""


class Audit:
    """Writes down orders at `path` ("": nowhere but on stderr), from any thread. `report` says each outcome.

    `stop_requesters` keeps what the command line was of those who asked for the end: they are gone when that is told.
    """

    def __init__(self, path: str, *, report: Reporter | None = None) -> None:
        self.path = path
        self.stop_requesters: dict[Actor, str] = {}
        self._report = report or (lambda _, sentence: say(sentence))
        self._silent = False  # the last line could not be written, which was said
        self._refusals = _Flood()
        self._applications = _Flood()

    @classmethod
    def from_setting(cls, setting: str, name: str, *, report: Reporter | None = None) -> Self:
        """Make the audit that `audit_log` asks for: "off", a path, or "" for a log beside the note of the last stop.

        Raises ConfigError for a path that cannot be written to now: who names one wants to know before anything is served.
        """
        if setting == "off":
            return cls("", report=report)
        if setting:
            audit = cls(os.path.abspath(setting), report=report)
            audit.check()
            return audit
        directory = state_directory(os.environ)
        with contextlib.suppress(OSError):
            os.makedirs(directory, mode=0o700, exist_ok=True)
        return cls(os.path.join(directory, f"{name}{audit_log.SUFFIX}"), report=report)

    def check(self) -> None:
        """Raise ConfigError where the log cannot be written to now."""
        try:
            os.close(_open(self.path))
        except OSError as error:
            raise ConfigError(
                f"cannot write the audit log {self.path}: {error.strerror}",
                hint="choose another --audit-log, or --audit-log off",
            ) from None

    def begin(self, command: str, params: Mapping[str, Any], by: Actor, *, role: str = "") -> "AuditRecord":
        """Write down that `by` asked for `command`, which is allowed and now begins."""
        entry = entry_of(command, params, by, role=role, outcome="begun")
        self._write(entry)
        if command in ENDING and len(self.stop_requesters) < MAX_STOP_REQUESTERS:
            self.stop_requesters.setdefault(by, entry.who)
        return AuditRecord(self, entry)

    def run(
        self, command: str, params: Mapping[str, Any], by: Actor, order: Callable[[], "Future[T]"]
    ) -> "Future[T]":
        """Give an order of whoever needs no role (a signal, the application), and write it down with its outcome."""
        if by.via == "application" and self._applications.is_one_too_many():
            return order()
        record = self.begin(command, params, by)
        try:
            future = order()
        except Exception as error:
            record.finish(error)
            raise
        record.follow(future)
        return future

    def stop_requester(self, by: Actor | None) -> str:
        """Return what the command line was of who asked for the end."""
        return self.stop_requesters.get(by, "") if by is not None else ""

    def refuse(self, command: str, params: Mapping[str, Any], by: Actor, error: str, *, role: str) -> None:
        """Write down that `by` asked for `command` and was refused; of a flood, only how many more there were."""
        if self._refusals.is_one_too_many():
            return
        if missed := self._refusals.missed():
            error = f"{error} (and {missed} refusals before it, which are not written down)"
        entry = entry_of(command, params, by, role=role, outcome="refused")
        self.tell(msgspec.structs.replace(entry, error=error_text(error)))

    def tell(self, entry: AuditEntry) -> None:
        """Write down an outcome, and say it."""
        self._write(entry)
        self._report(entry, summary(entry))

    def newest(self, limit: int) -> list[AuditEntry]:
        """Read the newest entries, newest last; raises OSError."""
        try:
            read = audit_log.newest(self.path, limit)
        except FileNotFoundError:  # nothing was asked for yet, or it was just moved away
            return []
        entries = []
        for entry in read:
            try:
                entries.append(msgspec.convert(entry, AuditEntry))
            except msgspec.ValidationError:
                continue  # somebody else's line
        return entries

    def _write(self, entry: AuditEntry) -> None:
        if not self.path:
            return
        line = json.dumps(msgspec.to_builtins(entry)).encode() + b"\n"
        try:
            _append(self.path, line)
        except OSError as error:
            if not self._silent:
                say(
                    f"flaskd: cannot write the audit log {self.path}: {error.strerror}; orders are carried out all the same"
                )
            self._silent = True
        else:
            self._silent = False


class _Flood:
    """Counts what is written down in A_WHILE, and what is not since it would be more than MOST."""

    def __init__(self) -> None:
        self._written: deque[float] = deque(maxlen=MOST)
        self._missed = 0

    def is_one_too_many(self) -> bool:
        """Return whether the next one is passed over."""
        now = time.monotonic()
        if len(self._written) == MOST and self._written[0] > now - A_WHILE:
            self._missed += 1
            return True
        self._written.append(now)
        return False

    def missed(self) -> int:
        """Return how many were passed over since this was asked."""
        missed, self._missed = self._missed, 0
        return missed


class AuditRecord:
    """An order that was begun, until its outcome is written down."""

    def __init__(self, audit: Audit, entry: AuditEntry) -> None:
        self._audit = audit
        self._entry = entry
        self._began = time.monotonic()
        self.followed = False

    def follow(self, future: Future[Any]) -> None:
        """Take the outcome of `future` for the order's, whoever still waits for it."""
        self.followed = True
        future.add_done_callback(lambda done: self.finish(done.exception()))

    async def await_outcome(self, work: Coroutine[Any, Any, T]) -> T:
        """Wait for `work` and take its outcome for the order's, unless that has one of its own to follow."""
        failure: BaseException | None = None
        try:
            return await work
        except BaseException as error:
            failure = error
            raise
        finally:
            if not self.followed:
                self.finish(failure)

    def finish(self, error: BaseException | None) -> None:
        """Write down the outcome."""
        self._audit.tell(
            msgspec.structs.replace(
                self._entry,
                outcome="done" if error is None else "failed",
                error="" if error is None else error_text(str(error) or type(error).__name__),
                took=round(time.monotonic() - self._began, 3),
            )
        )


def quiet(entry: AuditEntry, said: str) -> None:
    """Say nothing."""


def _append(path: str, line: bytes) -> None:
    """Write one line; raises OSError. What was left of one that did not fit (the disk was full) does not swallow it."""
    descriptor = _open(path)
    try:
        length = os.fstat(descriptor).st_size
        if length and os.pread(descriptor, 1, length - 1) != b"\n":
            line = b"\n" + line
        if os.write(descriptor, line) < len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    finally:
        os.close(descriptor)


def _open(path: str) -> int:
    """Open the log: not through a link that somebody else may have put there, and nothing but a file, as a pipe would block."""
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    descriptor = os.open(path, flags, 0o600)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a file")
    return descriptor
