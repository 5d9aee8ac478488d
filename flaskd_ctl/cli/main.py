"""The `flaskd_ctl` command: click commands derived from COMMANDS, and four that are the client's own.

The options --name, --endpoint, --runtime-dir, --timeout and --json may stand before the command or after it; after it counts.
A command is built when it is asked for: a dozen of them with their options would cost more than the question itself.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, NoReturn

import click

from flaskd_ctl.cli.actions import (
    Run,
    run_ask,
    run_dial,
    run_events,
    run_follow,
    run_history,
    run_incidents,
    run_list,
    run_status,
    run_stop,
    run_wait,
)
from flaskd_ctl.cli.exits import MEANINGS, Exit, code_of
from flaskd_ctl.cli.screen import Screen
from flaskd_ctl.client.listing import LIST_PATIENCE
from flaskd_ctl.contract.commands import COMMANDS, PROGRESS, Command, Param
from flaskd_ctl.errors import BadPlace, ControlError, Failed

PROGRAM: Final = "flaskd_ctl"
COMPLETE_VAR: Final = "_FLASKD_CTL_COMPLETE"


if TYPE_CHECKING:
    _Float = click.ParamType[float]
else:
    _Float = click.ParamType  # generic since click 8.2 only


class Usage(ControlError):
    """The command line itself was wrong (click says how)."""

    name = "usage"


class Seconds(_Float):
    """A number of seconds, neither negative nor infinite."""

    name = "seconds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read the number."""
        try:
            seconds = float(value)
        except ValueError:
            self.fail(f"{value!r} is not a number of seconds", param, ctx)
        if not 0 <= seconds <= 86_400:
            self.fail(f"{value} is not between 0 and 86400 seconds (a day)", param, ctx)
        return seconds


class Table(click.Group):
    """The commands in the table's order, then our own; each is built when it is asked for."""

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


class Deed(click.Command):
    """A command that does `work` with the Run and options of its own, and turns failures into exit codes.

    `changes` tells whether it changes anything where it is done; `apart` is what is not done to targets at all.
    """

    def __init__(
        self,
        name: str,
        work: Callable[..., Exit],
        *,
        options: Sequence[click.Parameter] = (),
        changes: bool = False,
        apart: bool = False,
        **attrs: Any,
    ) -> None:
        super().__init__(name, params=[*options, *shared_options()], **attrs)
        self.work = work
        self.changes = changes
        self.apart = apart

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take a negative number (`scale -1`) for a number, not for an option."""
        ctx.ignore_unknown_options = any(arg[:1] == "-" and arg[1:].isdecimal() for arg in args)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Exit:
        """Do it; every failure becomes a sentence and a code."""
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

        if self.apart or run.name or run.endpoint:
            other = ctx.info_name if self.apart else "--name" if run.name else "--endpoint"
            raise BadPlace(f"--target does not go together with {other}", hint="give one of them")
        aims, several = choose(run.targets, run.instances, keys=Keys(run.key, run.server_key))
        if not several:
            run.aim = aims[0]
            return self.work(run, **ctx.params)
        from flaskd_ctl.cli.fanout import fan_out

        return fan_out(
            run,
            aims,
            lambda own: self.work(own, **ctx.params),
            name=ctx.info_name or "",
            changes=self.changes,
            waits=not ctx.params.get("no_wait"),
        )


def word(method: str) -> str:
    """Write the name of a command as it is typed."""
    return method.replace("_", "-")


def derive(command: Command) -> Deed:
    """Make the click command of a command in the table; progress is no option, it is asked for always."""
    params = [made for param in command.params if (made := _parameter(param))]
    work: Callable[..., Exit] = run_ask
    if PROGRESS in command.params or command.name == "kill":
        work = run_follow
        params.append(click.Option(["--no-wait"], is_flag=True, help="Return when it has begun."))
    if command.name in {"shutdown", "kill"}:
        work = run_stop
        params.append(click.Option(["--missing-ok"], is_flag=True, help="Exit 0 when it is not running."))
    elif command.name == "status":
        work = run_status
        params.append(click.Option(["--serving"], is_flag=True, help="Exit 1 while it serves nothing yet."))
    elif command.name == "incidents":
        work = run_incidents
    elif command.name == "history":
        work = run_history
    elif command.name == "events":
        work = run_events
    named = [
        f"{param.name.upper()}: {param.help}"
        for param in command.params
        if param.kind in {"worker", "incident"}  # click's arguments have no help of their own
    ]
    return Deed(
        word(command.name),
        lambda run, **given: work(run, command, **given),
        options=params,
        changes=command.changes,
        help=help_of(
            "\n\n".join([command.summary, *named]), command.waits, command.example, role=command.role.value
        ),
        short_help=command.summary,
    )


def help_of(summary: str, waits: str, example: str, *, role: str = "") -> str:
    """Write a command's help: what it does, what it waits for, who may run it, an example."""
    who = f"Who may: {role} and above; the instance decides.\n\n" if role else ""
    return f"{summary}\n\n{waits}\n\n{who}Example: {example}"


