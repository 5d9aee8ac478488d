"""The commands that are the client's own: no instance is asked, or one that need not run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import click

from flaskd_ctl.cli.command import CliCommand
from flaskd_ctl.cli.exits import Exit, code_of
from flaskd_ctl.cli.options import Seconds, complete_stopped
from flaskd_ctl.cli.run import COMPLETE_VAR, PROGRAM, Run
from flaskd_ctl.contract.times import count
from flaskd_ctl.errors import BadPlace, ControlError, Failed
from flaskd_ctl.text import results
from flaskd_ctl.transports import backend
from flaskd_ctl.transports.backend import BLOCKING

NOT_RUNNING: Final = {"stopped", "stale"}
"""States in which `list` shows an instance only with --all."""


def run_list(run: Run, *, all_of_them: bool) -> Exit:
    """List the instances that run, with their state; with --all the others too, with what is known."""
    from flaskd_ctl.client.listing import LIST_PATIENCE, list_instances
    from flaskd_ctl.text.history import last_stop

    if run.endpoint:
        raise BadPlace(
            "--endpoint does not go together with list, which is of this host", hint="use `status`"
        )
    instances = run.instances
    rows = backend.run(list_instances(BLOCKING, instances, patience=run.timeout or LIST_PATIENCE))
    for row in rows:
        stop, failure = row.pop("last_stop"), row.pop("last_failure")
        row["detail"] = last_stop(stop) if stop else results.failure(failure) if failure else row["detail"]
    if closed := instances.closed():
        run.screen.remark(f"you may not look into {', '.join(closed)}")
    rows = [row for row in rows if run.name in {None, row["name"]}]
    left_out = [] if all_of_them else [row for row in rows if row["state"] in NOT_RUNNING]
    rows = [row for row in rows if row not in left_out]
    if not rows:
        what = "no instance" if all_of_them else "no instance is running"
        run.screen.remark(f"{what}: looked in {', '.join(instances.directories)}")
    if rows or run.screen.json:
        run.screen.result(rows, results.listing(rows, colour=run.screen.colour))
    if left_out:
        are = "are" if len(left_out) > 1 else "is"
        run.screen.remark(f"{count(len(left_out), 'instance')} that {are} not running: flaskd_ctl list --all")
    return Exit.DONE


def run_forget(run: Run, *, names: tuple[str, ...]) -> Exit:
    """Remove what instances that do not run have left; the first failure ends it."""
    from flaskd_ctl.contract.endpoint import check_name
    from flaskd_ctl.discovery.forget import forget

    asked = [check_name(name) for name in dict.fromkeys([*names, *filter(None, [run.name])])]
    if not asked:
        raise BadPlace("no instance is named", hint="name one: flaskd_ctl forget shop")
    if run.endpoint:
        raise BadPlace("--endpoint does not go together with forget", hint="give the name")
    for name in asked:
        removed = forget(name, run.instances)
        run.screen.result(
            {"name": name, "removed": removed}, f"{name} is forgotten: {count(len(removed), 'file')} removed"
        )
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

    text = "Show also those that do not run: how they stopped, or that their process was killed."
    return _own(
        "list",
        run_list,
        "List the instances of this user that run, and their state.",
        f"Waits at most {LIST_PATIENCE:.0f} s for each instance.",
        "flaskd_ctl list --json",
        options=[click.Option(["all_of_them", "--all"], is_flag=True, help=text)],
        no_targets=True,
    )


def _forget() -> CliCommand:
    return _own(
        "forget",
        run_forget,
        "Remove the files that an instance has left which does not run, so that it is listed no longer.",
        "Returns at once. The audit log and log files stay.",
        "flaskd_ctl forget shop",
        options=[click.Argument(["names"], nargs=-1, metavar="NAME...", shell_complete=complete_stopped)],
        no_targets=True,
    )


def run_restart(run: Run, *, grace: float | None) -> Exit:
    """Stop an instance and start it again."""
    from flaskd_ctl.cli.restart import restart

    return restart(run, grace=grace)


def _restart() -> CliCommand:
    help_text = "Seconds that requests may still take before they are cut. Default: the setting `grace`."
    return _own(
        "restart",
        run_restart,
        "Stop an instance that `flaskd start` has started, and start it again in the same way.",
        "Waits until it serves. If the application cannot be loaded, nothing is stopped. No request is lost, but new "
        "connections are refused in between: `reload` loads new code without that.",
        "flaskd_ctl --name shop restart",
        options=[click.Option(["--grace"], type=Seconds(), help=help_text)],
        changes=True,
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


def _top() -> CliCommand:
    from flaskd_ctl.cli.options import Seconds
    from flaskd_ctl.cli.top import run_top
    from flaskd_ctl.cli.watched import SHORTEST

    interval = click.Option(
        ["--interval"],
        type=Seconds(at_least=SHORTEST),
        default="1",
        help=f"Time between two looks, at least {SHORTEST:g} s. Default: 1 s.",
    )
    once = click.Option(["--once"], is_flag=True, help="Look once, and write it as text.")
    return _own(
        "top",
        run_top,
        "Show workers, requests, endpoints, errors, events and log live in the terminal, and change what your role allows.",
        "Runs until you leave it with q. Without a terminal, or with --json, it looks once. Needs the extra flaskd[top].",
        "flaskd_ctl -t web1 -t web2 top",
        options=[interval, once],
        own_targets=True,
    )


def _web() -> CliCommand:
    from flaskd_ctl.cli.options import Seconds
    from flaskd_ctl.cli.watched import SHORTEST
    from flaskd_ctl.cli.web import run_web

    port = click.Option(
        ["--port"],
        type=click.IntRange(0, 65535),
        metavar="PORT",
        default=0,
        help="Port of 127.0.0.1 to listen on. Default: a free one.",
    )
    interval = click.Option(
        ["--interval"],
        type=Seconds(at_least=SHORTEST),
        default="1",
        help=f"Time between two looks, at least {SHORTEST:g} s. Default: 1 s.",
    )
    allow = click.Option(
        ["--allow-changes"], is_flag=True, help="Offer the changes that your role allows. Default: only read."
    )
    return _own(
        "web",
        run_web,
        "Show workers, requests, latencies, errors, events and log live in a browser: print the URL of a page.",
        "Serves the page on this host, only to you, until you interrupt it. The URL opens once, in one browser. Needs the "
        "extra flaskd[web].",
        "flaskd_ctl -t web1 -t web2 web --allow-changes",
        options=[port, interval, allow],
        own_targets=True,
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
    "restart": _restart,
    "forget": _forget,
    "wait": _wait,
    "top": _top,
    "web": _web,
    "completion": _completion,
    "dial-stdio": _dial,
}
"""The client's own commands."""
