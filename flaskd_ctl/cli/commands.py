"""The commands of `flaskd_ctl`: those of the COMMANDS table, and four that are the client's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import click

from flaskd_ctl.cli import actions, log_actions, profile
from flaskd_ctl.cli.actions import Run
from flaskd_ctl.cli.exits import Exit, code_of
from flaskd_ctl.cli.options import Seconds, complete_settings, endpoint_of_application, shared_options
from flaskd_ctl.contract.commands import COMMANDS, PROGRESS, Command, Param
from flaskd_ctl.errors import BadPlace, ControlError


class Table(click.Group):
    """The commands in the order of COMMANDS, then our own; each is built when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """List the names."""
        return [*map(word, COMMANDS), *OWN]

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Build a command, once."""
        if name not in self.commands:
            if (method := name.replace("-", "_")) in COMMANDS and name == word(method):
                self.add_command(derive(COMMANDS[method]))
            elif name in OWN:
                self.add_command(OWN[name]())
        return self.commands.get(name)


class CliCommand(click.Command):
    """A command that calls `work` with the Run and its own options, and turns failures into exit codes.

    `changes`: it changes something at the instance. `no_targets`: it cannot be used with --target.
    """

    def __init__(
        self,
        name: str,
        work: Callable[..., Exit],
        *,
        options: Sequence[click.Parameter] = (),
        changes: bool = False,
        no_targets: bool = False,
        **attrs: Any,
    ) -> None:
        own = {option.name for option in options}
        shared = [option for option in shared_options() if option.name not in own]
        super().__init__(name, params=[*options, *shared], **attrs)
        self.work = work
        self.changes = changes
        self.no_targets = no_targets

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take a negative number (`scale -1`) for a number, not for an option."""
        ctx.ignore_unknown_options = any(arg[:1] == "-" and arg[1:].isdecimal() for arg in args)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Exit:
        """Run the command; every failure becomes a sentence and an exit code."""
        run: Run = ctx.obj
        try:
            return self._for_targets(run, ctx) if run.targets else self.work(run, **ctx.params)
        except ControlError as error:
            run.screen.error(error)
            return code_of(error, method=ctx.info_name or "")
        finally:
            run.screen.clear()

    def _for_targets(self, run: Run, ctx: click.Context) -> Exit:
        from flaskd_ctl.discovery.targets import Keys, choose

        if self.no_targets or run.name or run.endpoint:
            other = ctx.info_name if self.no_targets else "--name" if run.name else "--endpoint"
            raise BadPlace(f"--target does not go together with {other}", hint="give one of them")
        chosen, several = choose(run.targets, run.instances, keys=Keys(run.key, run.server_key))
        if not several:
            run.chosen = chosen[0]
            return self.work(run, **ctx.params)
        if ctx.params.get("output"):
            raise BadPlace(
                "--output names one file, and there are several targets", hint="profile them one by one"
            )
        from flaskd_ctl.cli.fanout import fan_out

        return fan_out(
            run,
            chosen,
            lambda own: self.work(own, **ctx.params),
            name=ctx.info_name or "",
            changes=self.changes,
            waits=not ctx.params.get("no_wait"),
            streams=ctx.info_name == "events" or any(map(ctx.params.get, ("follow", "watch"))),
        )


def _call(run: Run, command: Command, **given: Any) -> Exit:
    from flaskd_ctl.cli.calling import run_call

    return run_call(run, command, **given)


ACTIONS: Final[dict[str, Callable[..., Exit]]] = {
    "status": actions.run_status,
    "incidents": actions.run_incidents,
    "history": actions.run_history,
    "errors": actions.run_errors,
    "slow": actions.run_with,
    "cancel": actions.run_with,
    "events": actions.run_events,
    "stats": actions.run_stats,
    "requests": actions.run_requests,
    "stacks": actions.run_in_workers,
    "profile": profile.run_profile,
    "gc": actions.run_in_workers,
    "call": _call,
    "routes": actions.run_ask_worker,
    "app_config": actions.run_ask_worker,
    "info": actions.run_tune,
    "set": actions.run_tune,
    "unset": actions.run_tune,
    "log_level": actions.run_tune,
    "log_levels": actions.run_tune,
    "logs": log_actions.run_logs,
    "shutdown": actions.run_stop,
    "kill": actions.run_stop,
    "reload": actions.run_follow,
    "scale": actions.run_follow,
    "restart_worker": actions.run_follow,
}
"""What runs a command; `run_ask` runs the others."""


