"""Orders in the journal, each with fields to search by: `journalctl FLASKD_COMMAND=shutdown`, `journalctl FLASKD_UID=1000`.

The journal's own protocol (https://systemd.io/JOURNAL_NATIVE_PROTOCOL): one datagram of FIELD=value lines; a value with a
newline is preceded by its length. The audit bounds what comes from outside, so that a datagram always has room (unix(7):
net.core.wmem_max) and the memory file that the protocol has for larger ones is not needed.
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
"""MESSAGE_ID of an order's outcome (sd_journal_print(3), `journalctl MESSAGE_ID=...`)."""

GRAVITY: Final = {"done": Priority.NOTICE, "failed": Priority.WARNING, "refused": Priority.WARNING}


def send(fields: Mapping[str, str], *, path: str = SOCKET) -> None:
    """Send one entry; raises OSError where the journal does not take it, and does not wait until it does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        sock.setblocking(False)
        sock.sendto(
            b"".join(_field(name, value.encode("utf-8", "replace")) for name, value in fields.items()), path
        )


def report(name: str, entry: AuditEntry, said: str, *, path: str = SOCKET) -> None:
    """Send the outcome of an order that the instance `name` was given, `said` in a sentence; else on stderr."""
    try:
        send(fields_of(name, entry, said), path=path)
    except OSError:
        say(said, GRAVITY.get(entry.outcome, Priority.NOTICE))


def fields_of(name: str, entry: AuditEntry, said: str) -> dict[str, str]:
    """Return the fields of an order's outcome; what is not known has none."""
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
        "MESSAGE": said,
        "MESSAGE_ID": ORDER,
        "PRIORITY": str(int(GRAVITY.get(entry.outcome, Priority.NOTICE))),
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
