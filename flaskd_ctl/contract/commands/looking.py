"""Commands that show an instance."""

from typing import Final

from flaskd_ctl.contract.commands.command import WORKER, Command, Param, Role

COMMANDS: Final = (
    Command(
        "status",
        Role.VIEWER,
        "Show the state, the application, its listeners and the requests in flight.",
        "Waits for the response.",
        "flaskd_ctl status --json",
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
        "Waits for the response. With --stacks, a worker has 1.5 s to describe its threads.",
        "flaskd_ctl requests --stacks --older 5s",
        (
            Param("stacks", "flag", "Show what the thread of each request does."),
            Param("older", "seconds", "Only requests that began at least this long ago."),
            Param("path", "path", "Only requests whose path begins with this."),
            Param("endpoint", "endpoint", "Only requests of this endpoint of the application."),
            WORKER,
        ),
    ),
    Command(
        "incidents",
        Role.VIEWER,
        "List the workers that crashed or hung; with an id, show one in full: stacks, traceback, requests.",
        "Waits for the response.",
        "flaskd_ctl incidents 2",
        (Param("id", "id", "Incident to show in full. Default: list all.", argument=True),),
    ),
    Command(
        "events",
        Role.VIEWER,
        "Stream events: states, shutdown progress, requests cut or slow, workers, incidents.",
        "Runs until the instance has stopped or you interrupt it.",
        "flaskd_ctl events --json",
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
        "ping",
        Role.VIEWER,
        "Check that the daemon responds.",
        "Waits for the response.",
        "flaskd_ctl ping",
    ),
    Command(
        "describe",
        Role.VIEWER,
        "Show the protocol: methods, roles, JSON Schemas and examples, as an OpenRPC document.",
        "Waits for the response.",
        "flaskd_ctl describe --json",
    ),
)
