"""Who asked, and the audit log."""

from typing import Annotated, Any

import msgspec

from flaskd_ctl.protocol.wire import Params


class HistoryParams(Params, frozen=True, forbid_unknown_fields=True):
    """The number of entries to show, the newest ones."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 50


class Actor(msgspec.Struct, frozen=True):
    """Who asked, from the kernel (SO_PEERCRED), or how else the command came (`via`: control, signal, code, http).

    `key` is the name of the CURVE key of a caller from the network, which has no uid.
    """

    via: str
    uid: int | None = None
    gid: int | None = None
    pid: int | None = None
    detail: str = ""
    key: str = ""


class LastStop(msgspec.Struct, frozen=True):
    """How an instance last ended.

    `clean`: nothing was cut. `why`: "shutdown command", "kill command", "signal SIGTERM", "application", "program", "could not
    start: ...", "failed: ..."; or "ended without a note" (kill -9, or the machine went down), with `at` unknown. `who` is the
    command line of the process that asked, or the name of its key. `took`: seconds.
    """

    at: float | None
    clean: bool
    why: str
    by: Actor | None = None
    who: str = ""
    took: float | None = None
    pid: int | None = None


class AuditEntry(msgspec.Struct, frozen=True):
    """One command that changes something, allowed or refused.

    `at` is when it came, `id` is the same in all its lines of the audit log. `params` holds the given parameters, with
    secrets as "***". `who` is the command line of the process that asked (as it shows itself), or the name of its key; `user`
    the name of its uid. `role` is the caller's, "" if none is needed (a signal, the application). `outcome`: "begun", "done",
    "failed" or "refused"; `error` has the sentence of the last two. `took`: seconds until the outcome.
    """

    id: str
    at: float
    command: str
    params: dict[str, Any]
    by: Actor
    who: str
    role: str
    outcome: str
    error: str = ""
    took: float | None = None
    user: str = ""


class HistoryResult(msgspec.Struct, frozen=True):
    """The newest entries of the audit log, newest last."""

    entries: list[AuditEntry]
