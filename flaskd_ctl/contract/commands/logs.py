"""Commands about the log."""

from typing import Final

from flaskd_ctl.contract.commands.command import WORKER, Command, Param, Role

COMMANDS: Final = (
    Command(
        "logs",
        Role.OPERATOR,
        "Show the newest lines that the supervisor and the workers have logged or printed.",
        "Waits for the response. With --follow, runs until the instance has stopped or you interrupt it.",
        "flaskd_ctl logs --follow --level warning",
        (
            Param("follow", "flag", "Show later lines too, as they are written."),
            WORKER,
            Param(
                "process", "process", "Only lines of this kind of process, such as the template of --preload."
            ),
            Param("level", "level", "Only lines of this level and above. A printed line counts as info."),
            Param("request", "text", "Only records of the request with this ID (X-Request-ID)."),
            Param("limit", "limit", "Number of lines to show, at most 1000. Default: 100."),
        ),
        tracebacks=True,
    ),
    Command(
        "reopen_logs",
        Role.OPERATOR,
        "Open the log files again, after another program has renamed them; the same as `logs --reopen`.",
        "Waits until new lines go to the new files. If one cannot be opened, lines still go to the old one.",
        "flaskd_ctl reopen-logs",
        changes=True,
    ),
)
