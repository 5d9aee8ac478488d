"""What the commands of `flaskd_ctl` do: ask, show the result, and return the exit code; failures are raised.

For a quick start nothing here imports msgspec, asyncio or (for the plain stream) zmq, and a module that only some commands need
is imported by those.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from flaskd_ctl.cli.exits import Exit, code_of
from flaskd_ctl.cli.screen import Screen
from flaskd_ctl.client.session import RESPONSE_TIMEOUT, Session, ask
from flaskd_ctl.contract.conversation import Patience
from flaskd_ctl.contract.endpoint import Target
from flaskd_ctl.discovery.instances import Instances
from flaskd_ctl.errors import ControlError, Failed, NotRunning
from flaskd_ctl.text import results
from flaskd_ctl.transports import backend
from flaskd_ctl.transports.backend import BLOCKING

if TYPE_CHECKING:
    from flaskd_ctl.contract.commands import Command
    from flaskd_ctl.discovery.targets import NamedTarget

PROGRAM: Final = "flaskd_ctl"
COMPLETE_VAR: Final = "_FLASKD_CTL_COMPLETE"

WATCH_PAUSE: Final = 2.0
"""Seconds between two pages of `stats --watch`."""

NOT_SERVING: Final = {"starting", "stopped"}
"""States in which nothing is served; a stopping instance still answers the requests that reach it."""


class Run:
    """The shared options of one run, and the screen that it writes to."""

    def __init__(self) -> None:
        self.name: str | None = None
        self.endpoint: str | None = None
        self.key: str | None = None
        self.server_key: str | None = None
        self.runtime_dir: str | None = None
        self.timeout: float | None = None
        self.targets: tuple[str, ...] = ()
        self.max_parallel: int | None = None
        self.stop_on_failure = False
        self.chosen: NamedTarget | None = None  # the one of the targets that this run is for
        self.screen = Screen()

    @property
    def instances(self) -> Instances:
        """The instances to choose from."""
        return Instances(self.runtime_dir)

    def target(self) -> Target:
        """Find the instance that the options name."""
        if self.chosen is not None:
            return self.chosen.find()
        keys = {"key": self.key, "server_key": self.server_key}
        return self.instances.target(self.name, endpoint=self.endpoint, **keys)

    def ask(self, target: Target, method: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
        """Ask the instance and return the result."""
        return backend.run(ask(BLOCKING, target, method, params, whole=self.timeout))

    def show(self, method: str, result: dict[str, Any]) -> Exit:
        """Write the result of `method`."""
        self.screen.result(result, results.as_text(method, result, colour=self.screen.colour))
        return Exit.DONE


def run_ask(run: Run, command: Command) -> Exit:
    """Ask and show the answer."""
    return run.show(command.name, run.ask(run.target(), command.name))


def run_ask_worker(run: Run, command: Command, *, worker: int | None) -> Exit:
    """Ask one worker, or whichever replies first, and show the answer."""
    params = {} if worker is None else {"worker": worker}
    return run.show(command.name, run.ask(run.target(), command.name, params))


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


def run_incidents(run: Run, command: Command, *, id: int | None) -> Exit:  # noqa: A002 - the parameter's name
    """Show all incidents in short, or one in full."""
    if id is None:
        return run_ask(run, command)
    return run.show("incident", run.ask(run.target(), command.name, {"id": id}))


def run_errors(run: Run, command: Command, *, id: str | None) -> Exit:  # noqa: A002 - the parameter's name
    """Show all errors in short, or one in full."""
    if id is None:
        return run_ask(run, command)
    return run.show("error", run.ask(run.target(), command.name, {"id": id}))


def run_with(run: Run, command: Command, **params: Any) -> Exit:
    """Ask with the parameters that were given, and show the answer."""
    given = {key: value for key, value in params.items() if value is not None}
    return run.show(command.name, run.ask(run.target(), command.name, given))


def run_requests(run: Run, command: Command, **params: Any) -> Exit:
    """Show the requests in flight that were asked for."""
    given = {key: value for key, value in params.items() if value not in {None, False}}
    result = run.ask(run.target(), command.name, given)
    told = result | {"narrowed": bool(given.keys() - {"stacks"})}
    run.screen.result(result, results.as_text(command.name, told, colour=run.screen.colour))
    return Exit.DONE


def run_history(run: Run, command: Command, *, limit: int | None) -> Exit:
    """Show who changed what; of an instance that has stopped, from its audit log."""
    params = {} if limit is None else {"limit": limit}
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


def run_follow(run: Run, command: Command, *, no_wait: bool, **params: Any) -> Exit:
    """Ask for a change that takes time, show its progress, and report when it is done."""
    from flaskd_ctl.client.following import follow
    from flaskd_ctl.text.workers import step

    target = run.target()
    steps: dict[Any, str] = {}

    def show(event: dict[str, Any]) -> None:
        steps.pop(event.get("worker"), None)
        steps[event.get("worker")] = step(event)
        run.screen.progress(f"{target.name}: {'; '.join([*steps.values()][-2:])}")

    given = {key: value for key, value in params.items() if value is not None}
    with remark_on_interrupt(run, target.name, command.name):
        following = follow(
            BLOCKING, target, command.name, given, whole=run.timeout, wait=not no_wait, on_progress=show
        )
        result = backend.run(following)
    if result is None:
        run.screen.result({"name": target.name, "begun": command.name}, f"{target.name}: it has begun")
    else:
        run.screen.result(result, results.as_text(command.name, result | {"name": target.name}))
    return Exit.DONE


def run_stats(run: Run, command: Command, *, watch: bool, **params: Any) -> Exit:
    """Show numbers, once or again and again."""
    target = run.target()
    given = {key: value for key, value in params.items() if value is not None}
    if not watch:
        return run.show(command.name, run.ask(target, command.name, given))
    while True:
        result = run.ask(target, command.name, given)
        if not run.screen.page(result, results.as_text(command.name, result, colour=run.screen.colour)):
            return Exit.DONE
        time.sleep(WATCH_PAUSE)


def run_in_workers(run: Run, command: Command, **params: Any) -> Exit:
    """Have each worker do something, and show what each replied; one that did not reply is a failure."""
    from flaskd_ctl.client.following import follow

    target = run.target()
    given = {key: value for key, value in params.items() if value is not None}
    result = backend.run(follow(BLOCKING, target, command.name, given, whole=run.timeout)) or {}
    run.show(command.name, result)
    return code_of_workers(result)


def code_of_workers(result: dict[str, Any]) -> Exit:
    """Return the exit code for what workers replied: done, failed in all, or failed in some."""
    failed = [bool(each.get("error")) for each in result.get("workers") or []]
    return Exit.DONE if not any(failed) else Exit.FAILED if all(failed) else Exit.SOME


def run_tune(run: Run, command: Command, **params: Any) -> Exit:
    """Change a setting or a level, and show it; if a process did not reply, it is done for some only.

    `log-level` without a level shows the levels.
    """
    from flaskd_ctl.client.following import follow

    target, method = run.target(), command.name
    given = {key: value for key, value in params.items() if value is not None}
    if method == "log_level" and "level" not in given:
        method, given = "log_levels", {}
    result = backend.run(follow(BLOCKING, target, method, given, whole=run.timeout)) or {}
    run.show(method, result)
    return Exit.SOME if any(each.get("error") for each in result.get("workers") or []) else Exit.DONE


def run_stop(run: Run, command: Command, *, no_wait: bool, missing_ok: bool, **params: float | None) -> Exit:
    """Stop or kill the instance, show the progress, and report when the process has gone."""
    from flaskd_ctl.client.stopping import stop

    given: dict[str, Any] = {key: value for key, value in params.items() if value is not None}
    given |= {"progress": True} if command.params else {}
    try:
        target = run.target()

        def show(event: dict[str, Any]) -> None:
            run.screen.progress(f"{target.name}: {results.progress_line(event)}")

        with remark_on_interrupt(run, target.name, command.name):
            stopping = stop(
                BLOCKING, target, command.name, given, whole=run.timeout, wait=not no_wait, on_progress=show
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


@contextlib.contextmanager
def remark_on_interrupt(run: Run, name: str, method: str) -> Iterator[None]:
    """Say on Ctrl-C that the instance continues."""
    try:
        yield
    except KeyboardInterrupt:
        run.screen.remark(f"Stopped waiting; {name} continues the {method.replace('_', '-')}")
        raise


def run_events(run: Run, _command: Command) -> Exit:
    """Show events as they come, until the instance has stopped or nobody reads them."""
    target = run.target()
    patience = Patience(time.monotonic(), first=RESPONSE_TIMEOUT, whole=run.timeout)
    with backend.run(Session.open(BLOCKING, target, deadline=patience.deadline)) as session:
        begun = backend.run(session.subscribe(patience))
        run.screen.remark(f"{target.name} is {begun.get('state')}; events follow")
        while (event := backend.run(session.next_event(patience))) is not None:
            if not run.screen.result(event, results.event_line(event)):
                break
    return Exit.DONE


def run_list(run: Run) -> Exit:
    """List the instances: running ones with their state, the others with what is known."""
    from flaskd_ctl.client.listing import LIST_PATIENCE, list_instances
    from flaskd_ctl.text.history import last_stop

    instances = run.instances
    rows = backend.run(list_instances(BLOCKING, instances, patience=run.timeout or LIST_PATIENCE))
    for row in rows:
        stop, failure = row.pop("last_stop"), row.pop("last_failure")
        row["detail"] = last_stop(stop) if stop else results.failure(failure) if failure else row["detail"]
    if closed := instances.closed():
        run.screen.remark(f"you may not look into {', '.join(closed)}")
    if not rows:
        run.screen.remark(f"no instance: looked in {', '.join(instances.directories)}")
    if rows or run.screen.json:
        run.screen.result(rows, results.listing(rows, colour=run.screen.colour))
    return Exit.DONE


def run_wait(run: Run, *, goal: str) -> Exit:
    """Wait for a state."""
    from flaskd_ctl.client.waiting import Wait

    status = backend.run(Wait(BLOCKING, run.target, goal, timeout=run.timeout).until_reached())
    name = status.get("name") or run.name or (run.chosen.label if run.chosen else None)
    run.screen.result({"name": name, "is": goal}, f"{name or 'the instance'} is {goal}")
    return Exit.DONE


def run_completion(run: Run, *, shell: str) -> Exit:
    """Print the script that the shell reads."""
    import click
    from click.shell_completion import ShellComplete, get_completion_class

    kind = get_completion_class(shell)
    if kind is None:
        raise Failed(f"this click has no completion for {shell}", hint="upgrade click")
    # The base class' source(): bash's own first runs a bash to ask its version, which is not ours to do.
    script = ShellComplete.source(kind(click.Command(PROGRAM), {}, PROGRAM, COMPLETE_VAR))
    run.screen.result({"shell": shell, "script": script}, script)
    return Exit.DONE


def run_dial(run: Run) -> Exit:
    """Connect the standard streams to the instance; a failure is reported to the client at the other end."""
    from flaskd_ctl.cli import dial

    try:
        dial.dial(run.target())
    except ControlError as error:
        dial.refuse(error)
        return code_of(error)
    return Exit.DONE
