"""`flask serve` and `flask ctl`: `flaskd dev` and `flaskd_ctl` for the application of this `flask`.

They are entry points of the group `flask.commands`. `flask` imports this module for each of its commands, so nothing else of
flaskd is imported before one of these runs. Both replace the process: a supervisor does not import Flask.
"""

import itertools
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import click

FORWARDED = {"ignore_unknown_options": True, "help_option_names": []}
"""All options, `--help` too, are those of the program that is run."""

NAMED = {"-t", "--target", "--name"}
"""Options of `flaskd_ctl` that say which instance is meant, besides `--endpoint URL`."""

OF_NONE = {"list", "forget", "completion"}
"""Commands of `flaskd_ctl` that need no instance, or take its name as an argument."""


@click.command(context_settings=FORWARDED, add_help_option=False)
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def serve(ctx: click.Context, options: tuple[str, ...]) -> NoReturn:
    """Serve this application with `flaskd dev`: it reloads when you save."""
    app = _application(ctx)
    _become("flaskd", "dev", *([app] if app else []), *options)


@click.command(context_settings=FORWARDED, add_help_option=False)
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def ctl(ctx: click.Context, command: tuple[str, ...]) -> NoReturn:
    """Operate the instance that serves this application, with `flaskd_ctl`."""
    _become("flaskd_ctl", *([] if _needs_none(command) else _instance(_application(ctx))), *command)


def _needs_none(command: Sequence[str]) -> bool:
    """Tell whether the instance is named, or none is needed. `--endpoint` may also name an endpoint of the application."""
    for word, following in itertools.pairwise([*command, ""]):
        option, _, value = word.partition("=")
        if option in NAMED or (word.startswith("-t") and word[2:3].isalnum()):
            return True
        if word in {"-h", "--help", "--version"} or (
            option == "--endpoint" and "://" in (value or following)
        ):
            return True
    return next((word for word in command if not word.startswith("-")), "") in OF_NONE


def _application(ctx: click.Context) -> str:
    """Return what `flask --app` or FLASK_APP names; "" if it is to be found. Raises click.ClickException."""
    info: Any = ctx.obj
    if getattr(info, "create_app", None) is not None:
        raise click.ClickException(
            "this command line makes its application itself; name it: flaskd dev shop:create_app"
        )
    return str(getattr(info, "app_import_path", None) or "")


def _instance(app: str) -> list[str]:
    """Return the options of `flaskd_ctl` for the instance that `flask serve` would start."""
    from flaskd.errors import FlaskdError
    from flaskd.settings.options import Given

    try:
        given = Given({"app": app, "dev": True} if app else {"dev": True})
        found = given.find(environ=_own_environment(), packages_required=False)
    except FlaskdError as error:
        raise click.ClickException(f"{error}. Next: {error.hint}" if error.hint else str(error)) from None
    directory = found["runtime_dir"].value
    return ["--name", found["name"].value, *(["--runtime-dir", directory] if directory else [])]


def _own_environment() -> dict[str, str]:
    """Return the environment without what `flask` has read from files: flaskd reads them again when they change."""
    from flaskd.settings import flask_environment
    from flaskd.settings.developing import missing_packages

    return dict(os.environ) if missing_packages() else flask_environment.without_files(os.environ)


def _become(module: str, *words: str) -> NoReturn:
    """Run a module of this Python in place of this process (execve(2))."""
    environ = _own_environment()
    environ.pop("FLASK_RUN_FROM_CLI", None)  # flask's own, for its commands
    sys.stdout.flush()
    command = [sys.executable, "-P", "-m", module, *words]
    os.execve(sys.executable, command, environ)  # noqa: S606 - no shell is wanted
