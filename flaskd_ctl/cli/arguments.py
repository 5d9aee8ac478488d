"""The arguments and options of single commands: a path of the application, an id, a number with or without a sign."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from flaskd_ctl.cli.options import Seconds
from flaskd_ctl.contract.log_line import LEVELS, PROCESSES

if TYPE_CHECKING:
    _Int = click.ParamType[int]
    _Str = click.ParamType[str]
    _Params = click.ParamType[dict[str, int]]
else:  # generic since click 8.2 only
    _Int = _Str = _Params = click.ParamType


class UrlPath(_Str):
    """A path of the application."""

    name = "path"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return it if it begins with a slash."""
        if not str(value).startswith("/"):
            self.fail(f"{value!r} is not a path of the application: it must begin with a slash", param, ctx)
        return str(value)


class Number(_Int):
    """A whole number from 1 to `limit`; `what` it is and the `hint`, for the error message."""

    name = "number"

    def __init__(self, what: str, limit: int, *, hint: str = "") -> None:
        self._what = what
        self._limit = limit
        self._hint = hint

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read the number."""
        if not _is_number(str(value)) or not 1 <= int(value) <= self._limit:
            hint = f"; {self._hint}" if self._hint else ""
            self.fail(f"{value!r} is not {self._what} (1 to {self._limit}){hint}", param, ctx)
        return int(value)


class Count(_Params):
    """A number of workers, with a sign how many more or fewer, or auto: the parameter `to`, `by` or `auto`."""

    name = "count"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, int]:
        """Read the word, or the number and its sign."""
        text = str(value)
        if text == "auto":
            return {"auto": True}
        signed = text[:1] in {"+", "-"}
        if not _is_number(text[signed:]):
            self.fail(f"{text!r} is not a number of workers: N, +N, -N or auto", param, ctx)
        if not int(text):
            what = "changes nothing" if signed else "workers serve nothing: the least is 1"
            self.fail(f"{text} {what}", param, ctx)
        return {"by" if signed else "to": int(text)}


class Step(_Int):
    """A length of steps of the history: a multiple of 10 s, from 10 s to 5 min; in seconds."""

    name = "seconds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read the duration."""
        seconds = Seconds().convert(value, param, ctx)
        if not 10 <= seconds <= 300 or seconds % 10:
            self.fail(
                f"{value} is not a multiple of 10 s between 10 s and 5 min: give 10s, 30s, 1m", param, ctx
            )
        return int(seconds)


TYPES: Final[dict[str, click.ParamType[Any]]] = {
    "path": UrlPath(),
    "limit": Number("a number of entries", 1000),
    "most": Number("a number of requests", 100),
    "step": Step(),
    "rate": Number("a number of times a second", 1000),
    "id": Number("an id", 999_999_999),
    "worker": Number(
        "the id of a worker",
        999_999_999,
        hint="`flaskd_ctl workers` lists them; an instance that is one process has none",
    ),
    "level": click.Choice(LEVELS),
    "process": click.Choice(PROCESSES),
    "text": click.STRING,
    "setting": click.STRING,
    "flag": click.BOOL,
}
"""The type of each kind of parameter (`contract.commands.Param`)."""


def count() -> click.Argument:
    """Make the argument that sets `to`, `by` or `auto`."""

    def spread(ctx: click.Context, param: click.Parameter, value: dict[str, int] | None) -> None:
        ctx.params.update(value or {})

    return click.Argument(
        ["count"], type=Count(), metavar="N|+N|-N|auto", expose_value=False, callback=spread
    )


def level() -> click.Argument:
    """Make the arguments of `log-level`: a logger and a level, only a level, or nothing."""

    def spread(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> None:
        if len(value) > 2:
            raise click.UsageError("give a logger and a level, or only a level", ctx)
        ctx.params.update(zip(("level", "logger"), reversed(value), strict=False))

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
        return [name for name in LOGGING_LEVELS if name.startswith(incomplete.upper())]

    return click.Argument(
        ["words"],
        nargs=-1,
        metavar="[[LOGGER] LEVEL]",
        expose_value=False,
        callback=spread,
        shell_complete=complete,
    )


LOGGING_LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")

SEVERAL: Final = {"count": count, "logger_level": level}
"""What makes the arguments of the kinds that stand for several parameters."""


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 10
