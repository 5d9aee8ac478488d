"""The commands that change an instance and take time: `reload`, `scale`, `restart-worker`, `shutdown` and `kill`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flaskd_ctl.cli.exits import Exit
from flaskd_ctl.cli.run import remark_on_interrupt
from flaskd_ctl.client.session import given
from flaskd_ctl.errors import NotRunning
from flaskd_ctl.text import results
from flaskd_ctl.transports import backend
from flaskd_ctl.transports.backend import BLOCKING

if TYPE_CHECKING:
    from flaskd_ctl.cli.run import Run
    from flaskd_ctl.contract.commands import Command


def run_follow(run: Run, command: Command, *, no_wait: bool, **params: Any) -> Exit:
    """Ask for a change that takes time, show its progress, and report when it is done."""
    from flaskd_ctl.text.workers import step

    target = run.target()
    steps: dict[Any, str] = {}

    def show(event: dict[str, Any]) -> None:
        steps.pop(event.get("worker"), None)
        steps[event.get("worker")] = step(event)
        run.screen.progress(f"{target.name}: {'; '.join([*steps.values()][-2:])}")

    with remark_on_interrupt(run, target.name, command.name):
        result = run.follow(target, command.name, given(**params), wait=not no_wait, on_progress=show)
    if result is None:
        run.screen.result({"name": target.name, "begun": command.name}, f"{target.name}: it has begun")
    else:
        run.screen.result(result, results.as_text(command.name, result | {"name": target.name}))
    return Exit.DONE


def run_stop(run: Run, command: Command, *, no_wait: bool, missing_ok: bool, **params: float | None) -> Exit:
    """Stop or kill the instance, show the progress, and report when the process has gone."""
    from flaskd_ctl.client.stopping import stop

    asked = given(**params, progress=True if command.params else None)
    try:
        target = run.target()

        def show(event: dict[str, Any]) -> None:
            run.screen.progress(f"{target.name}: {results.progress_line(event)}")

        with remark_on_interrupt(run, target.name, command.name):
            stopping = stop(
                BLOCKING, target, command.name, asked, whole=run.timeout, wait=not no_wait, on_progress=show
            )
            result = backend.run(stopping)
    except NotRunning as error:
        if not missing_ok:
            raise
        run.screen.result({"name": run.name, "state": "stopped"}, f"{error}: nothing to do")
        return Exit.DONE
    if result is None:
        run.screen.result({"name": target.name, "state": "stopping"}, f"{target.name} is stopping")
        return Exit.DONE
    run.screen.result(result, f"{target.name}: {results.as_text(command.name, result)}")
    return Exit.DONE if result.get("clean", True) else Exit.CUT
