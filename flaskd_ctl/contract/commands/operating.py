"""Commands that change an instance."""

from typing import Final

from flaskd_ctl.contract.commands.command import AUTO, PROGRESS, Command, Param, Role

COMMANDS: Final = (
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
        "Set the number of workers to N, change it by +N or -N, or let the setting `workers` decide again (auto).",
        "Waits until that many workers serve. A surplus worker finishes its requests, then exits.",
        "flaskd_ctl scale 4 --for 10m",
        (
            Param("to", "count", "Number of workers, at least 1."),
            Param("by", "change", "Number of workers to add, or to remove if negative."),
            AUTO,
            Param(
                "for",
                "seconds",
                "After this long the setting `workers` decides again. Default: --scale-hold if that is a range, else never.",
            ),
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
        (
            Param(
                "worker", "worker", "Id of the worker, as `workers` shows it.", argument=True, required=True
            ),
            PROGRESS,
        ),
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
)
