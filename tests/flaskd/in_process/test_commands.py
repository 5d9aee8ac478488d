"""Commands of the application in its own process: what the process checks by itself."""

from collections.abc import Iterator
from typing import Any, Literal

import flask
import pytest

import flaskd
from flaskd.app_commands import registry
from flaskd.in_process import commands
from flaskd.in_process.commands import call_command, list_commands
from flaskd.tasks import CallCommand, CommandProgress, ListCommands, Note
from flaskd.tasks.application import LONGEST_LIST

CORE: Any = type("Core", (), {"app": flask.Flask("shop")})()


@pytest.fixture(autouse=True)
def own(monkeypatch: pytest.MonkeyPatch) -> registry.Registry:
    fresh = registry.Registry()
    for module in (registry, commands):
        monkeypatch.setattr(module, "COMMANDS", fresh)
    return fresh


def call(
    name: str, role: Literal["operator", "admin"] = "operator", *, notes: list[Note] | None = None
) -> Any:
    heard: list[Note] = [] if notes is None else notes
    return call_command(CORE, CallCommand(name=name, params="{}", role=role), heard.append)


def test_the_process_checks_the_role_again() -> None:
    """By what the application declares here, whatever the supervisor was told before."""
    ran = []

    @flaskd.command("wipe", role="admin")
    def wipe() -> None:
        ran.append(1)

    refused = call("wipe")
    assert (refused.failed, refused.message, ran) == ("role", "wipe needs admin", [])
    assert call("wipe", "admin").failed == ""
    assert ran == [1]


def test_a_command_that_is_not_here_is_told() -> None:
    """A reload may just have replaced the worker that had it."""
    assert (call("gone").failed, call("gone").message) == ("unknown", "this process has no command gone")


def test_results_and_progress_are_json_and_failures_are_bounded() -> None:
    """They have to fit into messages."""

    @flaskd.command("steps")
    def steps() -> Iterator[Any]:
        yield {"at": flask.current_app.name}
        raise ValueError("x\udcff" * 10_000)

    notes: list[Note] = []

    failed = call("steps", notes=notes)

    assert notes == [CommandProgress(value='{"at":"shop"}')]
    assert failed.failed == "raised"
    assert 4000 < len(failed.message) <= 4096
    assert failed.message.startswith("steps raised ValueError: x\\udcffx")
    assert 60_000 < len(failed.traceback) <= 65_536


def test_values_that_look_secret_are_masked_in_what_a_command_raises() -> None:
    """As in the tracebacks of requests: in the message, and in the lines of source."""

    @flaskd.command("connect")
    def connect() -> None:
        raise ConnectionError("cannot connect: password=hunter2 at postgresql://shop:hunter3@db")

    failed = call("connect")

    assert (
        failed.message
        == "connect raised ConnectionError: cannot connect: password=*** at postgresql://***@db"
    )
    assert "in connect" in failed.traceback
    assert "hunter" not in failed.traceback


def test_a_list_that_is_too_long_is_cut(own: registry.Registry) -> None:
    """And says how many are missing."""
    for number in range(100):
        options = Literal[tuple(f"{number}-{each}-{'x' * 100}" for each in range(80))]  # type: ignore[valid-type]

        def many(option: Any) -> None: ...

        many.__annotations__["option"] = options
        many.__qualname__ = f"many{number}"
        flaskd.command(f"c{number:02}")(many)

    listed = list_commands(CORE, ListCommands())

    assert 0 < len(listed.commands) < 100
    assert len(listed.commands) + listed.missing == 100
    assert sum(len(each.schema) for each in listed.commands) <= LONGEST_LIST
