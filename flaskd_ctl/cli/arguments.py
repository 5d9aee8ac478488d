"""What is typed for the commands on workers: ids, a number with or without a sign, a path of the application."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

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
        """Take it if it is one."""
        if not str(value).startswith("/"):
            self.fail(f"{value!r} is not a path of the application: it must begin with a slash", param, ctx)
        return str(value)


class Ident(_Int):
    """The number of a worker or an incident."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read the number."""
        if not _is_number(str(value)) or not 1 <= int(value) <= 999_999_999:
            self.fail(f"{value!r} is not an id: these are 1, 2, 3, ...", param, ctx)
        return int(value)


class Limit(_Int):
    """How many entries to show."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read the number."""
        if not _is_number(str(value)) or not 1 <= int(value) <= 1000:
            self.fail(f"{value!r} is not a number of entries: 1 to 1000", param, ctx)
        return int(value)


class Count(_Params):
    """How many workers there shall be, or with a sign how many more or fewer: the parameter `to` or `by`."""

    name = "count"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, int]:
        """Read the number and its sign."""
        text = str(value)
        signed = text[:1] in {"+", "-"}
        if not _is_number(text[signed:]):
            self.fail(f"{text!r} is not a number of workers: N, +N or -N", param, ctx)
        if not int(text):
            what = "would change nothing" if signed else "workers would serve nothing: 1 is the least"
            self.fail(f"{text} {what}", param, ctx)
        return {"by" if signed else "to": int(text)}


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 10


def count() -> click.Argument:
    """Make the argument that is `to` or, with a sign, `by`."""

    def spread(ctx: click.Context, param: click.Parameter, value: dict[str, int] | None) -> None:
        ctx.params.update(value or {})

    return click.Argument(["count"], type=Count(), metavar="N|+N|-N", expose_value=False, callback=spread)
