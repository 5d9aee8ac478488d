"""`flaskd start`: check, start in the background, wait, and say how to go on."""

import contextlib
import fcntl
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from flaskd.audit.files import write_atomically
from flaskd.audit.last_stop import state_directory
from flaskd.console.say import say
from flaskd.control.lock import name_taken
from flaskd.control.record import ProcessRecord
from flaskd.errors import ConfigError, FlaskdError, NameTaken
from flaskd.logs.file import open_to_append
from flaskd.process.directory import logical_directory
from flaskd.settings.options import Given, absolute
from flaskd.settings.schema import Settings, option
from flaskd.settings.sources import settings_from
from flaskd.start.process import Starting
from flaskd.start.starter import SLOW_START
from flaskd_ctl.contract.endpoint import Place, client_command, place_for, search_dirs
from flaskd_ctl.contract.files import read_object
from flaskd_ctl.contract.process_record import running_at
from flaskd_ctl.contract.start_record import StartRecord, paths, read_record

PROGRAM: Final = (sys.executable, "-m", "flaskd")

LOG_SIZE: Final = "10M"
"""Size at which the log of an instance is rotated, unless a setting says otherwise."""

LAST_LINES: Final = 40
"""Lines of the log to show of a start that has failed."""

INTERRUPTED: Final = 130

OF_A_MANAGER: Final = (
    *("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"),
    *("INVOCATION_ID", "SYSTEMD_EXEC_PID", "JOURNAL_STREAM"),
)
"""Variables by which a service manager speaks to its child; the instance is not that child."""


