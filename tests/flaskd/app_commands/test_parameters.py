"""How a command's parameters are made from annotations: what can be checked is checked, anything else is refused."""

import datetime
import enum
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec
import pytest

from flaskd.app_commands.parameters import LONGEST_SCHEMA, problem_of, schema_of, struct_of
from flaskd.errors import CommandError


class Region(enum.Enum):
    """Where."""

    EU = "eu"
    US = "us"


@dataclass
class Window:
    """From when to when."""

    start: datetime.date
    end: datetime.date


def typed(
    region: Region,
    count: Annotated[int, msgspec.Meta(ge=1)] = 1,
    *,
    window: Window | None = None,
    tags: list[str] = [],  # noqa: B006 - as applications write it
    mode: Literal["soft", "hard"] = "soft",
) -> None:
    """Take parameters of many types."""


def test_each_type_is_checked() -> None:
    """And defaults are the function's."""
    params: Any = msgspec.json.decode(
        b'{"region":"eu","window":{"start":"2026-01-01","end":"2026-01-02"}}', type=struct_of("x", typed)
    )

    assert params.region is Region.EU
    assert params.window == Window(datetime.date(2026, 1, 1), datetime.date(2026, 1, 2))
    assert (params.count, params.tags, params.mode) == (1, [], "soft")


@pytest.mark.parametrize(
    ("given", "where", "what"),
    [
        ('{"region":"mars"}', "params.region", "invalid enum value 'mars'"),
        ('{"region":"eu","count":0}', "params.count", "expected `int` >= 1"),
        ('{"region":"eu","count":"1"}', "params.count", "expected `int`, got `str`"),
        ('{"region":"eu","tags":["a",1]}', "params.tags[1]", "expected `str`, got `int`"),
        ('{"region":"eu","other":1}', "params.other", "object contains unknown field `other`"),
        ("{}", "params.region", "object missing required field `region`"),
    ],
)
def test_what_is_wrong_is_named(given: str, where: str, what: str) -> None:
    """With the path of the parameter."""
    with pytest.raises(msgspec.ValidationError) as wrong:
        msgspec.json.decode(given, type=struct_of("x", typed))

    assert problem_of(wrong.value) == (what, where)


def test_the_schema_is_that_of_one_object() -> None:
    """Types that it refers to are beside it."""
    schema = json.loads(schema_of(struct_of("x", typed)))

    assert schema["required"] == ["region"]
    assert set(schema["properties"]) == {"region", "count", "window", "tags", "mode"}
    assert schema["properties"]["region"] == {"$ref": "#/$defs/Region"}
    assert set(schema["$defs"]) == {"Region", "Window"}


def test_annotations_may_be_texts() -> None:
    """As `from __future__ import annotations` makes them."""

    def texts(count: "int") -> None: ...

    assert json.loads(schema_of(struct_of("x", texts)))["properties"]["count"] == {"type": "integer"}


def untyped(a) -> None: ...  # type: ignore[no-untyped-def]  # noqa: ANN001 - what the test is about
def any_object(a: object) -> None: ...
def custom(a: pytest.Session) -> None: ...
def function(a: Callable[[], None]) -> None: ...
def unknown(a: "Nowhere") -> None: ...  # type: ignore[name-defined]  # noqa: F821
def rest(*a: int) -> None: ...
def keywords(**a: int) -> None: ...
def positional(a: int, /) -> None: ...
def two_objects(a: dict[str, int] | Window) -> None: ...


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (untyped, "the command x: its parameter a has no type"),
        (any_object, "the command x: its parameter a has no type"),
        (custom, "its parameter a has a type that JSON cannot be checked against: .*Session"),
        (function, "its parameter a has a type that JSON cannot be checked against: .*Callable"),
        (unknown, "the command x: an annotation cannot be read: name 'Nowhere' is not defined"),
        (rest, r"the command x: its parameter \*a: int cannot be given by name"),
        (keywords, r"the command x: its parameter \*\*a: int cannot be given by name"),
        (positional, "the command x: its parameter a: int cannot be given by name"),
        (two_objects, "the command x: its parameter a has a type that JSON cannot be checked against"),
    ],
)
def test_a_parameter_that_cannot_be_checked_is_refused(wrong: Callable[..., None], sentence: str) -> None:
    """When the module is imported, not when the command is called."""
    with pytest.raises(CommandError, match=sentence):
        struct_of("x", wrong)


def test_a_schema_is_bounded() -> None:
    """It has to fit into a message with the others."""

    def large(a: Literal["x"] = "x") -> None: ...

    large.__annotations__["a"] = Literal[tuple(f"{number:01000d}" for number in range(20))]
    with pytest.raises(CommandError, match=f"more than {LONGEST_SCHEMA}"):
        struct_of("x", large)