def word(method: str) -> str:
    """Return the name of a command as it is typed."""
    return method.replace("_", "-")


def derive(command: Command) -> CliCommand:
    """Make the click command of a command in the table."""
    work = ACTIONS.get(command.name, actions.run_ask)
    if work is _call:
        from flaskd_ctl.cli import calling

        params = calling.parameters(command)
    else:
        params = [made for param in command.params if (made := _parameter(param))]
    if work in {actions.run_follow, actions.run_stop}:
        params.append(click.Option(["--no-wait"], is_flag=True, help="Return when it has begun."))
    if work is actions.run_stop:
        params.append(click.Option(["--missing-ok"], is_flag=True, help="Exit 0 if it is not running."))
    elif work is actions.run_stats:
        params.append(click.Option(["--watch"], is_flag=True, help="Show them every 2 s."))
    elif work is log_actions.run_logs:
        text = "Open the log files again, after another program has renamed them. Nothing else is done."
        params.append(click.Option(["--reopen"], is_flag=True, help=text))
    elif work is profile.run_profile:
        params += profile.options()
    elif work is actions.run_status:
        params.append(click.Option(["--serving"], is_flag=True, help="Exit 1 until it serves requests."))
    arguments = [
        f"{param.name.upper()}: {param.help}"
        for param in command.params
        if param.argument  # click's arguments have no help of their own
    ]
    return CliCommand(
        word(command.name),
        lambda run, **given: work(run, command, **given),
        options=params,
        changes=command.changes,
        help="\n\n".join(
            [
                command.summary,
                *arguments,
                command.waits,
                f"Role: {command.role.value} or higher; the instance decides.",
                f"Example: {command.example}",
            ]
        ),
        short_help=command.summary,
    )


def _parameter(param: Param) -> click.Parameter | None:
    """Make a parameter's option or argument; None for one that the command line sets itself."""
    flag = f"--{word(param.name)}"
    if param.kind == "seconds":
        return click.Option([flag], type=Seconds(), help=param.help)
    if param.kind == "endpoint":
        return endpoint_of_application(param.help)
    if param is PROGRESS or param.kind in {"change", "logger"}:
        return None
    from flaskd_ctl.cli import arguments

    if param.kind in arguments.SEVERAL:
        return arguments.SEVERAL[param.kind]()
    kind = arguments.TYPES[param.kind]
    if param.argument:
        complete = complete_settings if param.kind == "setting" else None
        return click.Argument([param.name], type=kind, required=param.required, shell_complete=complete)
    if param.kind == "flag":
        return click.Option([flag], is_flag=True, help=param.help)
    return click.Option([flag], type=kind, required=param.required, help=param.help)


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
        actions.run_list,
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
        actions.run_wait,
        "Wait until the instance is ready, running, stopped or idle (no request in flight).",
        "Waits as long as it takes, or until --timeout (exit 5).",
        "flaskd_ctl --name shop wait --for ready --timeout 30",
        options=[goal],
    )


def _completion() -> CliCommand:
    return _own(
        "completion",
        actions.run_completion,
        "Print the completion script for a shell.",
        "Returns at once.",
        'eval "$(flaskd_ctl completion bash)"',
        options=[click.Argument(["shell"], type=click.Choice(["bash", "zsh", "fish"]))],
        no_targets=True,
    )


def _dial() -> CliCommand:
    return _own(
        "dial-stdio",
        actions.run_dial,
        "Connect standard input and output to the instance's plain socket: the other end of ssh://.",
        "Runs until the instance has gone or standard input ends.",
        "ssh web1 flaskd_ctl --name shop dial-stdio",
        no_targets=True,
    )


OWN: Final[dict[str, Callable[[], CliCommand]]] = {
    "list": _list,
    "wait": _wait,
    "completion": _completion,
    "dial-stdio": _dial,
}
"""The client's own commands."""