def shared_options() -> list[click.Option]:
    """Make the options that stand on the group and on every command."""

    def option(flag: str, help_: str, *, more: str = "", **attrs: Any) -> click.Option:
        flags = [flag, more, "targets"] if more else [flag]
        return click.Option(flags, expose_value=False, callback=_remember, help=help_, **attrs)

    return [
        option(
            "--name",
            "The instance; needed only when several run.",
            metavar="NAME",
            shell_complete=complete_names,
        ),
        option(
            "--endpoint",
            "unix:///path (plain stream), ipc:///path (ZeroMQ), ssh://HOST/NAME or tcp://HOST:PORT, in place of a name.",
            metavar="URL",
        ),
        option("--key", "For tcp://: the file with your own secret key.", type=click.Path(dir_okay=False)),
        option(
            "--server-key",
            "For tcp://: the file with the instance's public key.",
            type=click.Path(dir_okay=False),
        ),
        option(
            "--runtime-dir",
            "Where instances have their directories (FLASKD_RUNTIME_DIR).",
            type=click.Path(file_okay=False),
        ),
        option(
            "-t",
            "A name or group of the configuration file, an instance's name, or a URL; may be given several times.",
            more="--target",
            metavar="TARGET",
            multiple=True,
            shell_complete=complete_targets,
        ),
        option(
            "--max-parallel",
            "So many targets at a time; by default one where something is changed, else all.",
            metavar="N",
            type=click.IntRange(min=1),
        ),
        option("--stop-on-failure", "When a target fails, begin with no other.", is_flag=True, default=None),
        option(
            "--timeout",
            "Bound on the whole; by default the daemon has 10 s for its first word.",
            type=Seconds(),
        ),
        option("--json", "Result, and errors on stderr, as JSON.", is_flag=True, default=None),
    ]


def complete_names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Offer the names of instances to the shell."""
    run = ctx.find_object(Run) or Run()
    return [name for name in run.instances.names() if name.startswith(incomplete)]


def complete_targets(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Offer targets, groups and the names of instances to the shell."""
    from flaskd_ctl.discovery.targets import known_names

    run = ctx.find_object(Run) or Run()
    return [name for name in known_names(run.instances) if name.startswith(incomplete)]


