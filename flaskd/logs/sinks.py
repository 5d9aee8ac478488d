"""Where entries are written to: a descriptor, or the journal. Each is used by one thread, which may be made to wait."""

import contextlib
import os
import select
import socket
from collections.abc import Iterable, Mapping
from typing import Final, Protocol

from flaskd.audit import journal
from flaskd.logs.form import WRITERS, Entry, as_json, for_journal, journal_message, mark
from flaskd_ctl.protocol import LogLine


class Style:
    """The format of all lines, which a reload may change. `journal`: stderr is read by the journal."""

    def __init__(self, form: str = "text", *, journal: bool = False) -> None:
        self.form = form
        self.journal = journal

    def for_file(self, entries: Iterable[Entry]) -> bytes:
        """Return the bytes of some entries for a file."""
        return b"".join(map(WRITERS[self.form], entries))

    def for_stream(self, entries: Iterable[Entry]) -> bytes:
        """Return the bytes of some entries for stdout or stderr; the journal wants the priority in front of each line."""
        if not self.journal:
            return self.for_file(entries)
        if self.form == "json":
            return b"".join(mark(entry.priority) + as_json(entry) for entry in entries)
        return b"".join(map(for_journal, entries))


class Sink(Protocol):
    """Takes what is to be written."""

    def write(self, entries: Iterable[Entry]) -> None:
        """Write entries. Does not raise: the application goes on where nothing can be written."""

    def write_raw(self, data: bytes) -> None:
        """Write whole lines as they are."""

    def close(self) -> None:
        """Close what is the sink's own."""


class StreamSink:
    """Writes to a descriptor, waiting while its reader does not read."""

    def __init__(self, descriptor: int, style: Style) -> None:
        self._descriptor = descriptor
        self._style = style

    def write(self, entries: Iterable[Entry]) -> None:
        """See `Sink.write`."""
        self.write_raw(self._style.for_stream(entries))

    def write_raw(self, data: bytes) -> None:
        """See `Sink.write_raw`."""
        with contextlib.suppress(
            OSError
        ):  # nobody reads it any more, or the disk is full: the application goes on
            write_all(self._descriptor, data)

    def close(self) -> None:
        """See `Sink.close`."""


class JournalSink(StreamSink):
    """Sends each entry to the journal with fields; where that fails, writes it to the descriptor, which the journal reads.

    With fields, a record of several lines is one entry, and can be found by its worker and its request.
    """

    def __init__(self, descriptor: int, style: Style, *, path: str = journal.SOCKET) -> None:
        super().__init__(descriptor, style)
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.setblocking(False)

    def write(self, entries: Iterable[Entry]) -> None:
        """See `Sink.write`."""
        if self._style.form == "json":
            super().write(entries)
            return
        for entry in entries:
            try:
                self._socket.sendto(journal.datagram(journal_fields(entry)), self._path)
            except OSError:  # it is full, or the entry is too large, or a sandbox hides the socket
                super().write([entry])

    def close(self) -> None:
        """See `Sink.close`."""
        self._socket.close()


FIELDS: Final[Mapping[str, str]] = {
    "process": "FLASKD_PROCESS",
    "worker": "FLASKD_WORKER",
    "request_id": "FLASKD_REQUEST",
    "logger": "FLASKD_LOGGER",
    "stream": "FLASKD_STREAM",
}
"""The journal's name of each field of a line."""


def journal_fields(entry: Entry) -> dict[str, str]:
    """Return the journal's fields of an entry; unknown values are omitted."""
    line: LogLine = entry.line
    fields = {
        "MESSAGE": journal_message(line),
        "PRIORITY": str(int(entry.priority)),
        "SYSLOG_IDENTIFIER": "flaskd",
        "SYSLOG_PID": str(os.getpid()),
    }
    known = {name: getattr(line, field) for field, name in FIELDS.items()}
    return fields | {name: str(value) for name, value in known.items() if value not in {None, ""}}


def write_all(descriptor: int, data: bytes) -> None:
    """Write everything, waiting while the reader does not read. Raises OSError."""
    while data:
        try:
            data = data[os.write(descriptor, data) :]
        except BlockingIOError:  # whoever else has it open may have set O_NONBLOCK (open(2))
            poller = select.poll()  # not select(2), which takes no descriptor above 1023
            poller.register(descriptor, select.POLLOUT)
            poller.poll()
