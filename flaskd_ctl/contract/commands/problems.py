"""Commands that show what went wrong or took long, and that end one request."""

from typing import Final

from flaskd_ctl.contract.commands.command import Command, Param, Role

COMMANDS: Final = (
    Command(
        "errors",
        Role.OPERATOR,
        "List the application's errors: how often each happened, where, its last request; with an id, show its traceback.",
        "Waits for the response.",
        "flaskd_ctl errors 3f9a1c07",
        (Param("id", "text", "Error to show in full. Default: list all.", argument=True),),
    ),
    Command(
        "slow",
        Role.VIEWER,
        "List the slowest requests that ended within the last hour.",
        "Waits for the response.",
        "flaskd_ctl slow --limit 10",
        (Param("limit", "most", "Number of requests to show, at most 100. Default: 20."),),
    ),
    Command(
        "cancel",
        Role.OPERATOR,
        "End one request with an exception in the application; its client gets a 503.",
        "Waits until the request has ended. Fails after 1 s if it has not: its thread may be in C code.",
        "flaskd_ctl cancel 1742 --worker 3",
        (
            Param(
                "id",
                "text",
                "Number of the request, as `requests` shows it, or its X-Request-ID.",
                argument=True,
                required=True,
            ),
            Param(
                "worker",
                "worker",
                "Id of the worker that has the request, if several have one of this number.",
            ),
        ),
        changes=True,
    ),
)
