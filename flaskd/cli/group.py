"""The command `flaskd`, to which the other modules add theirs; how a result and an error are written."""

import os
import sys
from typing import Any, NoReturn

import click

from flaskd.console import priority
from flaskd.errors import FlaskdError
from flaskd.process import threads
from flaskd.version import __version__
from flaskd_ctl.errors import BadPlace


class ErrorsAsSentences(click.Group):
    """A group whose commands end with exit code 1 and a sentence where something is wrong."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find a command; for an unknown one, say what is probably meant."""
        name = args[0]
        if self.get_command(ctx, name) is None and not name.startswith("-") and not ctx.resilient_parsing:
            from flaskd.console.unknown_command import what_to_do

            hint = what_to_do(name, self.list_commands(ctx))
            ctx.fail(f"No such command {name!r}." + (f" Next: {hint}" if hint else ""))
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except (FlaskdError, BadPlace) as error:
            fail(error)
        except RuntimeError as error:
            if (explained := threads.explained(error)) is None:
                raise
            fail(explained)


@click.group(
    cls=ErrorsAsSentences,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)
@click.version_option(__version__, prog_name="flaskd")
def main() -> None:
    """Run a Flask application as a daemon that flaskd_ctl can operate.

    Exit codes: 1 for an invalid setting or an application that cannot be loaded, 2 for a wrong command line.
    """


def write(text: str) -> None:
    """Write a result to stdout. Raises FlaskdError where that fails, but not where the reader has left."""
    try:
        click.echo(text)
    except OSError as error:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())  # the interpreter flushes once more when it exits
        os.close(null)
        if not isinstance(error, BrokenPipeError):
            raise FlaskdError(
                f"the result cannot be written to stdout: {error.strerror}",
                hint="choose another place for it",
            ) from None


def fail(error: FlaskdError | BadPlace, *, status: int = 1) -> NoReturn:
    """Write an error and the next step to stderr, and exit with `status`."""
    sentence = f"flaskd: {error}" + (f". Next: {error.hint}" if error.hint else "")
    click.echo(priority.marked(sentence, priority.Priority.ERR), err=True)
    sys.exit(status)
