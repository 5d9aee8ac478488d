"""`flaskd_ctl call`: run a command of the application, or list them; completed from what the running instance declares.

A parameter is written KEY=VALUE. If its schema takes text, the value is the text as it is written; else it is read as JSON.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from flaskd_ctl.cli.exits import Exit, code_of_workers
from flaskd_ctl.cli.options import COMPLETION_TIME
from flaskd_ctl.cli.run import Run, remark_on_interrupt
from flaskd_ctl.client.session import given
from flaskd_ctl.errors import ControlError, InvalidParams
from flaskd_ctl.text import results

if TYPE_CHECKING:
    from flaskd_ctl.contract.commands import Command
    from flaskd_ctl.contract.endpoint import Target

LONGEST_TIMEOUT: Final = 3600.0
"""Seconds that the protocol lets a command have."""

DEEPEST: Final = 8
"""References between parts of a schema to follow."""

Described = dict[str, Any]
"""A command of the application, as `describe` has it."""


def parameters(command: Command) -> list[click.Parameter]:
    """Make the arguments and options of `call`."""
    from flaskd_ctl.cli.arguments import TYPES

    helps = {param.name: param.help for param in command.params}
    return [
        click.Argument(["called"], required=False, metavar="[NAME]", shell_complete=complete_names),
        click.Argument(["values"], nargs=-1, metavar="[KEY=VALUE]...", shell_complete=complete_values),
        click.Option(["--worker"], type=TYPES["worker"], help=helps["worker"]),
    ]


def run_call(
    run: Run, command: Command, *, called: str | None, values: Sequence[str], worker: int | None
) -> Exit:
    """Run a command and show what it returned; without a name, list the commands."""
    from flaskd_ctl.client.following import REPLY_TIME

    target = run.target()
    described = commands_of(run, target)
    if called is None:
        run.screen.result(described, results.as_text("commands", {"commands": described}))
        return Exit.DONE
    found = next((each for each in described if each.get("name") == called), {})
    if run.timeout is not None and not 0 < run.timeout <= LONGEST_TIMEOUT:
        raise InvalidParams(f"--timeout must be more than 0 and at most {LONGEST_TIMEOUT:g} s for `call`")
    params = {"name": called, "params": converted(called, values, found.get("params"))}
    params |= given(worker=worker, timeout=run.timeout)

    def show(event: dict[str, Any]) -> None:
        from flaskd_ctl.text.application import progress

        run.screen.remark(progress(event))

    whole = None if run.timeout is None else run.timeout + REPLY_TIME
    with remark_on_interrupt(run, target.name, f"{command.name} of {called}"):
        result = run.follow(target, command.name, params, whole=whole, on_progress=show) or {}
    run.show(command.name, result)
    return code_of_workers(result)


def commands_of(run: Run, target: Target) -> list[Described]:
    """Ask the instance for the application's commands."""
    listed = run.ask(target, "describe").get("x-application-commands") or []
    return [each for each in listed if isinstance(each, dict)]


def converted(name: str, values: Sequence[str], schema: Any) -> dict[str, Any]:
    """Read KEY=VALUE for each parameter. Without a schema a value is JSON if it can be. Raises InvalidParams."""
    properties = schema.get("properties") or {} if isinstance(schema, dict) else None
    read: dict[str, Any] = {}
    for value in values:
        key, sign, text = value.partition("=")
        if not sign or not key:
            known = "" if properties is None else f"its parameters: {', '.join(properties) or 'none'}"
            raise InvalidParams(f"{name}: {value!r} is not KEY=VALUE", hint=known)
        if key in read:
            raise InvalidParams(f"{name}: {key} is given twice")
        if properties is None:
            read[key] = _json_or_text(text)
        elif key not in properties or takes_text(properties[key], schema):
            read[key] = text  # an unknown one is refused by the command itself
        else:
            try:
                read[key] = json.loads(text)
            except (ValueError, RecursionError):
                raise InvalidParams(
                    f"{name}: {key}={text} is not JSON, and {key} is not text",
                    hint=f"write for example {key}=5, {key}=true, {key}=null or {key}='[\"a\"]'",
                ) from None
    return read


def takes_text(schema: Any, whole: Any, levels: int = DEEPEST) -> bool:
    """Tell whether a part of the schema `whole` admits a string."""
    schema = _followed(schema, whole)
    if levels == 0 or not schema:
        return False
    if "enum" in schema:
        return any(isinstance(each, str) for each in schema["enum"])
    choices = schema.get("anyOf")
    if isinstance(choices, list):
        return any(takes_text(each, whole, levels - 1) for each in choices)
    return bool(schema.get("type") == "string")


def complete_names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Complete the name of a command."""
    return [name for each in _described(ctx) if (name := str(each.get("name"))).startswith(incomplete)]


def complete_values(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Complete the name of a parameter, or its value if there are only some."""
    name = ctx.params.get("called")
    schema = next((each.get("params") for each in _described(ctx) if each.get("name") == name), None)
    properties = schema.get("properties") if isinstance(schema, dict) else None
    if not isinstance(properties, dict):
        return []
    before = list(ctx.params.get("values") or ())
    if not incomplete and before[-1:] != ["="] and set(before[-1:]) & set(properties):
        before.append("=")  # bash takes = for a word of its own, and click drops it if it is the last
    if before[-1:] == ["="]:
        values = _values(properties.get(before[-2]) if before[1:] else None, schema)
        return [value for value in values if value.startswith(incomplete)]
    words: list[str] = []
    for key, part in properties.items():
        values = _values(part, schema) if incomplete.startswith(f"{key}=") else [""]
        words += [f"{key}={value}" for value in values]
    return [word for word in words if word.startswith(incomplete)]


def _values(part: Any, whole: Any) -> list[str]:
    part = _followed(part, whole)
    if part.get("type") == "boolean":
        return ["true", "false"]
    return [str(each) for each in part.get("enum") or []]


def _followed(part: Any, whole: Any) -> dict[str, Any]:
    """Return the schema that `part` is or refers to."""
    for _ in range(DEEPEST):
        if not isinstance(part, dict):
            return {}
        if "$ref" not in part:
            return part
        part = (whole.get("$defs") or {}).get(str(part["$ref"]).rpartition("/")[2])
    return {}


def _described(ctx: click.Context) -> list[Described]:
    run = ctx.find_object(Run) or Run()
    run.timeout = COMPLETION_TIME
    try:
        return commands_of(run, run.target())
    except ControlError:  # nothing runs: nothing can be completed
        return []


def _json_or_text(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