def _remember(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    run = ctx.ensure_object(Run)
    if value is not None and value is not False and value != () and param.name:
        setattr(run, param.name, value)


def _parameter(param: Param) -> click.Parameter | None:
    """Make what a parameter is on the command line; None where another one stands for it."""
    flag = f"--{word(param.name)}"
    if param.kind == "seconds":
        return click.Option([flag], type=Seconds(), help=param.help)
    from flaskd_ctl.cli import arguments

    match param.kind:
        case "path":
            return click.Option([flag], type=arguments.UrlPath(), help=param.help)
        case "worker" | "incident":
            return click.Argument([param.name], type=arguments.Ident(), required=param.kind == "worker")
        case "limit":
            return click.Option([flag], type=arguments.Limit(), help=param.help)
        case "count":
            return arguments.count()
    return None


def _list() -> Deed:
    summary = "List all instances of this user with their state, also stopped, stale and unreachable ones."
    waits = f"Gives each instance {LIST_PATIENCE:.0f} s to answer."
    return Deed(
        "list",
        run_list,
        apart=True,
        help=help_of(summary, waits, "flaskd_ctl list --json"),
        short_help=summary,
    )


def _wait() -> Deed:
    summary = "Wait until the instance is ready, running, stopped or idle (no request in flight)."
    waits = "Waits as long as it takes, or until --timeout (exit 5)."
    goal = click.Option(
        ["goal", "--for"],
        required=True,
        type=click.Choice(["ready", "running", "stopped", "idle"]),
        help="What to wait for; an instance that is not there yet may come.",
    )
    example = "flaskd_ctl --name shop wait --for ready --timeout 30"
    return Deed("wait", run_wait, options=[goal], help=help_of(summary, waits, example), short_help=summary)


def _completion() -> Deed:
    summary = "Print the completion script for a shell."
    example = 'eval "$(flaskd_ctl completion bash)"'
    shell = click.Argument(["shell"], type=click.Choice(["bash", "zsh", "fish"]))
    text = help_of(summary, "Waits for nothing.", example)
    return Deed("completion", run_completion, options=[shell], apart=True, help=text, short_help=summary)


def _dial() -> Deed:
    summary = "Join standard input and output to the instance's plain socket: the other end of ssh://."
    waits = "Runs until the instance is gone or standard input ends."
    text = help_of(summary, waits, "ssh web1 flaskd_ctl --name shop dial-stdio")
    return Deed("dial-stdio", run_dial, apart=True, help=text, short_help=summary)


OWN: Final[dict[str, Callable[[], Deed]]] = {
    "list": _list,
    "wait": _wait,
    "completion": _completion,
    "dial-stdio": _dial,
}
"""Commands that are the client's own; the others are COMMANDS."""


def run_completion(run: Run, *, shell: str) -> Exit:
    """Print the script that the shell reads."""
    from click.shell_completion import ShellComplete, get_completion_class

    kind = get_completion_class(shell)
    if kind is None:
        raise Failed(f"this click has no completion for {shell}", hint="upgrade click")
    # The base class' source(): bash's own first runs a bash to ask its version, which is not ours to do.
    script = ShellComplete.source(kind(group(), {}, PROGRAM, COMPLETE_VAR))
    run.screen.result({"shell": shell, "script": script}, script)
    return Exit.DONE


def _version() -> click.Option:
    def show(ctx: click.Context, param: click.Parameter, value: bool) -> None:
        if value and not ctx.resilient_parsing:
            from importlib.metadata import version

            click.echo(f"{PROGRAM}, version {version('flaskd')}")
            ctx.exit()

    return click.Option(
        ["--version"],
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=show,
        help="Show the version and exit.",
    )


def group() -> click.Group:
    """Make the whole command line."""
    codes = "\n".join(f"{code:>3}  {meaning}" for code, meaning in MEANINGS.items())
    return Table(
        PROGRAM,
        params=[*shared_options(), _version()],
        help="Operate a flaskd instance through its control socket.\n\n"
        "With exactly one instance running no name is needed. Commands wait until the thing has happened.",
        epilog=f"\b\nExit codes:\n{codes}",
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit with the code that tells what happened."""
    code = int(_run(list(sys.argv[1:] if arguments is None else arguments)))
    gc.freeze()  # the interpreter's last collections over what ends anyway are a tenth of a short command
    sys.exit(code)


def _run(arguments: list[str]) -> int:
    screen = Screen(json="--json" in arguments)
    try:
        code = group().main(arguments, PROGRAM, complete_var=COMPLETE_VAR, standalone_mode=False)
        return code if isinstance(code, int) else Exit.DONE
    except (KeyboardInterrupt, click.Abort):
        return Exit.INTERRUPTED
    except click.ClickException as error:
        if screen.json:
            screen.error(Usage(error.format_message(), hint=f"try `{PROGRAM} --help`"))
        else:
            error.show()
        return error.exit_code
    except Exception as error:  # noqa: BLE001 - the outer edge: a person gets a sentence, not a traceback
        bug = f"{type(error).__name__}: {error}"
        screen.error(Failed(f"flaskd_ctl itself failed: {bug}", hint="please report it, with the command"))
        return Exit.FAILED
