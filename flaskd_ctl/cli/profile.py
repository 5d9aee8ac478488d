"""What `flaskd_ctl profile` does: profile the workers, and show or write the result in a format of choice."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any

import click

from flaskd_ctl.cli.exits import Exit, code_of_workers
from flaskd_ctl.client.session import given
from flaskd_ctl.errors import Failed

if TYPE_CHECKING:
    from flaskd_ctl.cli.run import Run
    from flaskd_ctl.contract.commands import Command


def options() -> list[click.Option]:
    """Make the options that only the command line has."""
    return [
        click.Option(
            ["--output"],
            metavar="FILE",
            type=click.Path(dir_okay=False),
            help="Write the profile to this file, as --format says (default: speedscope).",
        ),
        click.Option(
            ["--format", "form"],
            type=click.Choice(["speedscope", "collapsed"]),
            help="speedscope: JSON for https://www.speedscope.app. collapsed: folded stacks for flamegraph.pl. "
            "Default: the functions with the most time.",
        ),
    ]


def run_profile(run: Run, command: Command, *, output: str | None, form: str | None, **params: Any) -> Exit:
    """Profile the workers; a worker that could not be profiled is a failure."""
    from flaskd_ctl.text import profiles
    from flaskd_ctl.text.diagnosis import failures

    target = run.target()
    if output:
        _check(output)
    run.screen.progress(f"{target.name}: profiling for {params.get('seconds') or 10:g} s")
    result = run.follow(target, command.name, given(**params)) or {}
    if output:
        _write(output, profiles.FORMATS[form or "speedscope"](result) + "\n")
        run.screen.result(result, f"{profiles.summary(result)}\nwritten to {output}")
    elif form:
        for line in failures(result.get("workers") or []):
            run.screen.remark(line)
        if (text := profiles.FORMATS[form](result)) or run.screen.json:
            run.screen.result(result, text)
        else:
            run.screen.remark(profiles.summary(result))
    else:
        run.show(command.name, result)
    return code_of_workers(result)


def _check(path: str) -> None:
    """Raise Failed if the file cannot be written: not after the profile, which would be lost."""
    directory = os.path.dirname(path) or "."
    if not (os.access(path, os.W_OK) if _is_device(path) else os.access(directory, os.W_OK | os.X_OK)):
        why = "no such directory" if not os.path.isdir(directory) else "permission denied"
        raise Failed(f"cannot write the profile to {path}: {why}", hint="choose another --output")


def _is_device(path: str) -> bool:
    """Tell whether the path is there and no file, which is written to; a file is replaced by a new one."""
    return os.path.exists(path) and not os.path.isfile(path)


def _write(path: str, text: str) -> None:
    """Write a file whole or not at all; what is there and is no file (/dev/stdout) is written to."""
    import tempfile

    try:
        if _is_device(path):
            with open(path, "w", encoding="utf-8", errors="backslashreplace") as device:
                device.write(text)
            return
        directory = os.path.dirname(os.path.abspath(path))
        descriptor, temporary = tempfile.mkstemp(prefix=".profile-", dir=directory)
        try:
            with open(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
                file.write(text)
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
    except OSError as error:
        raise Failed(
            f"cannot write the profile to {path}: {error.strerror}", hint="choose another --output"
        ) from None
