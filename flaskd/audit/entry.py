"""Make an audit entry: who asked (from the kernel) and for what, without secrets and with long texts truncated."""

import json
import shlex
import time
import uuid
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from flaskd.console.say import escaped
from flaskd.http.secrets import looks_secret, mask_url
from flaskd_ctl.contract import audit_log
from flaskd_ctl.contract.commands import COMMANDS
from flaskd_ctl.contract.times import span
from flaskd_ctl.protocol import Actor, AuditEntry

LONGEST: Final = 512
"""Characters kept of a text from outside."""

LONGEST_ERROR: Final = 1024

MOST_VALUES: Final = 32
"""Parameters kept of an application's command."""


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
    found: dict[str, Any] = {}
    for field in msgspec.structs.fields(params):
        value, name = getattr(params, field.name), field.encode_name
        if isinstance(value, dict):
            if value:
                found[name] = masked(value)
        elif field.name != "progress" and value != field.default:
            text = truncated(audit_log.without_query(value)) if isinstance(value, str) else value
            param = kinds.get(name)
            found[name] = audit_log.HIDDEN if param is not None and param.secret else text
    return found


def masked(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of an application's command for the log: without what looks secret, at any depth, and truncated."""
    shown: dict[str, Any] = {}
    for name, value in values.items():
        if len(shown) >= MOST_VALUES:
            shown["…"] = f"{len(values) - MOST_VALUES} more"
            break
        text = json.dumps(_masked(name, value))
        shown[truncated(name)] = json.loads(text) if len(text) <= LONGEST else truncated(text)
    return shown


def _masked(name: str, value: Any) -> Any:
    if looks_secret(name):
        return audit_log.HIDDEN
    if isinstance(value, dict):
        return {key: _masked(key, each) for key, each in value.items()}
    if isinstance(value, list):
        return [_masked("", each) for each in value]
    return audit_log.without_query(mask_url(value)) if isinstance(value, str) else value


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
    texts = (word.decode("utf-8", "backslashreplace") for word in words if word)
    return truncated(audit_log.without_query(shlex.join(map(_without_secret, texts))))


def _without_secret(word: str) -> str:
    """Hide the value in NAME=VALUE if the name looks secret: `flaskd_ctl call` takes parameters like that."""
    name, sign, value = word.partition("=")
    return f"{name}={audit_log.HIDDEN}" if sign and value and looks_secret(name) else word


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
