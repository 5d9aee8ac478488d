"""The commands that are the client's own: no instance is asked, or one that need not run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import click

from flaskd_ctl.cli.command import CliCommand
from flaskd_ctl.cli.exits import Exit, code_of
from flaskd_ctl.cli.run import COMPLETE_VAR, PROGRAM, Run
from flaskd_ctl.errors import ControlError, Failed
from flaskd_ctl.text import results
from flaskd_ctl.transports import backend
from flaskd_ctl.transports.backend import BLOCKING


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


def _own(
    name: str, work: Callable[..., Exit], summary: str, waits: str, example: str, **attrs: Any
) -> CliCommand:
    """Make a command that is not in the table."""
    text = f"{summary}\n\n{waits}\n\nExample: {example}"
    return CliCommand(name, work, help=text, short_help=summary, **attrs)


def _list() -> CliCommand:
    from flaskd_ctl.client.listing import LIST_PATIENCE

    return _own(
        "list",
        run_list,
        "List all instances of this user and their state, including stopped, stale and unreachable ones.",
        f"Waits at most {LIST_PATIENCE:.0f} s for each instance.",
        "flaskd_ctl list --json",
        no_targets=True,
    )


def _wait() -> CliCommand:
    goal = click.Option(
        ["goal", "--for"],
        required=True,
        type=click.Choice(["ready", "running", "stopped", "idle"]),
        help="The state to wait for. The instance need not be running yet.",
    )
    return _own(
        "wait",
        run_wait,
        "Wait until the instance is ready, running, stopped or idle (no request in flight).",
        "Waits as long as it takes, or until --timeout (exit 5).",
        "flaskd_ctl --name shop wait --for ready --timeout 30",
        options=[goal],
    )


def _completion() -> CliCommand:
    return _own(
        "completion",
        run_completion,
        "Print the completion script for a shell.",
        "Returns at once.",
        'eval "$(flaskd_ctl completion bash)"',
        options=[click.Argument(["shell"], type=click.Choice(["bash", "zsh", "fish"]))],
        no_targets=True,
    )


def _dial() -> CliCommand:
    return _own(
        "dial-stdio",
        run_dial,
        "Connect standard input and output to the instance's plain socket: the other end of ssh://.",
        "Runs until the instance has gone or standard input ends.",
        "ssh web1 flaskd_ctl --name shop dial-stdio",
        no_targets=True,
    )


HEADING: Final = "flaskd_ctl itself"
"""The heading of the client's own commands in the help."""

OWN: Final[dict[str, Callable[[], CliCommand]]] = {
    "list": _list,
    "wait": _wait,
    "completion": _completion,
    "dial-stdio": _dial,
}
"""The client's own commands."""
