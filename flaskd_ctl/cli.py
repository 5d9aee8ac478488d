"""The `flaskd_ctl` command: click commands derived from COMMANDS, and three that are the client's own.

The options --name, --endpoint, --runtime-dir, --timeout and --json may stand before the command or after it; after it counts.
Nothing here imports msgspec, asyncio or (for the plain stream) zmq, so that asking costs little more than click itself.
"""

import sys
from collections.abc import Callable, Sequence
from typing import Any, Final, NoReturn

import click

from flaskd_ctl import render
from flaskd_ctl.commands import COMMANDS, Command, Param
from flaskd_ctl.errors import ControlError, Failed, NotPermitted, NotRunning, TimedOut
from flaskd_ctl.exits import MEANINGS, Exit, code_of
from flaskd_ctl.instances import Instances, Target
from flaskd_ctl.screen import Screen
from flaskd_ctl.session import FIRST_WORD, Session, ask, stop

PROGRAM: Final = "flaskd_ctl"
COMPLETE_VAR: Final = "_FLASKD_CTL_COMPLETE"
LIST_PATIENCE: Final = 2.0
"""Seconds that `list` gives each instance to tell its state."""


class Run:
    """What one run was told by the shared options, and where it writes."""

    def __init__(self) -> None:
        self.name: str | None = None
        self.endpoint: str | None = None
        self.runtime_dir: str | None = None
        self.timeout: float | None = None
        self.screen = Screen()

    @property
    def instances(self) -> Instances:
        """The instances that may be meant."""
        return Instances(self.runtime_dir)

    def target(self) -> Target:
        """The instance that is meant."""
        return self.instances.target(self.name, endpoint=self.endpoint)


class Usage(ControlError):
    """The command line itself was wrong (click says how)."""

    name = "usage"


class Seconds(click.ParamType[float]):
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
    """A group that lists its commands in the table's order, not the alphabet's."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """List the names as they were added."""
        return list(self.commands)


class DerivedCommand(click.Command):
    """A command that runs `work` with the Run and the options of its own, and turns failures into exit codes."""

    def __init__(
        self, name: str, work: Callable[..., Exit], *, options: Sequence[click.Parameter] = (), **attrs: Any
    ) -> None:
        super().__init__(name, callback=work, params=[*options, *shared_options()], **attrs)

    def invoke(self, ctx: click.Context) -> Exit:
        """Run; every failure becomes a sentence and a code."""
        run: Run = ctx.obj
        try:
            assert self.callback is not None
            return ctx.invoke(self.callback, run, **ctx.params)  # type: ignore[no-any-return]
        except ControlError as error:
            run.screen.error(error)
            return code_of(error, method=ctx.info_name or "")
        finally:
            run.screen.clear()


def shared_options() -> list[click.Option]:
    """Make the options that stand on the group and on every command."""

    def keep(attribute: str) -> Callable[[click.Context, click.Parameter, Any], None]:
        def remember(ctx: click.Context, param: click.Parameter, value: Any) -> None:
            run = ctx.ensure_object(Run)
            if value is not None:
                setattr(run, attribute, value)

        return remember

    def speak_json(ctx: click.Context, param: click.Parameter, value: bool) -> None:
        if value:
            ctx.ensure_object(Run).screen.json = True

    return [
        click.Option(
            ["--name"],
            metavar="NAME",
            expose_value=False,
            callback=keep("name"),
            shell_complete=complete_names,
            help="The instance; needed only when several run.",
        ),
        click.Option(
            ["--endpoint"],
            metavar="URL",
            expose_value=False,
            callback=keep("endpoint"),
            help="unix:///path (plain stream) or ipc:///path (ZeroMQ), in place of a name.",
        ),
        click.Option(
            ["--runtime-dir"],
            type=click.Path(file_okay=False),
            expose_value=False,
            callback=keep("runtime_dir"),
            help="Where instances have their directories (FLASKD_RUNTIME_DIR).",
        ),
        click.Option(
            ["--timeout"],
            type=Seconds(),
            expose_value=False,
            callback=keep("timeout"),
            help=f"Bound on the whole; by default the daemon has {FIRST_WORD:.0f} s for its first word.",
        ),
        click.Option(
            ["--json"],
            is_flag=True,
            expose_value=False,
            callback=speak_json,
            help="Result, and errors on stderr, as JSON.",
        ),
    ]


def complete_names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Offer the names of instances to the shell."""
    run = ctx.find_object(Run) or Run()
    return [name for name in run.instances.names() if name.startswith(incomplete)]


