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
import json
import os
import shlex
import time
import uuid
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import Future
from typing import Any, Final, Self, TypeVar

import msgspec

from flaskd import banner
from flaskd.errors import ConfigError
from flaskd.last_stop import state_directory
from flaskd_ctl import trail
from flaskd_ctl.commands import COMMANDS
from flaskd_ctl.errors import ControlError
from flaskd_ctl.protocol import Actor, AuditEntry
from flaskd_ctl.times import span

LONGEST: Final = 512
"""Characters of a text from outside that are kept."""

LONGEST_ERROR: Final = 1024

ENDING: Final = {"shutdown", "kill"}
MOST_STOPPERS: Final = 64

MOST: Final = 100
A_WHILE: Final = 60.0
"""Seconds in which so many refusals are written down, and so many orders of the application: neither may fill the disk."""

T = TypeVar("T")

Tell = Callable[[AuditEntry, str], None]
"""Takes an outcome and the sentence that tells it."""


class Audit:
    """Writes down orders at `path` ("": nowhere but on stderr), from any thread. `tell` says each outcome.

    `stoppers` keeps what the command line was of those who asked for the end: they are gone when that is told.
    """

    def __init__(self, path: str, *, tell: Tell | None = None) -> None:
        self.path = path
        self.stoppers: dict[Actor, str] = {}
        self._tell = tell or (lambda _, sentence: banner.say(sentence))
        self._silent = False  # the last line could not be written, which was said
        self._refusals = _Flood()
        self._applications = _Flood()

    @classmethod
    def of(cls, setting: str, name: str, *, tell: Tell | None = None) -> Self:
        """Make the audit that `audit_log` asks for: "off", a path, or "" for a log beside the note of the last stop.

        Raises ConfigError for a path that cannot be written to now: who names one wants to know before anything is served.
        """
        if setting == "off":
            return cls("", tell=tell)
        if setting:
            audit = cls(os.path.abspath(setting), tell=tell)
            audit.check()
            return audit
        directory = state_directory(os.environ)
        with contextlib.suppress(OSError):
            os.makedirs(directory, mode=0o700, exist_ok=True)
        return cls(os.path.join(directory, f"{name}{trail.SUFFIX}"), tell=tell)

    def check(self) -> None:
        """Raise ConfigError where the log cannot be written to now."""
        try:
            os.close(_open(self.path))
        except OSError as error:
            raise ConfigError(
                f"cannot write the audit log {self.path}: {error.strerror}",
                hint="choose another --audit-log, or --audit-log off",
            ) from None

    def begin(self, command: str, params: Mapping[str, Any], by: Actor, *, role: str = "") -> "Deed":
        """Write down that `by` asked for `command`, which is allowed and now begins."""
        entry = _entry(command, params, by, role=role, outcome="begun")
        self._write(entry)
        if command in ENDING and len(self.stoppers) < MOST_STOPPERS:
            self.stoppers.setdefault(by, entry.who)
        return Deed(self, entry)

    def ordered(
        self, command: str, params: Mapping[str, Any], by: Actor, order: Callable[[], "Future[T]"]
    ) -> "Future[T]":
        """Give an order of whoever needs no role (a signal, the application), and write it down with its outcome."""
        if by.via == "application" and self._applications.is_one_too_many():
            return order()
        deed = self.begin(command, params, by)
        try:
            future = order()
        except ControlError as error:
            deed.end(error)
            raise
        deed.follow(future)
        return future

    def who_asked(self, by: Actor | None) -> str:
        """Tell what the command line was of who asked for the end."""
        return self.stoppers.get(by, "") if by is not None else ""

    def refuse(self, command: str, params: Mapping[str, Any], by: Actor, error: str, *, role: str) -> None:
        """Write down that `by` asked for `command` and was refused; of a flood, only how many more there were."""
        if self._refusals.is_one_too_many():
            return
        if missed := self._refusals.missed():
            error = f"{error} (and {missed} refusals before it, which are not written down)"
        entry = _entry(command, params, by, role=role, outcome="refused")
        self.tell(msgspec.structs.replace(entry, error=_sentence(error)))

    def tell(self, entry: AuditEntry) -> None:
        """Write down an outcome, and say it."""
        self._write(entry)
        self._tell(entry, sentence(entry))

    def newest(self, limit: int) -> list[AuditEntry]:
        """Read the newest entries, newest last; raises OSError."""
        try:
            read = trail.newest(self.path, limit)
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
            descriptor = _open(self.path)
            try:
                os.write(descriptor, line)
            finally:
                os.close(descriptor)
        except OSError as error:
            if not self._silent:
                banner.say(
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
        """Tell whether the next one is passed over."""
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


class Deed:
    """An order that was begun, until its outcome is written down."""

    def __init__(self, audit: Audit, entry: AuditEntry) -> None:
        self._audit = audit
        self._entry = entry
        self._began = time.monotonic()
        self.followed = False

    def follow(self, future: Future[Any]) -> None:
        """Take the outcome of `future` for the order's, whoever still waits for it."""
        self.followed = True
        future.add_done_callback(lambda done: self.end(done.exception()))

    async def see_through(self, work: Coroutine[Any, Any, T]) -> T:
        """Wait for `work` and take its outcome for the order's, unless that has one of its own to follow."""
        failure: BaseException | None = None
        try:
            return await work
        except BaseException as error:
            failure = error
            raise
        finally:
            if not self.followed:
                self.end(failure)

    def end(self, error: BaseException | None) -> None:
        """Write down the outcome."""
        self._audit.tell(
            msgspec.structs.replace(
                self._entry,
                outcome="done" if error is None else "failed",
                error="" if error is None else _sentence(str(error) or type(error).__name__),
                took=round(time.monotonic() - self._began, 3),
            )
        )


def told(command: str, params: msgspec.Struct) -> dict[str, Any]:
    """Return the parameters of `command` that say something: those not as they are by default, `progress` left out."""
    kinds = {param.name: param for param in COMMANDS[command].params}
    found = {}
    for field in msgspec.structs.fields(params):
        value = getattr(params, field.name)
        if field.name == "progress" or value == field.default:
            continue
        param = kinds.get(field.name)
        if param is not None and param.secret:
            value = trail.HIDDEN
        elif isinstance(value, str):
            value = bounded(trail.without_query(value))
        found[field.name] = value
    return found


def quiet(entry: AuditEntry, said: str) -> None:
    """Say nothing."""


def _sentence(error: str) -> str:
    return bounded(trail.without_query(error), LONGEST_ERROR)


def bounded(text: str, most: int = LONGEST) -> str:
    """Return `text` with its end cut off where that is too long."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def who_is(by: Actor) -> str:
    """Return the command line of the process that asked, as that shows itself (proc(5)), or its key's name."""
    if by.key:
        return by.key
    if not by.pid or by.via not in {"control", "signal"}:
        return ""
    try:
        with open(f"/proc/{by.pid}/cmdline", "rb") as file:
            words = file.read(8 * LONGEST).rstrip(b"\0").split(b"\0")
    except OSError:
        return ""
    return bounded(
        trail.without_query(shlex.join(word.decode("utf-8", "backslashreplace") for word in words if word))
    )


def sentence(entry: AuditEntry) -> str:
    """Tell an outcome in one line."""
    took = "" if entry.took is None else f" in {span(entry.took)}"
    outcome = f"done{took}" if entry.outcome == "done" else f"{entry.outcome}{took}: {entry.error}"
    by = trail.described(msgspec.to_builtins(entry.by), who=entry.who, user=entry.user)
    params = "".join(f" {name}={value}" for name, value in entry.params.items())
    return banner.escaped(f"flaskd: {entry.command}{params} asked for by {by}: {outcome}")


def _entry(command: str, params: Mapping[str, Any], by: Actor, *, role: str, outcome: str) -> AuditEntry:
    return AuditEntry(
        id=uuid.uuid4().hex[:12],
        at=round(time.time(), 3),
        command=command,
        params=dict(params),
        by=by,
        who=who_is(by),
        role=role,
        outcome=outcome,
        user=_user(by.uid),
    )


def _user(uid: int | None) -> str:
    """Name a uid, from the local file only: the user database (nsswitch.conf(5)) may be a server that does not answer."""
    try:
        with open("/etc/passwd", encoding="utf-8", errors="replace") as file:
            users = (line.split(":") for line in file)
            return next((user[0] for user in users if len(user) > 2 and user[2] == str(uid)), "")
    except OSError:
        return ""


def _open(path: str) -> int:
    """Open the log: not through a link that somebody else may have put there, and not waiting for the reader of a pipe."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    return os.open(path, flags, 0o600)
