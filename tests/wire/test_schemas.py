"""What `describe` publishes is true: the replies of a real Server are valid by its JSON Schemas."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import jsonschema  # type: ignore[import-untyped]
import pytest
from flask import Flask

from flaskd import Server
from flaskd.control import describe
from flaskd_ctl.contract.commands import COMMANDS, PROTOCOL_VERSION, Role
from tests.support.daemons import PATIENCE
from tests.wire.test_golden import golden


class Talk:
    """A conversation over the plain stream, as any language would have it."""

    def __init__(self, link: socket.socket) -> None:
        self._link = link
        self._lines = link.makefile("rb")

    def ask(self, method: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
        """Send a call and return the next message."""
        message = {"jsonrpc": "2.0", "id": 1, "method": method, **({"params": params} if params else {})}
        self._link.sendall(json.dumps(message).encode() + b"\n")
        return self.hear()

    def hear(self) -> dict[str, Any]:
        """Return the next message."""
        message: dict[str, Any] = json.loads(self._lines.readline())
        return message

    def rest(self) -> list[dict[str, Any]]:
        """Return every message until the connection ends."""
        return [json.loads(line) for line in self._lines]

    def close(self) -> None:
        self._lines.close()


class Held:
    """An application with a request that ends when the test says so, and one that fails."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.let_go = threading.Event()
        self.app = Flask("held")
        self.app.add_url_rule("/held", view_func=self.held)
        self.app.add_url_rule("/broken", view_func=self.broken)

    def held(self) -> str:
        self.begun.set()
        assert self.let_go.wait(PATIENCE)
        return "done"

    def broken(self) -> tuple[str, int]:
        return "broken", 503


@pytest.fixture
def held() -> Held:
    return Held()


@pytest.fixture
def server(held: Held) -> Iterator[Server]:
    """A server with a request in flight, which has begun when the one that failed was done with."""
    with Server(held.app, bind="127.0.0.1:0", name="schemas", threads=1) as server:
        url = server.listeners[0]
        fetch(f"{url}/broken")
        waiting = threading.Thread(target=fetch, args=(f"{url}/held",))
        waiting.start()
        assert held.begun.wait(PATIENCE)
        try:
            yield server
        finally:
            held.let_go.set()
            waiting.join(PATIENCE)


def fetch(url: str) -> None:
    """Read an answer, of whatever status, to its end."""
    try:
        response = urlopen(url, timeout=PATIENCE)
    except HTTPError as error:
        response = error
    with response:
        response.read()


@contextmanager
def talk(server: Server) -> Iterator[Talk]:
    path = next(url for url in server.endpoints if url.startswith("unix://")).removeprefix("unix://")
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(PATIENCE)
        link.connect(path)
        talk = Talk(link)
        yield talk
        talk.close()


def check(value: Any, schema: dict[str, Any], document: dict[str, Any]) -> None:
    """Hold `value` to a schema of the document; a `$ref` in it points into the document."""
    whole = {"components": document["components"], **schema}
    jsonschema.Draft202012Validator.check_schema(whole)
    jsonschema.Draft202012Validator(whole).validate(value)


def method(document: dict[str, Any], name: str) -> dict[str, Any]:
    return next(each for each in document["methods"] if each["name"] == name)


def test_describe_tells_of_every_command(server: Server) -> None:
    """A client can learn all that can be asked, by asking; nothing is served that is not told."""
    with talk(server) as peer:
        document = peer.ask("describe")["result"]

    assert document["openrpc"].startswith("1.")
    assert document["info"]["version"] == PROTOCOL_VERSION
    told = {each["name"]: each["x-role"] for each in document["methods"]}
    assert told == {command.name: command.role.value for command in COMMANDS.values()}


@pytest.mark.parametrize("name", ["ping", "status", "describe", "drain", "resume", "requests", "events"])
def test_reply_is_valid_by_the_published_schema(server: Server, name: str) -> None:
    """With a request in flight and an error behind it, so that the optional parts are there."""
    with talk(server) as peer:
        document = peer.ask("describe")["result"]

        reply = peer.ask(name)

    assert set(reply) == {"jsonrpc", "id", "result"}
    check(reply["result"], method(document, name)["result"]["schema"], document)


@pytest.mark.parametrize("name", COMMANDS)
def test_messages_written_down_are_valid_by_the_published_schemas(name: str) -> None:
    """Also of the commands that one process refuses."""
    published = describe.document(list(COMMANDS.values()), version="0", role=Role.ADMIN)
    exchange = golden(name)
    told = method(published, name)

    check(exchange["reply"]["result"], told["result"]["schema"], published)
    for note in exchange.get("notifications", []):
        check(note["params"], {"$ref": "#/components/schemas/EventNote"}, published)
    params = {param["name"]: param for param in told["params"]}
    for param, value in exchange["request"].get("params", {}).items():
        check(value, params.pop(param)["schema"], published)
    assert not any(param["required"] for param in params.values())


def test_replies_carry_what_the_schema_leaves_optional(server: Server) -> None:
    """The checks here are not of empty shells: the last error and the request in flight are told."""
    with talk(server) as peer:
        status = peer.ask("status")["result"]
        requests = peer.ask("requests")["result"]["requests"]

    assert status["last_error"]["request"] == "GET /broken"
    assert [(each["path"], each["rule"]) for each in requests] == [("/held", "/held")]


def test_shutdown_and_its_notifications_are_valid_by_the_published_schemas(
    server: Server, held: Held
) -> None:
    """Progress, events and the result of a shutdown that had something to wait for."""
    with talk(server) as peer, talk(server) as watcher:
        document = peer.ask("describe")["result"]
        watcher.ask("events")

        heard = [peer.ask("shutdown", {"progress": True, "grace": 20})]
        held.let_go.set()
        heard += peer.rest()
        seen = watcher.rest()

    *progress, reply = heard
    assert {each["method"] for each in progress} == {"progress"}
    assert {each["method"] for each in seen} == {"event"}
    for note in [*progress, *seen]:
        check(note["params"], {"$ref": "#/components/schemas/EventNote"}, document)
    assert seen[-1]["params"]["event"]["state"] == "stopped"
    check(reply["result"], method(document, "shutdown")["result"]["schema"], document)
    assert reply["result"]["clean"] is True


def test_published_parameters_admit_what_is_served_and_refuse_what_is_not(server: Server) -> None:
    """The schema of a parameter and the daemon that reads it are of one mind."""
    with talk(server) as peer:
        document = peer.ask("describe")["result"]
        grace = next(each for each in method(document, "shutdown")["params"] if each["name"] == "grace")

        for wrong in ("soon", -1, 86_401):
            with pytest.raises(jsonschema.ValidationError):
                check(wrong, grace["schema"], document)
            assert peer.ask("shutdown", {"grace": wrong})["error"]["data"]["name"] == "invalid_params"

        for right in (0, 2.5, None):
            check(right, grace["schema"], document)
        assert peer.ask("status")["result"]["state"] == "running"
