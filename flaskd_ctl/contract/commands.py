"""The COMMANDS table: every command of the control plane, once.

The client derives its command line, help and completion from it; the daemon its registry; `describe` and docs/protocol.md
what they say. The shapes of parameters and results are in `protocol`, under the same names. This module imports next to
nothing, so that `flaskd_ctl status` does not pay for msgspec (docs/decisions/0002).
"""

import enum
from typing import Final, NamedTuple


class Role(enum.Enum):
    """What a caller may do; each role includes the ones before it."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"

    def __init__(self, word: str) -> None:
        self.rank = len(type(self).__members__)

    def includes(self, other: "Role") -> bool:
        """Tell whether a caller with this role may run what needs `other`."""
        return self.rank >= other.rank


class Param(NamedTuple):
    """One parameter as people see it; its type, bounds and default are the struct's in `protocol`."""

    name: str
    kind: str  # "seconds", "flag", "path", "count", "change" (of a count), "limit", "worker" or "incident" (an id)
    help: str
    secret: bool = False  # never written down by the audit; the query of a "path" is secret always


class Command(NamedTuple):
    """One command: what it does, what it waits for, who may run it by default.

    `role` is what help and `describe` tell; what is enforced is decided by the daemon's `control.policy`. What
    `changes` something is written down by the audit, also where it is refused.
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
            "Ask whether the daemon answers at all.",
            "Waits for the answer, nothing else.",
            "flaskd_ctl ping",
        ),
        Command(
            "status",
            Role.VIEWER,
            "Show the state, what is served and where, and what is in flight.",
            "Waits for the answer, nothing else.",
            "flaskd_ctl status --json",
        ),
        Command(
            "describe",
            Role.VIEWER,
            "Show the protocol: methods, roles, JSON Schemas and examples, as an OpenRPC document.",
            "Waits for the answer, nothing else.",
            "flaskd_ctl describe --json",
        ),
        Command(
            "drain",
            Role.OPERATOR,
            "Take the instance out of rotation: readiness off, `Connection: close` on each response, still serving.",
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
            "Replace each worker by a new one, new before old, and read the settings anew; no request is lost.",
            "Waits until new workers serve and no old one accepts anything; what an old one has begun it still answers. If a "
            "new one cannot start, those not yet replaced serve on.",
            "flaskd_ctl reload --check /health",
            (
                Param(
                    "check",
                    "path",
                    "Each new worker must answer this path, with a status below 400, before it accepts anything.",
                ),
                PROGRESS,
            ),
            changes=True,
        ),
        Command(
            "scale",
            Role.OPERATOR,
            "Set the number of workers: to N, or by +N or -N; it holds through reloads.",
            "Waits until so many serve; one that is too many answers what it has begun, then ends.",
            "flaskd_ctl scale +1",
            (
                Param("to", "count", "How many workers there shall be, 1 at least."),
                Param("by", "change", "How many more, or fewer where negative."),
                PROGRESS,
            ),
            changes=True,
        ),
        Command(
            "restart_worker",
            Role.OPERATOR,
            "Replace one worker by a new one, new before old.",
            "Waits until the new one serves and the old one accepts nothing; what it has begun it still answers.",
            "flaskd_ctl restart-worker 3",
            (Param("worker", "worker", "The worker's id, as `workers` shows it."), PROGRESS),
            changes=True,
        ),
        Command(
            "shutdown",
            Role.OPERATOR,
            "Stop without losing a request: answer what is in flight or queued, then end.",
            "Waits until the process is gone.",
            "flaskd_ctl shutdown --grace 10",
            (
                Param("grace", "seconds", "Time for requests to finish before they are cut; 0 cuts at once."),
                Param(
                    "lame_duck",
                    "seconds",
                    "Keep serving this long with readiness off before anything is refused; the grace period "
                    "starts after it.",
                ),
                Param(
                    "wait_unrouted",
                    "seconds",
                    "Keep serving only until no new request came for so long; at most the lame duck's time, or 30 s.",
                ),
                PROGRESS,
            ),
            changes=True,
        ),
        Command(
            "kill",
            Role.ADMIN,
            "End now: nothing in flight is waited for, no clean-up of the application is run.",
            "Waits until the process is gone, but for no request.",
            "flaskd_ctl kill",
            changes=True,
        ),
        Command(
            "workers",
            Role.VIEWER,
            "List the workers: id, pid, state, age, generation, in flight, served, memory, why started.",
            "Waits for the answer, nothing else.",
            "flaskd_ctl workers",
        ),
        Command(
            "requests",
            Role.VIEWER,
            "List the requests in flight: id, method, path, endpoint and rule, client, age, thread.",
            "Waits for the answer, nothing else.",
            "flaskd_ctl requests",
        ),
        Command(
            "incidents",
            Role.VIEWER,
            "List the workers that crashed or hung; with an id, one in full: stacks, traceback, requests.",
            "Waits for the answer, nothing else.",
            "flaskd_ctl incidents 2",
            (Param("id", "incident", "The incident to show in full; without it, all of them in short."),),
        ),
        Command(
            "history",
            Role.OPERATOR,
            "Show who asked for which change, when, and what became of it, refusals included; newest last.",
            "Waits for the answer, nothing else; of an instance that has stopped, the audit log itself is read.",
            "flaskd_ctl history --limit 20",
            (Param("limit", "limit", "How many entries to show, the newest; 50 unless told, 1000 at most."),),
        ),
        Command(
            "events",
            Role.VIEWER,
            "Stream what happens: states, drain progress, requests cut or slow, workers, incidents.",
            "Runs until the instance has stopped or you end it.",
            "flaskd_ctl events --json",
        ),
    )
}
"""Every command by name, in the order that help shows."""