class StartFailed(FlaskdError):
    """The instance ended before it served; `code` is its exit code."""

    def __init__(self, message: str, *, code: int, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.code = code


class Started(NamedTuple):
    """An instance that serves."""

    name: str
    pid: int
    listeners: list[str]
    log: str
    client: str


def start(given: Given) -> Started:
    """Start the instance and wait until it serves. Raises FlaskdError or BadPlace; StartFailed if it ends instead."""
    found = given.find()
    settings = settings_from(found)
    if not settings.control:
        raise ConfigError(
            "flaskd start needs the control socket: nothing else could stop the instance",
            hint="leave out --no-control, or use `flaskd run`",
        )
    if settings.dev:
        raise ConfigError(
            "flaskd start has no terminal, which --dev needs: for the traceback, the debugger's PIN and breakpoint()",
            hint="use `flaskd dev`",
        )
    place = _place(settings)
    # Somebody who names the file, or a size, also 0, has decided.
    rotated = not settings.log_file and found["log_max_size"].source == "default"
    log = os.path.abspath(
        settings.log_file or os.path.join(state_directory(os.environ), f"{settings.name}.log")
    )
    with _only_one(settings.name):
        _refuse_second(place)
        with _opened(log) as output:
            begin = os.fstat(output).st_size
            command = [*PROGRAM, "run", *_options(settings, place, log, rotated=rotated), *given.words]
            environ = {name: value for name, value in os.environ.items() if name not in OF_A_MANAGER}
            starting = Starting(command, environ=environ, output=output)
            code = _wait(starting, settings.name, log)
        if not starting.pid:
            raise StartFailed(
                f"{settings.name} did not start: {starting.failure}",
                code=1,
                hint="check `ulimit -u` and the free memory",
            )
        if code is not None:
            _show_end(log, begin)
            _note_attempt(settings.name, starting.pid)
            raise StartFailed(
                f"{settings.name} did not start: exit code {code}", code=code, hint=f"see {log}"
            )
        _record(given.words, place, log, starting.pid)
    facts = read_object(place.instance_file)
    return Started(
        settings.name,
        starting.pid,
        [str(url) for url in facts.get("listeners") or []],
        log,
        client_command(place.endpoints, os.environ, os.geteuid()),
    )


def _place(settings: Settings) -> Place:
    """Choose the instance's directory: not one that the end of a login session removes (XDG_RUNTIME_DIR)."""
    environ = {name: value for name, value in os.environ.items() if name != "XDG_RUNTIME_DIR"}
    return place_for(
        settings.name, runtime_dir=settings.runtime_dir or None, environ=environ, uid=os.geteuid()
    )


@contextlib.contextmanager
def _only_one(name: str) -> Iterator[None]:
    """Hold a lock: of two starts of a name at once, the second would write to the log of the first. Raises ConfigError."""
    path = f"{paths(name, os.environ)[0]}.lock"
    try:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigError(
            f"cannot write to the state directory: {path}: {error.strerror}",
            hint="set XDG_STATE_HOME to a directory that you may write to",
        ) from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise NameTaken(
            f"{name} is being started by another `flaskd start`",
            pid=0,
            hint=f"wait for it: flaskd_ctl --name {name} wait --for ready",
        ) from None
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            os.unlink(path)
        os.close(lock)


def _refuse_second(place: Place) -> None:
    """Raise NameTaken if an instance of that name runs, here or where `flaskd run` would put it."""
    ProcessRecord(place).refuse_second()
    for directory in search_dirs(runtime_dir=None, environ=os.environ, uid=os.geteuid()):
        other = Place(os.path.join(directory, place.name))
        if (record := running_at(other.directory, os.environ)) is not None:
            raise name_taken(other, int(record["pid"]))


@contextlib.contextmanager
def _opened(log: str) -> Iterator[int]:
    """Open the log to append to it. Raises ConfigError."""
    try:
        descriptor = open_to_append(log)
    except OSError as error:
        raise ConfigError(
            f"cannot write the log file {log}: {error.strerror}", hint="choose another --log-file"
        ) from None
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _options(settings: Settings, place: Place, log: str, *, rotated: bool) -> list[str]:
    """Return what `flaskd run` must be told besides: where it is, and, if `rotated`, to keep its output within limits."""
    wanted = {"runtime_dir": os.path.dirname(place.directory), "log_file": log}
    if settings.access_log != "off":
        wanted["access_log_file"] = f"{log.removesuffix('.log')}.access.log"
    if rotated:
        wanted["log_max_size"] = LOG_SIZE
    return [
        word for name, value in wanted.items() if not _set(settings, name) for word in (option(name), value)
    ]


def _set(settings: Settings, name: str) -> bool:
    return getattr(settings, name) not in {"", "0"}


def _wait(starting: Starting, name: str, log: str) -> int | None:
    """Wait for the start's end; SIGINT and SIGTERM stop what has been started, as they would stop `flaskd run`."""

    def interrupted(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupted)
    try:
        if starting.takes_longer(SLOW_START):
            say(f"flaskd: {name} is still starting after {SLOW_START:g} s; its log: {log}")
        return starting.wait()
    except KeyboardInterrupt:
        say(f"flaskd: {name} is stopped again; its log: {log}")
        starting.stop()
        starting.wait()
        raise StartFailed(f"the start of {name} was interrupted", code=INTERRUPTED) from None
    finally:
        signal.signal(signal.SIGTERM, before)


def _show_end(log: str, begin: int) -> None:
    """Print the end of what the start has written to the log."""
    with contextlib.suppress(OSError), open(log, "rb") as file:
        file.seek(begin if begin <= os.fstat(file.fileno()).st_size else 0)
        for line in file.read()[-65536:].decode(errors="replace").splitlines()[-LAST_LINES:]:
            say(line)


def _note_attempt(name: str, pid: int) -> None:
    """Note that the last try to run an instance was ours, if an earlier start has left a record: a restart may try again."""
    record = read_record(name, os.environ, os.geteuid())
    if record is not None:
        _write(name, record._replace(pid=pid))


def _record(words: Sequence[str], place: Place, log: str, pid: int) -> None:
    """Write how to start it again."""
    mask = os.umask(0o077)
    os.umask(mask)
    record = StartRecord(
        program=[*PROGRAM],
        words=[*words],
        pid=pid,
        directory=logical_directory() or absolute(""),
        environ=dict(os.environ),
        umask=mask,
        place=place.directory,
        log=log,
    )
    _write(place.name, record)


def _write(name: str, record: StartRecord) -> None:
    """Write a record. One that cannot be written fails no start, but it is said."""
    path = paths(name, os.environ)[0]
    try:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        write_atomically(path, record._asdict())
    except OSError as error:
        say(
            f"flaskd: cannot write {path}: {error.strerror}; `flaskd_ctl restart` will not know how to start it"
        )
