"""Commands in the systemd journal, with fields to search by, as in `journalctl FLASKD_COMMAND=shutdown FLASKD_UID=1000`.

Uses the journal's native protocol (https://systemd.io/JOURNAL_NATIVE_PROTOCOL): one datagram of FIELD=value lines; a value that
contains a newline is preceded by its length. The audit truncates what comes from outside, so that an entry always fits a
datagram (unix(7): net.core.wmem_max) and the protocol's memory file for larger entries is not needed.
"""

import json
import os
import socket
from collections.abc import Mapping
from typing import Final

from flaskd.console.priority import Priority
from flaskd.console.say import say
from flaskd_ctl.protocol import AuditEntry

SOCKET: Final = "/run/systemd/journal/socket"

ORDER: Final = "6c1bf2a5b0d04a1f9f63b0c8f6f9e2d4"
"""MESSAGE_ID of the outcome of a command (sd_journal_print(3), `journalctl MESSAGE_ID=...`)."""

PRIORITIES: Final = {"done": Priority.NOTICE, "failed": Priority.WARNING, "refused": Priority.WARNING}


def send(fields: Mapping[str, str], *, path: str = SOCKET) -> None:
    """Send one entry, without waiting. Raises OSError if the journal does not accept it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        sock.setblocking(False)
        sock.sendto(datagram(fields), path)


def datagram(fields: Mapping[str, str]) -> bytes:
    """Return the entry with these fields."""
    return b"".join(_field(name, value.encode("utf-8", "replace")) for name, value in fields.items())


def report(name: str, entry: AuditEntry, text: str, *, path: str = SOCKET) -> None:
    """Send the outcome of a command to the journal, with its `text`; print it to stderr if that fails."""
    try:
        send(fields_of(name, entry, text), path=path)
    except OSError:
        say(text, PRIORITIES.get(entry.outcome, Priority.NOTICE))


def fields_of(name: str, entry: AuditEntry, text: str) -> dict[str, str]:
    """Return the fields of an outcome. Unknown values are omitted."""
    by = entry.by
    known = {
        "NAME": name,
        "ID": entry.id,
        "COMMAND": entry.command,
        "OUTCOME": entry.outcome,
        "VIA": by.via,
        "UID": by.uid,
        "GID": by.gid,
        "PID": by.pid,
        "USER": entry.user,
        "KEY": by.key,
        "SIGNAL": by.detail if by.via == "signal" else "",
        "WHO": entry.who,
        "ROLE": entry.role,
        "PARAMS": json.dumps(entry.params) if entry.params else "",
        "ERROR": entry.error,
        "TOOK": entry.took,
    }
    fields = {
        "MESSAGE": text,
        "MESSAGE_ID": ORDER,
        "PRIORITY": str(int(PRIORITIES.get(entry.outcome, Priority.NOTICE))),
        "SYSLOG_IDENTIFIER": "flaskd",
        "SYSLOG_PID": str(os.getpid()),
    }
    return fields | {
        f"FLASKD_{field}": str(value) for field, value in known.items() if value not in {None, ""}
    }


def _field(name: str, value: bytes) -> bytes:
    if b"\n" not in value:
        return name.encode() + b"=" + value + b"\n"
    return name.encode() + b"\n" + len(value).to_bytes(8, "little") + value + b"\n"
