"""Commands that look into the processes that run the application."""

from typing import Final

from flaskd_ctl.contract.commands.command import WORKER, Command, Role

COMMANDS: Final = (
    Command(
        "stacks",
        Role.VIEWER,
        "Show what each thread of each worker does, with the request that it serves; equal stacks are shown once.",
        "Waits for each worker for 1 s; one that does not reply writes its stacks in a signal handler, within 0.5 s.",
        "flaskd_ctl stacks --worker 3",
        (WORKER,),
    ),
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
