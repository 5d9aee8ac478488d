"""Make an audit entry: who asked (from the kernel) and for what, without secrets and with long texts truncated."""

import shlex
import time
import uuid
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from flaskd.console.say import escaped
from flaskd_ctl.contract import audit_log
from flaskd_ctl.contract.commands import COMMANDS
from flaskd_ctl.contract.times import span
from flaskd_ctl.protocol import Actor, AuditEntry

LONGEST: Final = 512
"""Characters kept of a text from outside."""

LONGEST_ERROR: Final = 1024


def entry_of(command: str, params: Mapping[str, Any], by: Actor, *, role: str, outcome: str) -> AuditEntry:
    """Return the entry of a command that arrives now."""
    return AuditEntry(
        id=uuid.uuid4().hex[:12],
        at=round(time.time(), 3),
        command=command,
        params=dict(params),
        by=by,
        who=command_line_of(by),
        role=role,
        outcome=outcome,
        user=_user(by.uid),
    )


def params_for_log(command: str, params: msgspec.Struct) -> dict[str, Any]:
    """Return the parameters of `command` that differ from their defaults, without `progress`; secrets are hidden."""
    kinds = {param.name: param for param in COMMANDS[command].params}
    found = {}
    for field in msgspec.structs.fields(params):
        value = getattr(params, field.name)
        if field.name != "progress" and value != field.default:
            text = truncated(audit_log.without_query(value)) if isinstance(value, str) else value
            param = kinds.get(field.name)
            found[field.name] = audit_log.HIDDEN if param is not None and param.secret else text
    return found


def error_text(error: str) -> str:
    """Return an error's sentence for the log: truncated, without the query of a URL."""
    return (
        truncated(audit_log.without_query(error), LONGEST_ERROR).encode("utf-8", "backslashreplace").decode()
    )


def truncated(text: str, most: int = LONGEST) -> str:
    """Return `text`, cut to `most` characters."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def command_line_of(by: Actor) -> str:
    """Return the command line of the process that asked (proc(5); the process may change it), or the name of its key."""
    if by.key:
        return by.key
    if not by.pid or by.via not in {"control", "signal"}:
        return ""
    try:
        with open(f"/proc/{by.pid}/cmdline", "rb") as file:
            words = file.read(8 * LONGEST).rstrip(b"\0").split(b"\0")
    except OSError:
        return ""
    return truncated(
        audit_log.without_query(
            shlex.join(word.decode("utf-8", "backslashreplace") for word in words if word)
        )
    )


def summary(entry: AuditEntry) -> str:
    """Describe an outcome in one line."""
    took = "" if entry.took is None else f" in {span(entry.took)}"
    outcome = f"done{took}" if entry.outcome == "done" else f"{entry.outcome}{took}: {entry.error}"
    by = audit_log.described(msgspec.to_builtins(entry.by), who=entry.who, user=entry.user)
    params = "".join(f" {name}={value}" for name, value in entry.params.items())
    return escaped(f"flaskd: {entry.command}{params} asked for by {by}: {outcome}")


def _user(uid: int | None) -> str:
    """Return the name of a uid, only from /etc/passwd: the user database (nsswitch.conf(5)) may be a server that hangs."""
    try:
        with open("/etc/passwd", encoding="utf-8", errors="replace") as file:
            users = (line.split(":") for line in file)
            return next((user[0] for user in users if len(user) > 2 and user[2] == str(uid)), "")
    except OSError:
        return ""
