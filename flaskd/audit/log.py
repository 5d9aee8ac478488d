"""The audit log: who asked for which change, and what was its outcome.

Each command writes two lines with one id: "begun" before anything is done, so that a daemon killed in the middle has logged who
asked, and then the same with the outcome. A refusal is one line. The log is opened for each line (logrotate needs no signal)
with O_APPEND, which keeps the lines of several writers whole (open(2)). In addition, one sentence for each outcome goes to the
journal, with fields, or to stderr.

A line that cannot be written stops no command: on a machine whose disk is full, operators must be able to stop things. The
failure is logged once, and the sentence on stderr is written anyway (docs/decisions/0045).

What comes from outside is truncated, and written in ASCII with everything else escaped: no command line or parameter can forge
a line or send control codes to the terminal of a reader.
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

STOPS: Final = {"shutdown", "kill"}
MAX_STOP_REQUESTERS: Final = 64

LIMIT: Final = 100
PERIOD: Final = 60.0
"""So many refusals are logged in so many seconds, and so many orders of the application: neither may fill the disk."""

T = TypeVar("T")

Reporter = Callable[[AuditEntry, str], None]
"""Takes an outcome and its description in one sentence."""


class Audit:
    """Writes commands to the log at `path` (if "", only to stderr), from any thread. `report` gets each outcome."""

    def __init__(self, path: str, *, report: Reporter | None = None) -> None:
        self.path = path
        self._report = report or (lambda _, text: say(text))
        self.write_error = ""
        """Why the last line could not be written, which was logged; "" if it was written."""
        self._stop_requesters: dict[Actor, str] = {}
        self._refusals = _RateLimit()
        self._applications = _RateLimit()

    @classmethod
    def from_setting(cls, setting: str, name: str, *, report: Reporter | None = None) -> Self:
        """Create the audit for the setting `audit_log`: "off", a path, or "" for a log next to the note of the last stop.

        Raises ConfigError if a given path cannot be written to.
        """
        if setting == "off":
            return cls("", report=report)
        if setting:
            path = os.path.abspath(setting)
            try:
                os.close(_open(path))
            except OSError as error:
                raise ConfigError(
                    f"cannot write the audit log {path}: {error.strerror}",
                    hint="choose another --audit-log, or --audit-log off",
                ) from None
            return cls(path, report=report)
        directory = state_directory(os.environ)
        with contextlib.suppress(OSError):
            os.makedirs(directory, mode=0o700, exist_ok=True)
        return cls(os.path.join(directory, f"{name}{audit_log.SUFFIX}"), report=report)

    def begin(self, command: str, params: Mapping[str, Any], by: Actor, *, role: str = "") -> "AuditRecord":
        """Log that `command` begins, which `by` asked for and is allowed to run."""
        entry = entry_of(command, params, by, role=role, outcome="begun")
        self._write(entry)
        if command in STOPS and len(self._stop_requesters) < MAX_STOP_REQUESTERS:
            self._stop_requesters.setdefault(by, entry.who)
        return AuditRecord(self, entry)

    def run(
        self, command: str, params: Mapping[str, Any], by: Actor, order: Callable[[], "Future[T]"]
    ) -> "Future[T]":
        """Give an order that needs no role (from a signal or the application), and log it with its outcome."""
        if by.via == "application" and self._applications.exceeded():
            return order()
        with self.begin(command, params, by) as record:
            future = order()
            record.follow(future)
            return future

    def stop_requester(self, by: Actor | None) -> str:
        """Return the command line of the process that asked for the stop, which may have ended since."""
        return self._stop_requesters.get(by, "") if by is not None else ""

    def refuse(self, command: str, params: Mapping[str, Any], by: Actor, error: str, *, role: str) -> None:
        """Log that `by` asked for `command` and was refused. Above the rate limit, only the number is logged."""
        if self._refusals.exceeded():
            return
        if dropped := self._refusals.take_dropped():
            error = f"{error} (and {dropped} refusals before it, which are not logged)"
        entry = entry_of(command, params, by, role=role, outcome="refused")
        self.finish(msgspec.structs.replace(entry, error=error_text(error)))

    def finish(self, entry: AuditEntry) -> None:
        """Log and report an outcome."""
        self._write(entry)
        self._report(entry, summary(entry))

    def newest(self, limit: int) -> list[AuditEntry]:
        """Return the newest entries, newest last. Raises OSError."""
        try:
            read = audit_log.newest(self.path, limit)
        except FileNotFoundError:  # nothing is logged yet, or the file was just rotated
            return []
        entries = []
        for entry in read:
            with contextlib.suppress(msgspec.ValidationError):  # another program's line
                entries.append(msgspec.convert(entry, AuditEntry))
        return entries

    def _write(self, entry: AuditEntry) -> None:
        if not self.path:
            return
        try:
            _append(self.path, json.dumps(msgspec.to_builtins(entry)).encode() + b"\n")
            self.write_error = ""
        except OSError as error:
            if not self.write_error:
                say(f"flaskd: cannot write the audit log {self.path}: {error.strerror}; commands still run")
            self.write_error = error.strerror or str(error)


class _RateLimit:
    """Allows `LIMIT` entries in `PERIOD` seconds, and counts the others."""

    def __init__(self) -> None:
        self._written: deque[float] = deque(maxlen=LIMIT)
        self._dropped = 0

    def exceeded(self) -> bool:
        """Return whether the next entry is dropped."""
        now = time.monotonic()
        if len(self._written) == LIMIT and self._written[0] > now - PERIOD:
            self._dropped += 1
            return True
        self._written.append(now)
        return False

    def take_dropped(self) -> int:
        """Return the number of entries dropped since the last call."""
        dropped, self._dropped = self._dropped, 0
        return dropped


class AuditRecord:
    """The log entry of a command that has begun.

    As a context manager it logs the outcome of the block, unless that of a future is to be followed.
    """

    def __init__(self, audit: Audit, entry: AuditEntry) -> None:
        self._audit = audit
        self._entry = entry
        self._began = time.monotonic()
        self._followed = False
        self._failure = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if not self._followed:
            self.finish(error)

    def note(self, **facts: Any) -> None:
        """Add facts to the parameters that are logged with the outcome."""
        self._entry = msgspec.structs.replace(self._entry, params={**self._entry.params, **facts})

    def failed(self, why: str) -> None:
        """Log it as failed when it ends, though it has a result: each process that should have done it refused."""
        self._failure = why

    def follow(self, future: Future[Any]) -> None:
        """Log the outcome of `future` as the command's, even if nobody waits for it any more."""
        self._followed = True
        future.add_done_callback(lambda done: self.finish(done.exception()))

    async def await_outcome(self, work: Coroutine[Any, Any, T]) -> T:
        """Wait for `work`, and log its outcome unless a future is followed."""
        with self:
            return await work

    def finish(self, error: BaseException | None) -> None:
        """Log the outcome."""
        why = self._failure if error is None else str(error) or type(error).__name__
        self._audit.finish(
            msgspec.structs.replace(
                self._entry,
                outcome="failed" if why else "done",
                error=error_text(why) if why else "",
                took=round(time.monotonic() - self._began, 3),
            )
        )


def quiet(entry: AuditEntry, said: str) -> None:
    """Report nothing; for `Audit(report=)`."""


def _append(path: str, line: bytes) -> None:
    """Write one line. Raises OSError. If the last line is incomplete (the disk was full), start a new one."""
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
    """Open the log. Follow no link, which somebody else may have created, and open only a file: a pipe would block."""
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    descriptor = os.open(path, flags, 0o600)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a file")
    return descriptor
