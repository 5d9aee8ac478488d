"""The COMMANDS table: every command of the control plane, once.

The client's command line, help and completion, the daemon's registry, `describe` and docs/protocol.md are derived from it. The
types of parameters and results are in `protocol`, under the same names. This module imports next to nothing, so that
`flaskd_ctl status` need not import msgspec (docs/decisions/0002).
"""

import enum
from typing import Final, NamedTuple


class Role(enum.Enum):
    """The roles of callers; each includes the ones before it."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"

    def __init__(self, word: str) -> None:
        self.rank = len(type(self).__members__)

    def includes(self, other: "Role") -> bool:
        """Tell whether a caller with this role may run a command that needs `other`."""
        return self.rank >= other.rank


class Param(NamedTuple):
    """One parameter in help and docs; its type, bounds and default are in the struct in `protocol`."""

    name: str
    kind: str  # "seconds", "flag", "path", "count", "change" (of a count), "limit", "worker" or "incident" (an id)
    help: str
    secret: bool = False  # hidden in the audit log; the query of a "path" always is


class Command(NamedTuple):
    """One command: what it does, what it waits for, and the role that it needs by default.

    `role` is for help and `describe`; the daemon's access policy decides. Commands with `changes` are written to the audit log,
    even if they are refused.
    """

    name: str
    role: Role
    summary: str
    waits: str
    example: str
    params: tuple[Param, ...] = ()
    changes: bool = False


PROTOCOL_VERSION: Final = "1.0"

PROGRESS: Final = Param("progress", "flag", "Send `progress` notifications until the reply (not over REQ).")

COMMANDS: Final[dict[str, Command]] = {
    command.name: command
    for command in (
        Command(
            "ping",
            Role.VIEWER,
            "Check that the daemon responds.",
            "Waits for the response.",
            "flaskd_ctl ping",
        ),
        Command(
            "status",
            Role.VIEWER,
            "Show the state, the application, its listeners and the requests in flight.",
            "Waits for the response.",
            "flaskd_ctl status --json",
        ),
        Command(
            "describe",
            Role.VIEWER,
            "Show the protocol: methods, roles, JSON Schemas and examples, as an OpenRPC document.",
            "Waits for the response.",
            "flaskd_ctl describe --json",
        ),
        Command(
            "drain",
            Role.OPERATOR,
            "Take the instance out of rotation while it keeps serving: readiness off, `Connection: close` on each response.",
            "Returns when readiness is off; `resume` undoes it.",
            "flaskd_ctl drain",
            changes=True,
        ),
        Command(
            "resume",
            Role.OPERATOR,
            "Put a draining instance back into rotation.",
            "Returns when readiness is on.",
            "flaskd_ctl resume",
            changes=True,
        ),
        Command(
            "reload",
            Role.OPERATOR,
            "Replace all workers, new before old, and read the settings again; no request is lost.",
            "Waits until the new workers serve and no old worker accepts connections. An old one still finishes its requests. "
            "If a new worker cannot start, the workers not yet replaced keep serving.",
            "flaskd_ctl reload --check /health",
            (
                Param(
                    "check",
                    "path",
                    "Path that each new worker must answer with a status below 400 before it accepts connections.",
                ),
                PROGRESS,
            ),
            changes=True,
        ),
        Command(
            "scale",
            Role.OPERATOR,
            "Set the number of workers to N, or change it by +N or -N; reloads keep it.",
            "Waits until that many workers serve. A surplus worker finishes its requests, then exits.",
            "flaskd_ctl scale +1",
            (
                Param("to", "count", "Number of workers, at least 1."),
                Param("by", "change", "Number of workers to add, or to remove if negative."),
                PROGRESS,
            ),
            changes=True,
        ),
        Command(
            "restart_worker",
            Role.OPERATOR,
            "Replace one worker, new before old.",
            "Waits until the new worker serves and the old one accepts no connections. The old one still "
            "finishes its requests.",
            "flaskd_ctl restart-worker 3",
            (Param("worker", "worker", "Id of the worker, as `workers` shows it."), PROGRESS),
            changes=True,
        ),
        Command(
            "shutdown",
            Role.OPERATOR,
            "Stop without losing a request: answer requests in flight and in the accept queue, then exit.",
            "Waits until the process has exited.",
            "flaskd_ctl shutdown --grace 10",
            (
                Param(
                    "grace",
                    "seconds",
                    "Time for requests to finish before they are cut. 0 cuts them at once.",
                ),
                Param(
                    "lame_duck",
                    "seconds",
                    "Keep serving for this long after readiness goes off, before new connections are refused. The grace "
                    "period starts after it.",
                ),
                Param(
                    "wait_unrouted",
                    "seconds",
                    "First keep serving with readiness off until no new request has come for this long; at most --lame-duck, "
                    "or 30 s.",
                ),
                PROGRESS,
            ),
            changes=True,
        ),
        Command(
            "kill",
            Role.ADMIN,
            "Stop at once: do not wait for requests, do not run the application's cleanup.",
            "Waits until the process has exited.",
            "flaskd_ctl kill",
            changes=True,
        ),
        Command(
            "workers",
            Role.VIEWER,
            "List the workers: id, pid, state, age, generation, requests in flight and served, memory, why started.",
            "Waits for the response.",
            "flaskd_ctl workers",
        ),
        Command(
            "requests",
            Role.VIEWER,
            "List the requests in flight: id, method, path, endpoint and rule, client, age, thread.",
            "Waits for the response.",
            "flaskd_ctl requests",
        ),
        Command(
            "incidents",
            Role.VIEWER,
            "List the workers that crashed or hung; with an id, show one in full: stacks, traceback, requests.",
            "Waits for the response.",
            "flaskd_ctl incidents 2",
            (Param("id", "incident", "Incident to show in full. Default: list all."),),
        ),
        Command(
            "history",
            Role.OPERATOR,
            "Show who changed what and when, with the outcome, including refusals; newest last.",
            "Waits for the response. If the instance has stopped, reads its audit log.",
            "flaskd_ctl history --limit 20",
            (Param("limit", "limit", "Number of entries to show, at most 1000. Default: 50."),),
        ),
        Command(
            "events",
            Role.VIEWER,
            "Stream events: states, shutdown progress, requests cut or slow, workers, incidents.",
            "Runs until the instance has stopped or you interrupt it.",
            "flaskd_ctl events --json",
        ),
    )
}
"""Every command by name, in the order of the help."""
