"""Commands that look into the processes that run the application."""

from typing import Final

from flaskd_ctl.contract.commands.command import WORKER, Command, Param, Role

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
        "profile",
        Role.ADMIN,
        "Show in which functions each worker spends the time of its requests: sample its threads many times a second.",
        "Waits for --seconds. If you interrupt it, the profile ends.",
        "flaskd_ctl profile --seconds 10 --endpoint report --output report.json",
        (
            Param("seconds", "seconds", "Time to take samples, 0.1 s to 10 min. Default: 10 s."),
            Param("rate", "rate", "Samples per second, 1 to 1000. Default: 100."),
            Param(
                "endpoint",
                "endpoint",
                "Only threads that serve a request of this endpoint of the application.",
            ),
            Param("all_threads", "flag", "Also threads that serve no request."),
            WORKER,
        ),
        changes=True,
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
