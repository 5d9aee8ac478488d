"""Commands that the application itself has, and those that show it."""

from typing import Final

from flaskd_ctl.contract.commands.command import PROGRESS, Command, Param, Role

_FIRST: Final = Param("worker", "worker", "Ask this worker, by its id. Default: whichever replies first.")

COMMANDS: Final = (
    Command(
        "call",
        Role.OPERATOR,
        "Run a command of the application; without a name, list its commands.",
        "Waits until the command has ended, at most as long as it declares (30 s by default).",
        "flaskd_ctl call cache.clear region=eu",
        (
            Param("name", "text", "The command.", argument=True, required=True),
            Param(
                "params",
                "values",
                "Its parameters, as KEY=VALUE: text as it is, any other type as JSON.",
                argument=True,
            ),
            Param(
                "worker",
                "worker",
                "Run it in this worker, by its id. Default: in one or in each, as it declares.",
            ),
            Param("timeout", "seconds", "Time to wait for it. Default: as it declares."),
            PROGRESS,
        ),
        changes=True,
    ),
    Command(
        "routes",
        Role.VIEWER,
        "List the routes of the Flask application: rule, methods, endpoint, calls and 95th percentile.",
        "Waits for the response, at most 5 s.",
        "flaskd_ctl routes",
        (_FIRST,),
    ),
    Command(
        "app_config",
        Role.OPERATOR,
        "Show the configuration of the Flask application, without secrets.",
        "Waits for the response, at most 5 s.",
        "flaskd_ctl app-config",
        (_FIRST,),
    ),
)
