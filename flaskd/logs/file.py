"""A log file: what `--log-file` names. It is opened again when another program has renamed it (logrotate(8)).

With a maximum size it is renamed here, to FILE.1, in place of the one before: so two files are kept, within twice the size.

One thread writes to it, and opens it again between two writes, so no line is lost or torn by a rotation. Where it cannot be
opened again, or its disk is full, that is said once, and serving goes on.
"""

import errno
import os
import stat
from collections.abc import Callable, Iterable
from typing import Final

from flaskd.console.priority import Priority
from flaskd.errors import ConfigError
from flaskd.logs.form import Entry
from flaskd.logs.sinks import Style, write_all
from flaskd_ctl.errors import Failed

MODE: Final = 0o640
"""Permissions of a new file, minus the umask: lines may quote requests."""

Report = Callable[[str, Priority], None]


class LogFile:
    """A sink that appends to a file. `report` is told what goes wrong; it must not wait.

    Raises ConfigError if the file cannot be opened. `setting` is the option's name, for that. `max_size` is in bytes; 0: no
    maximum.
    """

    def __init__(self, path: str, style: Style, *, setting: str, report: Report, max_size: int = 0) -> None:
        self._max_size = max_size
        self.path = os.path.abspath(path)
        self._style = style
        self._report = report
        self._torn = False  # the last write ended within a line
        self._lost = 0  # lines, since it was last written to
        try:
            self._descriptor = open_to_append(self.path)
        except OSError as error:
            raise ConfigError(
                f"cannot write the log file {self.path}: {error.strerror}", hint=f"choose another {setting}"
            ) from None

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    def reopen(self) -> None:
        """Open the file again, which may be another one by now. Raises Failed where that cannot be; the old one stays."""
        try:
            fresh = open_to_append(self.path)
        except OSError as error:
            raise Failed(
                f"cannot open the log file {self.path} again: {error.strerror}; lines still go to the one that is open",
                hint="check its directory and permissions, then `flaskd_ctl logs --reopen`",
            ) from None
        os.close(self._descriptor)
        self._descriptor, self._torn = fresh, False

    def write(self, entries: Iterable[Entry]) -> None:
        """See `Sink.write`."""
        self.write_raw(self._style.for_file(entries))

    def write_raw(self, data: bytes) -> None:
        """See `Sink.write_raw`."""
        start, end_torn = self._size(), b"\n" if self._torn else b""
        try:
            write_all(self._descriptor, end_torn + data)
        except OSError as error:
            self._failed(error, data, written=self._size() - start - len(end_torn))
            return
        self._torn = False
        if self._lost:
            lost, self._lost = self._lost, 0
            self._report(
                f"flaskd: the log file {self.path} is written again; lines lost: {lost}", Priority.WARNING
            )
        if self._max_size and start + len(data) >= self._max_size:
            self._rotate()

    def _rotate(self) -> None:
        """Rename the file and begin a new one. If that fails, it is said once, and the file grows."""
        try:
            if _same(self.path, self._descriptor):  # otherwise another program has renamed it
                os.replace(self.path, f"{self.path}.1")
            self.reopen()
        except (OSError, Failed) as error:
            self._max_size = 0
            why = error.strerror if isinstance(error, OSError) else error
            self._report(
                f"flaskd: cannot rotate the log file {self.path}: {why}; from now on it grows",
                Priority.ERR,
            )

    def _failed(self, error: OSError, data: bytes, *, written: int) -> None:
        """Count the lines that are lost, those after the first `written` bytes, and say so when it begins."""
        if not self._lost:
            self._report(
                f"flaskd: cannot write the log file {self.path}: {error.strerror}; lines are lost until it can be written",
                Priority.ERR,
            )
        if written >= 0:
            self._torn = written > 0 and data[written - 1 : written] != b"\n"
        self._lost += data.count(b"\n", max(0, written))

    def _size(self) -> int:
        return os.fstat(self._descriptor).st_size


def _same(path: str, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def open_to_append(path: str) -> int:
    """Open a file to append to. Only a file: opening a pipe would wait for its reader. Raises OSError."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
    descriptor = os.open(path, flags, MODE)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a file")
    return descriptor