def work_of(command: Command) -> Callable[..., Exit]:
    """Choose what carries out a command of the table."""
    if command.name in {"shutdown", "kill"}:
        return lambda run, **options: run_stop(run, command, **options)
    if command.name == "events":
        return lambda run, **options: run_events(run)
    return lambda run, **options: run_ask(run, command)


def run_ask(run: Run, command: Command) -> Exit:
    """Ask and show the answer."""
    result = ask(run.target(), command.name, whole=run.timeout)
    run.screen.result(result, render.as_text(command.name, result, colour=run.screen.colour))
    return Exit.DONE


def run_stop(run: Run, command: Command, *, no_wait: bool, missing_ok: bool, **params: float | None) -> Exit:
    """Ask for the end, show how far it is, and report when the process is gone."""
    try:
        target = run.target()
        given: dict[str, Any] = {key: value for key, value in params.items() if value is not None}
        if any(param.name == "progress" for param in command.params):
            given["progress"] = True
        result = stop(
            target,
            command.name,
            given,
            whole=run.timeout,
            wait=not no_wait,
            on_progress=lambda event: run.screen.progress(f"{target.name}: {render.progress_line(event)}"),
        )
    except NotRunning as error:
        if not missing_ok:
            raise
        run.screen.result({"name": run.name, "state": "stopped"}, f"{error}: nothing to do")
        return Exit.DONE
    except KeyboardInterrupt:
        run.screen.remark(
            f"\n{PROGRAM} waits no longer; {run.name or 'the instance'} goes on with what it was told"
        )
        raise
    if result is None:
        run.screen.result({"name": target.name, "state": "stopping"}, f"{target.name} is stopping")
        return Exit.DONE
    run.screen.result(result, f"{target.name}: {render.as_text(command.name, result)}")
    return Exit.DONE if result.get("clean", True) else Exit.CUT


def run_events(run: Run) -> Exit:
    """Show events as they come, until the instance has stopped or nobody reads them."""
    import time

    from flaskd_ctl.conversation import Patience

    target = run.target()
    patience = Patience(time.monotonic(), first=FIRST_WORD, whole=run.timeout)
    with Session(target, deadline=patience.deadline) as session:
        told = session.events(patience=patience)
        begun = next(told)
        run.screen.remark(f"{target.name} is {begun.get('state')}; events follow")
        for event in told:
            if not run.screen.result(event, render.event_line(event)):
                break
    return Exit.DONE


def run_list(run: Run) -> Exit:
    """List the instances, living ones with their state, others with what is known."""
    rows = []
    for found in run.instances.all():
        row: dict[str, Any] = {
            "name": found.name,
            "state": {"stale": "stale", "hidden": "not permitted"}.get(found.condition, "unknown"),
            "ready": None,
            "pid": found.info.get("pid"),
            "since": None,
            "listeners": [],
            "directory": found.place.directory,
            "detail": "",
        }
        if found.condition == "live":
            row |= _state_of(Target(found.name, found.endpoint), run.timeout or LIST_PATIENCE)
        elif found.condition == "stale":
            row["detail"] = "its process ended without cleaning up"
        else:
            row["detail"] = f"you may not look into {found.place.directory}"
        rows.append(row)
    seen = {row["name"] for row in rows}
    for name, last in sorted(run.instances.last_stops().items()):
        if name not in seen:
            how = "clean" if last.get("clean") else "not clean"
            reason = f", {last['reason']}" if last.get("reason") else ""
            stopped = {"state": "stopped", "since": last["stopped"], "detail": f"{how}{reason}"}
            rows.append(
                {"name": name, "ready": None, "pid": None, "listeners": [], "directory": None} | stopped
            )
    if not rows:
        run.screen.remark(f"no instance: looked in {', '.join(run.instances.directories)}")
    if rows or run.screen.json:
        run.screen.result(rows, render.listing(rows, colour=run.screen.colour))
    return Exit.DONE


def _state_of(target: Target, patience: float) -> dict[str, Any]:
    try:
        status = ask(target, "status", whole=patience)
    except TimedOut:
        return {"state": "no answer", "detail": f"no answer in {patience:.3g} s"}
    except NotPermitted:
        return {"state": "not permitted", "detail": "you may not ask it"}
    except ControlError as error:
        return {"state": "unknown", "detail": str(error)}
    return {key: status.get(key) for key in ("state", "ready", "pid", "since")} | {
        "listeners": status.get("listeners") or []
    }


