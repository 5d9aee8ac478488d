"""The commands of `flaskd_ctl`: those of the COMMANDS table, and those that are the client's own."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Final

import click

from flaskd_ctl.cli import actions, changes, profile, streams
from flaskd_ctl.cli.command import CliCommand
from flaskd_ctl.cli.exits import Exit
from flaskd_ctl.cli.options import Seconds, complete_settings, endpoint_of_application
from flaskd_ctl.cli.own import HEADING as HEADING_OF_OWN, OWN
from flaskd_ctl.cli.run import Run
from flaskd_ctl.contract.commands import AUTO, COMMANDS, PROGRESS, SECTIONS, Command, Param


class Table(click.Group):
    """The commands in the order of COMMANDS, then our own; each is built when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """List the names."""
        return [*map(word, COMMANDS), *OWN]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands under their headings, all in the same columns."""
        names = self.list_commands(ctx)
        width = max(map(len, names))
        sections = {
            heading: [word(command.name) for command in commands] for heading, commands in SECTIONS.items()
        }
        for heading, listed in (sections | {HEADING_OF_OWN: [*OWN]}).items():
            with formatter.section(heading):
                rows = [(name, self.get_command(ctx, name)) for name in listed]
                formatter.write_dl(
                    [(name.ljust(width), made.short_help or "") for name, made in rows if made]
                )

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find a command; for an unknown one, say what is probably meant."""
        name = args[0]
        if not name.startswith("-") and not ctx.resilient_parsing and self.get_command(ctx, name) is None:
            from flaskd_ctl.cli.guesses import command_hint

            hint = command_hint(name, self.list_commands(ctx))
            ctx.fail(f"No such command {name!r}." + (f" Next: {hint}" if hint else ""))
        return super().resolve_command(ctx, args)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the options before the command; for an unknown one, say what is probably meant."""
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            from flaskd_ctl.cli.guesses import with_hint

            raise with_hint(error, ctx) from None

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Build a command, once."""
        if name not in self.commands:
            if (method := name.replace("-", "_")) in COMMANDS and name == word(method):
                self.add_command(derive(COMMANDS[method]))
            elif name in OWN:
                self.add_command(OWN[name]())
        return self.commands.get(name)


def _call(run: Run, command: Command, **given: Any) -> Exit:
    from flaskd_ctl.cli.call import run_call

    return run_call(run, command, **given)


ACTIONS: Final[dict[str, Callable[..., Exit]]] = {
    "status": actions.run_status,
    "incidents": actions.run_all_or_one,
    "history": actions.run_history,
    "errors": actions.run_all_or_one,
    "events": streams.run_events,
    "requests": actions.run_requests,
    "stats": actions.run_stats,
    "stacks": actions.run_in_workers,
    "profile": profile.run_profile,
    "gc": actions.run_in_workers,
    "call": _call,
    "info": actions.run_tune,
    "set": actions.run_tune,
    "unset": actions.run_tune,
    "log_level": actions.run_tune,
    "log_levels": actions.run_tune,
    "logs": streams.run_logs,
    "shutdown": changes.run_stop,
    "kill": changes.run_stop,
    "reload": changes.run_follow,
    "scale": changes.run_follow,
    "restart_worker": changes.run_follow,
}
"""What runs a command; `run_ask` runs the others."""


def word(method: str) -> str:
    """Return the name of a command as it is typed."""
    return method.replace("_", "-")


def derive(command: Command) -> CliCommand:
    """Make the click command of a command in the table."""
    work = ACTIONS.get(command.name, actions.run_ask)
    if work is _call:
        from flaskd_ctl.cli import call

        params = call.parameters(command)
    else:
        params = [made for param in command.params if (made := _parameter(param))]
    if work in {changes.run_follow, changes.run_stop}:
        params.append(click.Option(["--no-wait"], is_flag=True, help="Return when it has begun."))
    if work is changes.run_stop:
        params.append(click.Option(["--missing-ok"], is_flag=True, help="Exit 0 if it is not running."))
    elif work is actions.run_stats:
        params.append(click.Option(["--watch"], is_flag=True, help="Show them every 2 s."))
    elif work is streams.run_logs:
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
        functools.partial(work, command=command),
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
    if param.kind in {"seconds", "period"}:
        return click.Option([flag], type=Seconds(zero=param.kind == "seconds"), help=param.help)
    if param.kind == "endpoint":
        return endpoint_of_application(param.help)
    if param in {PROGRESS, AUTO} or param.kind in {"change", "logger"}:
        return None
    from flaskd_ctl.cli import arguments

    if param.kind in arguments.SEVERAL:
        return arguments.SEVERAL[param.kind]()
    kind = arguments.TYPES[param.kind]
    if param.argument:
        complete = complete_settings if param.kind == "setting" else None
        return click.Argument([param.name], type=kind, required=param.required, shell_complete=complete)
    if param.kind == "flag":
        return click.Option([flag], is_flag=True, default=None, help=param.help)
    return click.Option([flag], type=kind, required=param.required, help=param.help)
