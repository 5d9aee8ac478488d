"""What the commands of `flaskd_ctl` do: ask, show, and return the exit code; failures are raised.

Nothing here imports msgspec, asyncio or (for the plain stream) zmq, and what only some commands need is imported by these, so
that asking costs little more than click itself.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from flaskd_ctl.cli.exits import Exit, code_of
from flaskd_ctl.cli.screen import Screen
from flaskd_ctl.client.listing import LIST_PATIENCE, list_instances
from flaskd_ctl.client.session import FIRST_WORD, Session, ask
from flaskd_ctl.contract.conversation import Patience
from flaskd_ctl.contract.endpoint import Target
from flaskd_ctl.discovery.instances import Instances
from flaskd_ctl.errors import ControlError, NotRunning
from flaskd_ctl.text import results
from flaskd_ctl.transports import backend
from flaskd_ctl.transports.backend import BLOCKING

if TYPE_CHECKING:
    from flaskd_ctl.contract.commands import Command
    from flaskd_ctl.discovery.targets import Aim

BEFORE_AND_AFTER: Final = {"starting", "stopped"}
"""States in which nothing is served; a stopping instance still answers what reaches it, a draining one everything."""


class Run:
    """What one run was told by the shared options, and where it writes."""

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
        self.aim: Aim | None = None  # the one of the targets that this run is for
        self.screen = Screen()

    @property
    def json(self) -> bool:
        """Whether results and errors are JSON."""
        return self.screen.json

    @json.setter
    def json(self, value: bool) -> None:
        self.screen.json = value

    @property
    def instances(self) -> Instances:
        """The instances that may be meant."""
        return Instances(self.runtime_dir)

    def target(self) -> Target:
        """The instance that is meant."""
        if self.aim is not None:
            return self.aim.find()
        return self.instances.target(
            self.name, endpoint=self.endpoint, key=self.key, server_key=self.server_key
        )

    def ask(
        self, method: str, params: dict[str, Any] | None = None, *, target: Target | None = None
    ) -> dict[str, Any]:
        """Ask the instance and return the result."""
        return backend.run(ask(BLOCKING, target or self.target(), method, params, whole=self.timeout))


def run_ask(run: Run, command: Command) -> Exit:
    """Ask and show the answer."""
    result = run.ask(command.name)
    run.screen.result(result, results.as_text(command.name, result, colour=run.screen.colour))
    return Exit.DONE


def run_status(run: Run, command: Command, *, serving: bool) -> Exit:
    """Ask and show the answer; with `serving`, an instance that serves nothing yet is a failure.

    Of one that has stopped it shows how, and fails all the same.
    """
    try:
        target = run.target()
    except NotRunning as error:
        if stop := error.data.get("last_stop"):
            from flaskd_ctl.text import history

            stopped = {"name": error.data["name"], "state": "stopped", "last_stop": stop}
            run.screen.result(stopped, history.stopped(stopped["name"], stop))
        raise
    result = run.ask(command.name, target=target)
    run.screen.result(result, results.as_text(command.name, result, colour=run.screen.colour))
    return Exit.FAILED if serving and result.get("state") in BEFORE_AND_AFTER else Exit.DONE


def run_incidents(run: Run, command: Command, *, id: int | None) -> Exit:  # noqa: A002 - the parameter's name
    """Show all incidents in short, or one in full."""
    result = run.ask(command.name, {} if id is None else {"id": id})
    shown = command.name if id is None else "incident"
    run.screen.result(result, results.as_text(shown, result, colour=run.screen.colour))
    return Exit.DONE


def run_history(run: Run, command: Command, *, limit: int | None) -> Exit:
    """Show who asked for what; of an instance that has stopped, from its audit log, where we may read that."""
    params = {} if limit is None else {"limit": limit}
    try:
        target = run.target()
    except NotRunning as error:  # of this host: what a peer says of files is not gone by
        path = error.data.get("audit_log")
        if not path:
            raise
        from flaskd_ctl.discovery import notes

        result = notes.log_of(error.data["name"], path, **params)
        run.screen.remark(f"{error.data['name']} is not running; this is from {path}")
    else:
        result = run.ask(command.name, params, target=target)
    run.screen.result(result, results.as_text(command.name, result, colour=run.screen.colour))
    return Exit.DONE


def run_follow(run: Run, command: Command, *, no_wait: bool, **params: Any) -> Exit:
    """Ask for what takes longer, show each step of it, and report when it has happened."""
    from flaskd_ctl.client.following import follow
    from flaskd_ctl.text.workers import step

    target = run.target()
    steps: dict[Any, str] = {}

    def show(event: dict[str, Any]) -> None:
        steps.pop(event.get("worker"), None)
        steps[event.get("worker")] = step(event)
        run.screen.progress(f"{target.name}: {'; '.join([*steps.values()][-2:])}")

    with _told_on_interrupt(run, target.name):
        result = backend.run(
            follow(
                BLOCKING,
                target,
                command.name,
                {key: value for key, value in params.items() if value is not None},
                whole=run.timeout,
                wait=not no_wait,
                on_progress=show,
            )
        )
    if result is None:
        run.screen.result({"name": target.name, "begun": command.name}, f"{target.name}: it has begun")
    else:
        run.screen.result(result, results.as_text(command.name, result | {"name": target.name}))
    return Exit.DONE


def run_stop(run: Run, command: Command, *, no_wait: bool, missing_ok: bool, **params: float | None) -> Exit:
    """Ask for the end, show how far it is, and report when the process is gone."""
    from flaskd_ctl.client.stopping import stop

    try:
        target = run.target()
        given: dict[str, Any] = {key: value for key, value in params.items() if value is not None}
        if any(param.name == "progress" for param in command.params):
            given["progress"] = True
        with _told_on_interrupt(run, target.name):
            result = backend.run(
                stop(
                    BLOCKING,
                    target,
                    command.name,
                    given,
                    whole=run.timeout,
                    wait=not no_wait,
                    on_progress=lambda event: run.screen.progress(
                        f"{target.name}: {results.progress_line(event)}"
                    ),
                )
            )
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
def _told_on_interrupt(run: Run, name: str) -> Iterator[None]:
    """Say on Ctrl-C that only the waiting ends."""
    try:
        yield
    except KeyboardInterrupt:
        run.screen.remark(f"flaskd_ctl waits no longer; {name} goes on with what it was told")
        raise


def run_events(run: Run, _command: Command) -> Exit:
    """Show events as they come, until the instance has stopped or nobody reads them."""
    target = run.target()
    patience = Patience(time.monotonic(), first=FIRST_WORD, whole=run.timeout)
    with backend.run(Session.open(BLOCKING, target, deadline=patience.deadline)) as session:
        begun = backend.run(session.subscribe(patience))
        run.screen.remark(f"{target.name} is {begun.get('state')}; events follow")
        while (event := backend.run(session.next_event(patience))) is not None:
            if not run.screen.result(event, results.event_line(event)):
                break
    return Exit.DONE


def run_list(run: Run) -> Exit:
    """List the instances, living ones with their state, others with what is known."""
    patience = run.timeout or LIST_PATIENCE
    rows = backend.run(list_instances(BLOCKING, run.instances, patience=patience))
    for row in rows:
        stop, failure = row.pop("last_stop"), row.pop("last_failure")
        if stop:
            from flaskd_ctl.text.history import told

            row["detail"] = told(stop)
        elif failure:
            row["detail"] = results.failure(failure)
    if closed := run.instances.closed():
        run.screen.remark(f"you may not look into {', '.join(closed)}")
    if not rows:
        run.screen.remark(f"no instance: looked in {', '.join(run.instances.directories)}")
    if rows or run.screen.json:
        run.screen.result(rows, results.listing(rows, colour=run.screen.colour))
    return Exit.DONE


def run_dial(run: Run) -> Exit:
    """Join the standard streams to the instance; a failure is told in the far end's own words."""
    from flaskd_ctl.cli import dial

    try:
        dial.dial(run.target())
    except ControlError as error:
        dial.refuse(error)
        return code_of(error)
    return Exit.DONE


def run_wait(run: Run, *, goal: str) -> Exit:
    """Wait for a state."""
    from flaskd_ctl.client.waiting import Wait

    status = backend.run(Wait(BLOCKING, run.target, goal, timeout=run.timeout).until_reached())
    name = status.get("name") or run.name or (run.aim.label if run.aim else None)
    run.screen.result({"name": name, "is": goal}, f"{name or 'the instance'} is {goal}")
    return Exit.DONE
