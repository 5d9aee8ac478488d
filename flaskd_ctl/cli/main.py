"""The `flaskd_ctl` command.

A command is built when it is asked for: to build all of them with their options would take longer than most commands do.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence
from typing import NoReturn

import click

from flaskd_ctl.cli.commands import Table
from flaskd_ctl.cli.exits import MEANINGS, Exit, code_of
from flaskd_ctl.cli.options import shared_options
from flaskd_ctl.cli.run import COMPLETE_VAR, PROGRAM
from flaskd_ctl.cli.screen import Screen
from flaskd_ctl.errors import ControlError, unexpected
from flaskd_ctl.text.layout import use_terminal_width


class Usage(ControlError):
    """The command line itself is wrong (click says how)."""

    name = "usage"


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit with its exit code."""
    code = int(_run(list(sys.argv[1:] if arguments is None else arguments)))
    gc.freeze()  # the interpreter's last collections take a tenth of a short command, for nothing
    sys.exit(code)


def group() -> click.Group:
    """Make the whole command line."""
    codes = "\n".join(f"{code:>3}  {meaning}" for code, meaning in MEANINGS.items())
    return Table(
        PROGRAM,
        params=[*shared_options(), _version()],
        help="Operate a flaskd instance through its control socket.\n\n"
        "If exactly one instance is running, no name is needed. A command returns when it has taken effect.",
        epilog=f"\b\nExit codes:\n{codes}",
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )


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


def _run(arguments: list[str]) -> int:
    screen = Screen(json="--json" in arguments)
    use_terminal_width(screen.width)
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
        failure = unexpected(error)
        screen.error(failure)
        return code_of(failure)
