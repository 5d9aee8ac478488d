"""`flaskd_ctl restart`: stop an instance, and start it as `flaskd start` has started it.

Only its own user can: what the record says is run, with the rights of the caller. The application is loaded before the instance
is stopped (`flaskd check`): code that cannot be loaded leaves what serves.
"""

from __future__ import annotations

import os
import subprocess
from typing import Any

from flaskd_ctl.cli.exits import Exit
from flaskd_ctl.cli.run import Run
from flaskd_ctl.contract.endpoint import Target
from flaskd_ctl.contract.start_record import StartRecord, read_record
from flaskd_ctl.errors import BadPlace, Failed, NotPermitted, NotRunning, WrongState
from flaskd_ctl.text import results
from flaskd_ctl.transports import backend
from flaskd_ctl.transports.backend import BLOCKING


def restart(run: Run, *, grace: float | None) -> Exit:
    """Restart the instance; one that has stopped is started, if it is named and its last run was one of `flaskd start`."""
    try:
        target = run.target()
    except NotRunning as error:
        name = str(error.data.get("name") or "")
        record = _own_record(name) if name else None
        if record is None or (error.data.get("last_stop") or {}).get("pid") != record.pid:
            raise
        if run.name is None:
            hint = f"to start {name} again: flaskd_ctl --name {name} restart"
            raise NotRunning(str(error), hint=hint, data=error.data) from None
        return _start(run, name, record, Exit.DONE)
    if target.endpoint.scheme not in {"unix", "ipc"}:
        raise BadPlace(
            f"{target.name} is on another host", hint="run it there: ssh HOST flaskd_ctl --name NAME restart"
        )
    status = run.ask(target, "status")
    record = _record_of(target, status)
    _check(run, target.name, record)
    try:
        outcome = _stop(run, target, grace)
        return _start(run, target.name, record, outcome)
    except KeyboardInterrupt:
        run.screen.remark(
            f"interrupted: {target.name} stops, or has stopped, and is not started again. Next: flaskd_ctl --name "
            f"{target.name} restart"
        )
        raise


def _record_of(target: Target, status: dict[str, Any]) -> StartRecord:
    """Return how a running instance was started. Raises WrongState if `flaskd start` has not, NotPermitted for another's."""
    how = str(status.get("restart_command") or "")
    if how.startswith("systemctl"):
        raise WrongState(f"systemd runs {target.name}", hint=f"use `{how}`")
    if not how:
        raise WrongState(
            f"{target.name} was not started by `flaskd start`, so only the terminal or program that runs it can start it again",
            hint=f"`flaskd_ctl --name {target.name} reload` loads new code without a restart",
        )
    record = _own_record(target.name)
    if record is None or record.place != os.path.dirname(target.endpoint.path):
        raise NotPermitted(
            f"{target.name} was started by another user, or the record of its start is gone",
            hint="run this as the user that started it, or stop it, and use `flaskd start`",
        )
    return record


def _own_record(name: str) -> StartRecord | None:
    return read_record(name, os.environ, os.geteuid())


def _check(run: Run, name: str, record: StartRecord) -> None:
    """Load the application as the start will. Raises Failed, and nothing has happened, if that fails."""
    run.screen.progress(f"{name}: loading the application to check it")
    ended = _run(name, record, "check", "--traceback", capture_output=True, text=True)
    if ended.returncode:
        lines = (ended.stderr.strip() or ended.stdout.strip() or "no output").splitlines()
        raise Failed(
            f"{name} is not restarted, because it could not start: {lines[-1].removeprefix('flaskd: ')}",
            data={"traceback": "\n".join(lines[:-1])} if lines[1:] else {},
        )


def _stop(run: Run, target: Target, grace: float | None) -> Exit:
    from flaskd_ctl.client.session import given
    from flaskd_ctl.client.stopping import stop

    asked = given(grace=grace, progress=True)

    def show(event: dict[str, Any]) -> None:
        run.screen.progress(f"{target.name}: {results.progress_line(event)}")

    result = backend.run(stop(BLOCKING, target, "shutdown", asked, whole=run.timeout, on_progress=show)) or {}
    run.screen.remark(f"{target.name}: {results.as_text('shutdown', result)}")
    return Exit.DONE if result.get("clean", True) else Exit.CUT


def _start(run: Run, name: str, record: StartRecord, outcome: Exit) -> Exit:
    run.screen.progress(f"{name}: starting")
    ended = _run(name, record, "start", stdout=subprocess.PIPE, text=True)
    if ended.returncode:
        raise Failed(
            f"{name} has stopped and could not be started again: exit code {ended.returncode}",
            hint=f"see {record.log}",
        )
    run.screen.result({"name": name, "restarted": True, "log": record.log}, ended.stdout.rstrip("\n"))
    return outcome


def _run(
    name: str, record: StartRecord, command: str, *more: str, **how: Any
) -> subprocess.CompletedProcess[str]:
    """Run `flaskd COMMAND` with the options, the directory and the environment of the start. Raises Failed."""
    try:
        return subprocess.run(
            [*record.program, command, *more, *record.words],
            cwd=record.directory,
            env={**record.environ, "PWD": record.directory},
            umask=record.umask,
            stdin=subprocess.DEVNULL,
            check=False,
            **how,
        )
    except OSError as error:
        raise Failed(
            f"cannot restart {name}: {error.filename or record.program[0]}: {error.strerror}",
            hint="its directory or its Python is gone: start it anew with `flaskd start`",
        ) from None
