"""What `flaskd_ctl logs` does."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from flaskd_ctl.cli.exits import Exit
from flaskd_ctl.client.session import RESPONSE_TIMEOUT, Session
from flaskd_ctl.contract.conversation import Patience
from flaskd_ctl.transports import backend
from flaskd_ctl.transports.backend import BLOCKING

if TYPE_CHECKING:
    from flaskd_ctl.cli.actions import Run
    from flaskd_ctl.contract.commands import Command


def run_logs(run: Run, command: Command, *, follow: bool, reopen: bool, **params: Any) -> Exit:
    """Show the newest lines of the log, then later ones if asked to; or have the log files opened again."""
    given = {key: value for key, value in params.items() if value is not None}
    if reopen:
        if follow or given:
            from flaskd_ctl.errors import BadPlace

            raise BadPlace("--reopen goes together with no other option of `logs`", hint="give one of them")
        return run.show("reopen_logs", run.ask(run.target(), "reopen_logs"))
    if follow:
        return _follow(run, command, given)
    result = run.ask(run.target(), command.name, given)
    from flaskd_ctl.text.logs import missing

    if note := missing(result):
        run.screen.remark(note)
    return run.show(command.name, result)


def _follow(run: Run, command: Command, given: dict[str, Any]) -> Exit:
    from flaskd_ctl.text.logs import log_line, lost, missing

    target = run.target()
    patience = Patience(time.monotonic(), first=RESPONSE_TIMEOUT, whole=run.timeout)
    with backend.run(Session.open(BLOCKING, target, deadline=patience.deadline)) as session:
        begun = backend.run(session.subscribe(patience, command.name, {**given, "follow": True}))
        if note := missing(begun):
            run.screen.remark(note)
        lines = begun.get("lines") or []
        while all(run.screen.result(line, log_line(line)) for line in lines):
            event = backend.run(session.next_event(patience))
            if event is None:
                break
            lines = event.get("lines") or []
            if event.get("event") == "lost" and event.get("count"):
                if run.screen.json:
                    run.screen.result(event, "")
                else:
                    run.screen.remark(lost(event))
    return Exit.DONE
