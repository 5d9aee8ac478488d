"""What most commands do: ask, show the result, and return the exit code; failures are raised.

A command with a module of its own (`call`, `logs`, `profile`) is not here, nor are those that change the instance (`changes`).
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from flaskd_ctl.cli.exits import Exit, code_of_workers
from flaskd_ctl.client.session import given
from flaskd_ctl.errors import NotRunning
from flaskd_ctl.text import results

if TYPE_CHECKING:
    from flaskd_ctl.cli.run import Run
    from flaskd_ctl.contract.commands import Command

WATCH_PAUSE: Final = 2.0
"""Seconds between two pages of `stats --watch`."""

NOT_SERVING: Final = {"starting", "stopped"}
"""States in which nothing is served; a stopping instance still answers the requests that reach it."""


def run_ask(run: Run, command: Command, **params: Any) -> Exit:
    """Ask with the parameters that were given, and show the answer."""
    return run.show(command.name, run.ask(run.target(), command.name, given(**params)))


def run_all_or_one(run: Run, command: Command, *, id: int | str | None) -> Exit:  # noqa: A002 - the parameter's name
    """Show all incidents or errors in short, or one in full."""
    shown = command.name if id is None else command.name.removesuffix("s")
    return run.show(shown, run.ask(run.target(), command.name, given(id=id)))


def run_status(run: Run, command: Command, *, serving: bool) -> Exit:
    """Show the status, or how an instance has stopped, which is a failure.

    With `serving`, it is a failure too if the instance serves nothing yet, or has no worker that serves.
    """
    try:
        target = run.target()
    except NotRunning as error:
        if stop := error.data.get("last_stop"):
            from flaskd_ctl.text import history

            stopped = {"name": error.data["name"], "state": "stopped", "last_stop": stop}
            run.screen.result(stopped, history.stopped_status(stopped["name"], stop))
        raise
    result = run.ask(target, command.name)
    run.show(command.name, result)
    return Exit.FAILED if serving and not _serves(result) else Exit.DONE


def _serves(status: dict[str, Any]) -> bool:
    """Tell whether requests are served; an instance that is one process has no workers and wants none."""
    if status.get("state") in NOT_SERVING:
        return False
    if status.get("state") == "stopping" or not status.get("wanted_workers"):
        return True
    return any(worker.get("state") == "serving" for worker in status.get("workers") or [])


def run_requests(run: Run, command: Command, **params: Any) -> Exit:
    """Show the requests in flight that were asked for."""
    asked = given(**params)
    result = run.ask(run.target(), command.name, asked)
    told = result | {"narrowed": bool(asked.keys() - {"stacks"})}
    run.screen.result(result, results.as_text(command.name, told, colour=run.screen.colour))
    return Exit.DONE


def run_history(run: Run, command: Command, *, limit: int | None) -> Exit:
    """Show who changed what; of an instance that has stopped, from its audit log."""
    params = given(limit=limit)
    try:
        target = run.target()
    except NotRunning as error:  # an instance of this host: no path comes from elsewhere
        path = error.data.get("audit_log")
        if not path:
            raise
        from flaskd_ctl.discovery import notes

        run.screen.remark(f"{error.data['name']} is not running; this is from {path}")
        return run.show(command.name, notes.log_of(error.data["name"], path, **params))
    return run.show(command.name, run.ask(target, command.name, params))


def run_stats(run: Run, command: Command, *, watch: bool, **params: Any) -> Exit:
    """Show numbers, once or again and again."""
    if not watch:
        return run_ask(run, command, **params)
    target = run.target()
    while True:
        result = run.ask(target, command.name, given(**params))
        if not run.screen.page(result, results.as_text(command.name, result, colour=run.screen.colour)):
            return Exit.DONE
        time.sleep(WATCH_PAUSE)


def run_in_workers(run: Run, command: Command, **params: Any) -> Exit:
    """Have each worker do something, and show what each replied; one that did not reply is a failure."""
    result = run.follow(run.target(), command.name, given(**params)) or {}
    run.show(command.name, result)
    return code_of_workers(result)


def run_tune(run: Run, command: Command, **params: Any) -> Exit:
    """Change a setting or a level, and show it; if a process did not reply, it is done for some only.

    `log-level` without a level shows the levels.
    """
    method, asked = command.name, given(**params)
    if method == "log_level" and "level" not in asked:
        method, asked = "log_levels", {}
    result = run.follow(run.target(), method, asked) or {}
    run.show(method, result)
    return Exit.DONE if code_of_workers(result) is Exit.DONE else Exit.SOME
