"""Commands that look into the processes that run the application."""

from typing import Final

from flaskd_ctl.contract.commands.command import WORKER, Command, Role

COMMANDS: Final = (
    Command(
        "gc",
        Role.ADMIN,
        "Run Python's garbage collector in each worker; show what it freed and how long it took.",
        "Waits until each worker has collected its garbage, at most 60 s. The application pauses meanwhile.",
        "flaskd_ctl gc --worker 3",
        (WORKER,),
        changes=True,
    ),
)
