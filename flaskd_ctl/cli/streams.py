"""The commands that show what happens until they are interrupted: `events` and `logs`."""

from __future__ import annotations

import contextlib
import itertools
import os
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from flaskd_ctl.cli.exits import Exit
from flaskd_ctl.client.session import RESPONSE_TIMEOUT, Session, given
from flaskd_ctl.contract.conversation import Patience
from flaskd_ctl.errors import NotRunning
from flaskd_ctl.text import results
from flaskd_ctl.transports import backend
from flaskd_ctl.transports.backend import BLOCKING

if TYPE_CHECKING:
    from flaskd_ctl.cli.run import Run
    from flaskd_ctl.contract.commands import Command
    from flaskd_ctl.contract.endpoint import Target

Event = dict[str, Any]


@contextlib.contextmanager
def subscribed(
    run: Run, target: Target, method: str, params: dict[str, Any]
) -> Iterator[tuple[dict[str, Any], Iterator[Event]]]:
    """Subscribe; give the reply, and the events until the instance has stopped."""
    patience = Patience(time.monotonic(), first=RESPONSE_TIMEOUT, whole=run.timeout)
    with backend.run(Session.open(BLOCKING, target, deadline=patience.deadline)) as session:
        begun = backend.run(session.subscribe(patience, method, params))
        yield begun, iter(lambda: backend.run(session.next_event(patience)), None)


def run_events(run: Run, command: Command) -> Exit:
    """Show events as they come, until the instance has stopped or nobody reads them."""
    target = run.target()
    with subscribed(run, target, command.name, {}) as (begun, events):
        run.screen.remark(f"{target.name} is {begun.get('state')}; events follow")
        for event in events:
            if not run.screen.result(event, results.event_line(event)):
                break
    return Exit.DONE


def run_logs(run: Run, command: Command, *, follow: bool | None, reopen: bool, **params: Any) -> Exit:
    """Show the newest lines of the log, then later ones if asked to; or have the log files opened again."""
    asked = given(**params)
    if reopen:
        if follow or asked:
            from flaskd_ctl.errors import BadPlace

            raise BadPlace("--reopen goes together with no other option of `logs`", hint="give one of them")
        return run.show("reopen_logs", run.ask(run.target(), "reopen_logs"))
    if follow:
        return _follow(run, command, asked)
    result = run.ask(_target(run), command.name, asked)
    _remark_missing(run, result)
    return run.show(command.name, result)


def _target(run: Run) -> Target:
    """Find the instance. If one that `flaskd start` has started does not run, raise NotRunning with its log file."""
    try:
        return run.target()
    except NotRunning as error:
        from flaskd_ctl.contract.start_record import read_record

        record = read_record(str(error.data.get("name") or ""), os.environ, os.geteuid())
        if record is None:
            raise
        raise NotRunning(str(error), hint=f"its log is {record.log}", data=error.data) from None


def _follow(run: Run, command: Command, asked: dict[str, Any]) -> Exit:
    from flaskd_ctl.text.logs import log_line, lost

    with subscribed(run, _target(run), command.name, {**asked, "follow": True}) as (begun, events):
        _remark_missing(run, begun)
        for event in itertools.chain([begun], events):
            if event.get("event") == "lost" and event.get("count"):
                if run.screen.json:
                    run.screen.result(event, "")
                else:
                    run.screen.remark(lost(event))
            if not all(run.screen.result(line, log_line(line)) for line in event.get("lines") or []):
                break
    return Exit.DONE


def _remark_missing(run: Run, result: dict[str, Any]) -> None:
    from flaskd_ctl.text.logs import missing

    if note := missing(result):
        run.screen.remark(note)
