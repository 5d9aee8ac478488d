"""The parameters of a command, from the annotations of its function: a struct whose decoding is the validation."""

import inspect
import re
import typing
from collections.abc import Callable
from typing import Any, Final

import msgspec

from flaskd.errors import CommandError

LONGEST_SCHEMA: Final = 16_384
"""Bytes of a command's JSON Schema: some hundred parameters."""

BY_NAME: Final = {inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY}

NO_TYPES: Final = (inspect.Parameter.empty, object)

Function = Callable[..., Any]


def struct_of(name: str, function: Function) -> type[msgspec.Struct]:
    """Return the struct of the parameters of `function`. Raises CommandError if one cannot be validated."""
    annotations = _annotations(name, function)
    fields: list[tuple[str, Any] | tuple[str, Any, Any]] = []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind not in BY_NAME:
            raise CommandError(
                f"the command {name}: its parameter {parameter} cannot be given by name",
                hint="declare each parameter by itself, without *, ** or /",
            )
        kind = annotations.get(parameter.name, parameter.empty)
        if kind in NO_TYPES:
            raise CommandError(
                f"the command {name}: its parameter {parameter.name} has no type",
                hint=f"annotate it, for example {parameter.name}: str",
            )
        _check(name, parameter.name, kind)
        fields.append(
            (parameter.name, kind)
            if parameter.default is parameter.empty
            else (parameter.name, kind, parameter.default)
        )
    try:
        struct = msgspec.defstruct("params", fields, kw_only=True, forbid_unknown_fields=True)
        schema = schema_of(struct)
    except (TypeError, ValueError, RecursionError) as error:
        raise CommandError(f"the command {name}: its parameters cannot be validated: {error}") from error
    if len(schema) > LONGEST_SCHEMA:
        raise CommandError(
            f"the command {name}: the schema of its parameters has {len(schema)} bytes, more than {LONGEST_SCHEMA}",
            hint="use fewer parameters, or simpler types",
        )
    return struct


def schema_of(struct: type[msgspec.Struct]) -> bytes:
    """Return the JSON Schema of the parameters: that of one object, as JSON."""
    schema = msgspec.json.schema(struct)
    definitions = schema["$defs"]
    whole = definitions.pop(schema["$ref"].rpartition("/")[2])
    whole.pop("title", None)
    return msgspec.json.encode(whole | ({"$defs": definitions} if definitions else {}))


def problem_of(error: msgspec.ValidationError) -> tuple[str, str]:
    """Return what is wrong with parameters, and the path of the wrong one: `params.region`."""
    what, _, path = str(error).partition(" - at `$")
    named = re.search(r"(?:unknown|required) field `([^`]*)`", what)
    where = "params" + path.rstrip("`") + (f".{named[1]}" if named else "")
    return what[:1].lower() + what[1:], where


def _annotations(name: str, function: Function) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function, include_extras=True)
    except NameError as error:
        raise CommandError(
            f"the command {name}: an annotation cannot be read: {error}",
            hint="import its type before the function is defined, and not only under TYPE_CHECKING",
        ) from error
    except Exception as error:
        raise CommandError(f"the command {name}: an annotation cannot be read: {error}") from error


def _check(name: str, parameter: str, kind: Any) -> None:
    """Raise CommandError for a type that JSON cannot have."""
    try:
        msgspec.json.schema(kind)
        msgspec.json.Decoder(kind)
    except (TypeError, ValueError, RecursionError) as error:
        raise CommandError(
            f"the command {name}: its parameter {parameter} has a type that JSON cannot be checked against: "
            f"{inspect.formatannotation(kind)}",
            hint="use str, int, float, bool, list, dict, an enum, a date, a dataclass or a msgspec.Struct",
        ) from error
