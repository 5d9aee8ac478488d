"""The journal gets each entry with fields; where it cannot, the entry goes to the stream that it reads."""

import json
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from flaskd.console.priority import Priority
from flaskd.logs.form import Entry
from flaskd.logs.sinks import JournalSink, Style
from flaskd_ctl.protocol import LogLine

RECORD = Entry(
    LogLine(1.0, "error", 3, "cannot pay\nTraceback", request_id="ab-1", logger="shop"), priority=Priority.ERR
)
PRINTED = Entry(LogLine(1.0, None, 3, "hello", stream="stdout"), b"hello")


class Journal:
    """A journal's socket, and the stream that it reads."""

    def __init__(self, directory: Path) -> None:
        self.path = str(directory / "socket")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.socket.settimeout(10.0)
        self.stream, self.descriptor = os.pipe()

    def write(self, *entries: Entry, form: str = "text") -> None:
        sink = JournalSink(self.descriptor, Style(form, journal=True), path=self.path)
        sink.write(entries)
        sink.close()

    def close(self) -> None:
        self.socket.close()
        os.close(self.stream)
        os.close(self.descriptor)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal(tmp_path)
    yield journal
    journal.close()


def fields(datagram: bytes) -> dict[str, str]:
    """Read the journal's native protocol (https://systemd.io/JOURNAL_NATIVE_PROTOCOL)."""
    found: dict[str, str] = {}
    while datagram:
        line, _, datagram = datagram.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            (size,) = struct.unpack_from("<Q", datagram)
            value, datagram = datagram[8 : 8 + size], datagram[8 + size + 1 :]
        found[name.decode()] = value.decode()
    return found


def test_a_record_is_one_entry_with_worker_and_request(journal: Journal) -> None:
    """Its traceback stays with it: journalctl FLASKD_REQUEST=ab-1 finds all of it."""
    journal.write(RECORD, PRINTED)

    record, printed = fields(journal.socket.recv(1 << 16)), fields(journal.socket.recv(1 << 16))

    assert (
        record.items()
        >= {
            "MESSAGE": "[3 ab-1] shop: cannot pay\n  | Traceback",
            "PRIORITY": "3",
            "FLASKD_WORKER": "3",
            "FLASKD_REQUEST": "ab-1",
            "FLASKD_LOGGER": "shop",
        }.items()
    )
    assert printed["MESSAGE"] == "[3] hello"
    assert (printed["PRIORITY"], printed["FLASKD_STREAM"]) == ("6", "stdout")
    assert "FLASKD_REQUEST" not in printed


def test_a_journal_that_takes_nothing_is_written_to_as_ever(journal: Journal) -> None:
    """A sandbox hides its socket, say: each line has its priority."""
    os.unlink(journal.path)

    journal.write(RECORD)

    assert os.read(journal.stream, 1 << 16) == b"<3>[3 ab-1] shop: cannot pay\n<3>  | Traceback\n"


def test_json_goes_to_the_stream_with_its_priority(journal: Journal) -> None:
    """Whoever wants JSON finds it in MESSAGE."""
    journal.write(RECORD, form="json")

    line = os.read(journal.stream, 1 << 16)

    assert line.startswith(b"<3>{")
    assert json.loads(line.removeprefix(b"<3>"))["worker"] == 3
