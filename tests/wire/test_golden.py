"""The wire does not change by accident: messages written down once are read and written the same today.

A file in tests/golden is a promise to clients in other languages. A new field is added to it; nothing is
taken out, and nothing changes its meaning, without a new major version of the protocol.
"""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from flaskd_ctl.contract.commands import COMMANDS
from flaskd_ctl.contract.conversation import error_from_wire
from flaskd_ctl.errors import BY_NAME
from flaskd_ctl.protocol import PARAMS, RESULTS, EventNote, Request

GOLDEN = Path(__file__).parents[1] / "golden"
CLIENT_SIDE = {"not_running", "connection_lost", "bad_place", "ambiguous", "unreachable", "bad_key"}
"""Errors that no daemon can send."""


def golden(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((GOLDEN / f"{name}.json").read_text())
    return content


def test_each_command_has_its_messages_written_down() -> None:
    """A command without a golden file is one whose shape nobody watches."""
    assert {path.stem for path in GOLDEN.iterdir()} == {*COMMANDS, "wire_errors"}


@pytest.mark.parametrize("command", COMMANDS)
def test_request_is_read_and_written_unchanged(command: str) -> None:
    """A request of an older client means today what it meant then."""
    message = golden(command)["request"]

    request = msgspec.json.decode(json.dumps(message), type=Request)
    params = msgspec.json.decode(request.params, type=PARAMS[command])

    assert (request.method, request.id) == (command, message["id"])
    if message.get("params"):
        assert msgspec.to_builtins(params) == message["params"]


@pytest.mark.parametrize("command", COMMANDS)
def test_reply_is_read_and_written_unchanged(command: str) -> None:
    """A result keeps every field, under its name and in its type."""
    message = golden(command)["reply"]

    result = msgspec.convert(message["result"], type=RESULTS[command])

    assert msgspec.to_builtins(result) == message["result"]
    assert message["id"] == golden(command)["request"]["id"]


@pytest.mark.parametrize("command", COMMANDS)
def test_reply_with_a_field_from_the_future_is_read(command: str) -> None:
    """Results may gain fields in a later minor version; a reader ignores those it does not know."""
    result = golden(command)["reply"]["result"]

    assert msgspec.convert({**result, "from_the_future": 1}, type=RESULTS[command])


@pytest.mark.parametrize("command", sorted(set(COMMANDS) - {"describe"}))
def test_request_with_an_unknown_parameter_is_refused(command: str) -> None:
    """A parameter that would be ignored is a mistake that nobody notices."""
    with pytest.raises(msgspec.ValidationError, match="unknown field `unheard_of`"):
        msgspec.convert({"unheard_of": 1}, type=PARAMS[command])


@pytest.mark.parametrize(
    "command", ["events", "logs", "shutdown", "reload", "scale", "restart_worker", "call"]
)
def test_notifications_are_read_and_written_unchanged(command: str) -> None:
    """What is streamed names the call that it belongs to."""
    messages = golden(command)

    for message in messages["notifications"]:
        note = msgspec.convert(message["params"], type=EventNote)

        assert msgspec.to_builtins(note) == message["params"]
        assert note.id == messages["request"]["id"]


@pytest.mark.parametrize("name", sorted(set(BY_NAME) - CLIENT_SIDE))
def test_error_keeps_its_code_and_name(name: str) -> None:
    """An error is told by its code or its name; both are stable, its sentence is not."""
    error = golden("wire_errors")[name]["error"]

    read = error_from_wire(error)

    assert type(read) is BY_NAME[name]
    assert (read.code, read.name) == (error["code"], error["data"]["name"])
    assert (str(read), read.hint) == (error["message"], error["data"].get("hint", ""))
    assert read.data.items() >= {k: v for k, v in error["data"].items() if k not in {"name", "hint"}}.items()
