"""Commands that show and change the settings of a running instance, and the levels of its loggers."""

from typing import Final

from flaskd_ctl.contract.commands.command import Command, Param, Role

FOR: Final = Param("for", "period", "Revert by itself after this long, at most a day. Default: keep it.")

COMMANDS: Final = (
    Command(
        "info",
        Role.VIEWER,
        "Show the code that runs: Python, packages, the release's directory and git revision, and what is on disk now.",
        "Waits until each worker has replied, at most 5 s.",
        "flaskd_ctl info",
    ),
    Command(
        "config",
        Role.OPERATOR,
        "Show each setting: its value, where it comes from, what a reload would change, and how to change it.",
        "Waits for the response. Reading the files takes 2 s at most.",
        "flaskd_ctl config",
    ),
    Command(
        "set",
        Role.ADMIN,
        "Change a setting while the instance runs; reloads keep it, a restart does not.",
        "Waits until each worker uses it, at most 5 s.",
        "flaskd_ctl set grace 60 --for 10m",
        (
            Param("setting", "setting", "The setting, as `config` shows it.", argument=True, required=True),
            Param("value", "text", "Its value, as in flaskd.toml.", argument=True, required=True),
            FOR,
        ),
        changes=True,
    ),
    Command(
        "unset",
        Role.ADMIN,
        "Undo `set`: give a setting the value from the command line, the environment and the files again.",
        "Waits until each worker uses it, at most 5 s.",
        "flaskd_ctl unset grace",
        (Param("setting", "setting", "The setting.", argument=True, required=True),),
        changes=True,
    ),
    Command(
        "log_levels",
        Role.VIEWER,
        "List the loggers that have a level of their own: from the application, or set with `log-level`.",
        "Waits until each worker has replied, at most 5 s.",
        "flaskd_ctl log-levels",
    ),
    Command(
        "log_level",
        Role.OPERATOR,
        "Set the level of a logger in all workers and in the daemon; without a level, show the levels.",
        "Waits until each worker uses it, at most 5 s.",
        "flaskd_ctl log-level sqlalchemy.engine DEBUG --for 10m",
        (
            Param(
                "level",
                "logger_level",
                "DEBUG, INFO, WARNING, ERROR or CRITICAL; default gives the logger its own level back.",
                argument=True,
                required=True,
            ),
            Param("logger", "logger", "The logger's name. Default: root.", argument=True),
            Param("worker", "worker", "Only in this worker, by its id. Default: in all."),
            FOR,
        ),
        changes=True,
    ),
)
