"""One call of an application's command: its result, its progress, and every way to fail."""

import contextlib
import json
from collections.abc import Callable, Generator, Iterator
from typing import Any

import pytest

import flaskd
from flaskd.app_commands import registry
from flaskd.app_commands.calling import BURST, DEEPEST, LONGEST_PROGRESS, LONGEST_RESULT, CallError, call
from flaskd.app_commands.parameters import struct_of
from flaskd.app_commands.registry import AppCommand
from flaskd_ctl.contract.commands import Role

Said = list[tuple[str, int]]


def run(function: Callable[..., Any], params: str = "{}", *, said: Said | None = None) -> Any:
    command = AppCommand("x", function, Role.OPERATOR, "one", 30.0, "", struct_of("x", function), b"{}", "")
    heard: Said = [] if said is None else said
    return json.loads(
        call(command, params, context=contextlib.nullcontext, report=lambda *told: heard.append(told))
    )


def failed(function: Callable[..., Any], params: str = "{}") -> CallError:
    with pytest.raises(CallError) as error:
        run(function, params)
    return error.value


def add(a: int, b: int = 1) -> int:
    return a + b


def test_the_function_gets_its_parameters_and_returns_the_result() -> None:
    assert run(add, '{"a":2}') == 3
    assert run(add, '{"a":2,"b":5}') == 7


def test_wrong_parameters_never_reach_the_function() -> None:
    """The error names the wrong one and those that there are."""
    error = failed(add, '{"a":"2"}')

    assert str(error) == "x: params.a: expected `int`, got `str`"
    assert (error.kind, error.path, error.hint) == ("params", "params.a", "its parameters: a, b")
    assert failed(add, "[1]").kind == "params"
    assert failed(add, "not JSON").kind == "params"


def test_it_runs_inside_its_context() -> None:
    """Also while a generator runs."""
    inside = []

    @contextlib.contextmanager
    def context() -> Iterator[None]:
        inside.append("in")
        yield
        inside.append("out")

    @flaskd.command("y")
    def steps() -> Iterator[str]:
        inside.append("step")
        yield "one"

    command = registry.COMMANDS.get("y")
    assert command is not None
    call(command, "{}", context=context, report=lambda *_: None)

    assert inside == ["in", "step", "out"]


def test_yields_are_progress_and_the_return_is_the_result() -> None:
    def steps() -> Generator[Any, None, int]:
        yield "begun"
        yield {"done": 1}
        return 2

    said: Said = []

    assert run(steps, said=said) == 2
    assert said == [('"begun"', 0), ('{"done":1}', 0)]


def test_progress_beyond_the_limit_is_left_out_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that says too much keeps the supervisor from nothing; time makes room again, and the last value is sent."""
    now = 100.0
    monkeypatch.setattr("flaskd.app_commands.calling.time.monotonic", lambda: now)

    def steps() -> Iterator[int]:
        nonlocal now
        yield from range(BURST + 7)
        now += 0.03
        yield from (-1, -2, -3)

    said: Said = []

    run(steps, said=said)

    assert [number for number, _ in said[:BURST]] == [str(number) for number in range(BURST)]
    assert said[BURST:] == [("-1", 7), ("-3", 1)]


@pytest.mark.parametrize("error", [ValueError("no luck"), SystemExit(3), KeyboardInterrupt()])
def test_what_it_raises_is_told_with_the_traceback(error: BaseException) -> None:
    """From the application's first frame on; an exit ends nothing."""

    def broken() -> None:
        raise error

    told = failed(broken)

    assert str(told).startswith(f"x raised {type(error).__name__}")
    assert told.kind == "raised"
    assert "in broken" in told.trace
    assert "/calling.py" not in told.trace


def test_an_exception_that_cannot_be_written_is_told_too() -> None:
    class Odd(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    def broken() -> None:
        raise Odd

    assert "x raised Odd" in str(failed(broken))


def cycle() -> Any:
    value: list[Any] = []
    value.append(value)
    return value


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value", [object(), {"a": {1j}}, "\udcff", cycle(), deep(DEEPEST + 1), deep(100_000)]
)
def test_a_result_that_is_not_json_is_told(value: Any) -> None:
    """Whatever it is."""
    error = failed(lambda: value)

    assert str(error).startswith("x returned ")
    assert error.kind == "not_json"


def test_a_result_has_a_limit_of_depth_and_size() -> None:
    """What is just within it is returned."""
    assert run(lambda: deep(DEEPEST)) == deep(DEEPEST)
    assert len(run(lambda: "x" * (LONGEST_RESULT - 2))) == LONGEST_RESULT - 2
    error = failed(lambda: "x" * LONGEST_RESULT)
    assert (error.kind, str(error)) == (
        "too_large",
        f"x returned {LONGEST_RESULT + 2} bytes of JSON; the most is {LONGEST_RESULT}",
    )


def test_progress_that_is_not_json_or_too_long_ends_the_command() -> None:
    """The error says that it was yielded."""

    def odd() -> Iterator[object]:
        yield object()

    def long() -> Iterator[str]:
        yield "x" * LONGEST_PROGRESS

    assert str(failed(odd)).startswith("x yielded what JSON cannot have: object")
    assert "x yielded" in str(failed(long))
