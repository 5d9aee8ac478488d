"""What `@flaskd.command` takes, and what it refuses when the module is imported."""

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

import flaskd
from flaskd.app_commands import registry
from flaskd.app_commands.registry import LONGEST_SUMMARY, MOST_COMMANDS, Registry
from flaskd.errors import CommandError
from flaskd_ctl.contract.commands import Role


def nothing() -> None:
    """Do nothing.

    In more words.
    """


def define(name: str = "do.it", function: Callable[..., Any] = nothing, **options: Any) -> None:
    flaskd.command(name, **options)(function)


def test_the_function_stays_what_it_was(commands: Registry) -> None:
    """It can be called like any other, in tests too."""
    decorated = flaskd.command("cache.clear", role="admin", on="each", timeout=5)(nothing)

    assert decorated is nothing
    (command,) = commands.all()
    assert (command.name, command.function) == ("cache.clear", nothing)
    assert (command.role, command.on, command.timeout) == (Role.ADMIN, "each", 5.0)
    assert command.summary == "Do nothing."


def test_a_command_needs_operator_and_runs_once_unless_it_says_otherwise(commands: Registry) -> None:
    define()

    (command,) = commands.all()
    assert (command.role, command.on, command.timeout) == (Role.OPERATOR, "one", 30.0)


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("", {}, "'' is not a name"),
        ("Cache", {}, "'Cache' is not a name"),
        ("a..b", {}, "is not a name"),
        ("a b", {}, "is not a name"),
        ("a" * 65, {}, "is not a name"),
        ("a\n", {}, "is not a name"),
        ("x", {"role": "viewer"}, "the command x: role='viewer' is not possible"),
        ("x", {"role": "root"}, "the command x: role='root' is not possible"),
        ("x", {"on": "all"}, "the command x: on='all' is not possible"),
        ("x", {"timeout": 0}, "the command x: timeout=0 is not between"),
        ("x", {"timeout": 3601}, "timeout=3601 is not between"),
        ("x", {"timeout": float("nan")}, "timeout=nan is not between"),
        ("x", {"timeout": "5"}, "timeout='5' is not between"),
        ("x", {"timeout": True}, "timeout=True is not between"),
    ],
)
def test_what_is_out_of_range_is_refused(
    commands: Registry, name: str, options: dict[str, Any], sentence: str
) -> None:
    """With the name of the command and what is wrong; nothing is added."""
    with pytest.raises(CommandError, match=sentence.replace("(", r"\(")):
        define(name, **options)

    assert commands.all() == []


def test_async_functions_are_refused() -> None:
    """Nobody would await it."""

    async def later() -> None: ...

    with pytest.raises(CommandError, match=r"the command x: .*later.* is async"):
        define("x", later)


def test_a_name_has_one_function(commands: Registry) -> None:
    """The sentence has both places."""

    def other() -> None: ...

    define("cache.clear", nothing)

    with pytest.raises(CommandError) as refused:
        define("cache.clear", other)
    line = nothing.__code__.co_firstlineno
    assert f"nothing ({__file__}:{line})" in str(refused.value)
    assert f"other ({__file__}:{other.__code__.co_firstlineno})" in str(refused.value)
    assert [each.function for each in commands.all()] == [nothing]


def test_a_factory_may_define_its_commands_again(commands: Registry) -> None:
    """What was defined last counts: tests make many applications."""

    def create_app(name: str) -> None:
        @flaskd.command("whoami")
        def whoami() -> str:
            return name

    create_app("first")
    create_app("second")

    assert [each.function() for each in commands.all()] == ["second"]


def test_commands_are_bounded(commands: Registry) -> None:
    """Their list has to fit into a message; one that is defined again is none more."""
    for number in range(MOST_COMMANDS):
        define(f"c{number}")
    define("c0")

    with pytest.raises(CommandError, match=f"the most is {MOST_COMMANDS}"):
        define("more")


def test_a_long_docstring_is_cut() -> None:
    """Of any characters, half surrogates included: it goes into JSON."""

    def wordy() -> None: ...

    wordy.__doc__ = "\udcff " + "word " * 100
    define("x", wordy)

    (command,) = registry.COMMANDS.all()
    assert len(command.summary) == LONGEST_SUMMARY
    assert command.summary.startswith("\\udcff word word")


def test_the_decorator_loads_nothing_of_the_server() -> None:
    """An application that has commands is imported by pytest and by `flask run`, too."""
    code = (
        "import sys, flaskd\n"
        "@flaskd.command('x')\n"
        "def x(a: int) -> int: return a\n"
        "assert x(1) == 1\n"
        "print(sorted(n for n in sys.modules if n.partition('.')[0] in {'flask','werkzeug','granian','zmq'}"
        " or n in {'flaskd.serving','flaskd.embedded','flaskd.control','asyncio'}))"
    )

    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)

    assert ran.stdout == "[]\n"