def run_wait(run: Run, *, goal: str) -> Exit:
    """Wait for a state."""
    from flaskd_ctl.vigil import Vigil

    status = Vigil(run.target, goal, timeout=run.timeout).keep()
    name = status.get("name") or run.name or "the instance"
    run.screen.result({"name": status.get("name") or run.name, "is": goal}, f"{name} is {goal}")
    return Exit.DONE


def run_completion(run: Run, *, shell: str) -> Exit:
    """Print the script that the shell reads."""
    from click.shell_completion import ShellComplete, get_completion_class

    kind = get_completion_class(shell)
    if kind is None:
        raise Failed(f"this click has no completion for {shell}", hint="upgrade click")
    # The base class' source(): bash's own first runs a bash to ask its version, which is not ours to do.
    script = ShellComplete.source(kind(group, {}, PROGRAM, COMPLETE_VAR))
    run.screen.result({"shell": shell, "script": script}, script)
    return Exit.DONE


def options_of(command: Command) -> list[click.Parameter]:
    """Derive a command's own options; progress is no question on a command line: it is asked for always."""
    options: list[click.Parameter] = [_option(param) for param in command.params if param.name != "progress"]
    if command.name in {"shutdown", "kill"}:
        options += [
            click.Option(["--no-wait"], is_flag=True, help="Return when it has begun."),
            click.Option(["--missing-ok"], is_flag=True, help="Exit 0 when it is not running."),
        ]
    return options


def _option(param: Param) -> click.Option:
    flag = f"--{param.name.replace('_', '-')}"
    if param.kind == "flag":
        return click.Option([flag], is_flag=True, default=None, help=param.help)
    return click.Option([flag], type=Seconds(), help=param.help)


def help_of(summary: str, waits: str, example: str, *, role: str = "") -> str:
    """Write a command's help: what it does, what it waits for, who may run it, an example."""
    who = f"Who may: {role} and above; the instance decides.\n\n" if role else ""
    return f"{summary}\n\n{waits}\n\n{who}Example: {example}"


def build() -> click.Group:
    """Make the whole command line from the table."""
    codes = "\n".join(f"{code:>3}  {MEANINGS[code]}" for code in MEANINGS)
    top = Table(
        PROGRAM,
        params=list(shared_options()),
        help="Operate a flaskd instance through its control socket.\n\n"
        "With exactly one instance running no name is needed. Commands wait until the thing has happened.",
        epilog=f"\b\nExit codes:\n{codes}",
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )
    for command in COMMANDS.values():
        text = help_of(command.summary, command.waits, command.example, role=command.role.value)
        top.add_command(
            DerivedCommand(
                command.name,
                work_of(command),
                options=options_of(command),
                help=text,
                short_help=command.summary,
            )
        )
    for own in _own_commands():
        top.add_command(own)
    return top


def _own_commands() -> list[click.Command]:
    listing = "List all instances of this user with their state, also stopped, stale and unreachable ones."
    waiting = "Wait until the instance is ready, running, stopped or idle (no request in flight)."
    completion = "Print the completion script for a shell."
    return [
        DerivedCommand(
            "list",
            run_list,
            help=help_of(
                listing, f"Gives each instance {LIST_PATIENCE:.0f} s to answer.", "flaskd_ctl list --json"
            ),
            short_help=listing,
        ),
        DerivedCommand(
            "wait",
            run_wait,
            options=[
                click.Option(
                    ["goal", "--for"],
                    required=True,
                    type=click.Choice(["ready", "running", "stopped", "idle"]),
                    help="What to wait for; an instance that is not there yet may come.",
                )
            ],
            help=help_of(
                waiting,
                "Waits as long as it takes, or until --timeout (exit 5).",
                "flaskd_ctl --name shop wait --for ready --timeout 30",
            ),
            short_help=waiting,
        ),
        DerivedCommand(
            "completion",
            run_completion,
            options=[click.Argument(["shell"], type=click.Choice(["bash", "zsh", "fish"]))],
            help=help_of(completion, "Waits for nothing.", 'eval "$(flaskd_ctl completion bash)"'),
            short_help=completion,
        ),
    ]


group: Final = build()


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit with the code that tells what happened."""
    sys.exit(int(_run(list(sys.argv[1:] if arguments is None else arguments))))


def _run(arguments: list[str]) -> int:
    screen = Screen(json="--json" in arguments)
    try:
        code = group.main(arguments, PROGRAM, complete_var=COMPLETE_VAR, standalone_mode=False)
        return code if isinstance(code, int) else Exit.DONE
    except (KeyboardInterrupt, click.Abort):
        screen.clear()
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
