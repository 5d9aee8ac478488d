"""`flaskd_ctl call`: how KEY=VALUE is read, and what is shown."""

import json
from typing import Any

import pytest

from flaskd_ctl.cli.call import converted
from flaskd_ctl.errors import InvalidParams
from flaskd_ctl.text import results
from tests.flaskd_ctl.conftest import Ctl
from tests.flaskd_ctl.fake import Call, Fake

SCHEMA: dict[str, Any] = {
    "properties": {
        "name": {"type": "string"},
        "maybe": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "region": {"$ref": "#/$defs/Region"},
        "count": {"type": "integer"},
        "names": {"type": "array"},
        "level": {"enum": [1, 2]},
        "circle": {"$ref": "#/$defs/circle"},
        "any": {},
    },
    "required": ["count"],
    "$defs": {"Region": {"enum": ["eu", "us"]}, "circle": {"$ref": "#/$defs/circle"}},
}


@pytest.mark.parametrize(
    ("word", "read"),
    [
        ("name=5", {"name": "5"}),
        ("name=", {"name": ""}),
        ("name=a=b", {"name": "a=b"}),
        ('name="quoted"', {"name": '"quoted"'}),
        ("maybe=null", {"maybe": "null"}),
        ("region=eu", {"region": "eu"}),
        ("count=5", {"count": 5}),
        ('names=["a"]', {"names": ["a"]}),
        ("level=2", {"level": 2}),
        ("any=true", {"any": True}),
        ("circle=1", {"circle": 1}),
        ("unknown=5", {"unknown": "5"}),
    ],
)
def test_text_is_taken_as_it_is_and_anything_else_is_json(word: str, read: dict[str, Any]) -> None:
    """The schema decides. What it does not know is left to the command, which refuses it."""
    assert converted("x", [word], SCHEMA) == read


def test_without_a_schema_a_value_is_json_if_it_can_be() -> None:
    """No worker replied, or it has only just come."""
    assert converted("x", ["a=5", "b=eu", "c=null"], None) == {"a": 5, "b": "eu", "c": None}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["count"], "x: 'count' is not KEY=VALUE"),
        (["=5"], "x: '=5' is not KEY=VALUE"),
        (["count=five"], "x: count=five is not JSON, and count is not text"),
        (["count=1", "count=2"], "x: count is given twice"),
    ],
)
def test_what_cannot_be_read_is_refused(words: list[str], sentence: str) -> None:
    """Before anything is asked."""
    with pytest.raises(InvalidParams, match=sentence):
        converted("x", words, SCHEMA)


def test_the_call_is_sent_as_typed(fake: Fake, ctl: Ctl) -> None:
    """With the time that it may take; its progress is on stderr, its result on stdout."""
    asked: list[Any] = []

    def answer(call: Call) -> None:
        asked.append(call.params)
        event = {"event": "call", "at": 0.0, "worker": 3, "value": "half \x1b[2J", "skipped": 2}
        call.note(event, method="progress")
        call.reply({"command": "clear", "workers": [{"worker": 3, "pid": 1, "result": "ok \x1b[2J"}]})

    fake.on(
        "describe", lambda call: call.reply({"x-application-commands": [{"name": "clear", "params": SCHEMA}]})
    )
    fake.on("call", answer)

    code, out, err = ctl("call", "clear", "name=5", "count=5", "--worker", "3", "--timeout", "5")

    assert asked == [
        {
            "name": "clear",
            "params": {"name": "5", "count": 5},
            "worker": 3,
            "timeout": 5.0,
            "progress": True,
        }
    ]
    assert (code, out) == (0, "ok \\x1b[2J\n")
    assert err == "worker 3: half \\x1b[2J (and 2 before it, left out)\n"


def test_a_timeout_that_no_command_may_have_is_refused(fake: Fake, ctl: Ctl) -> None:
    code, _, err = ctl("call", "clear", "--timeout", "4000")

    assert code == 2
    assert "--timeout must be more than 0 and at most 3600 s" in err


def test_an_older_daemon_has_no_commands(fake: Fake, ctl: Ctl) -> None:
    """It says nothing of them."""
    fake.on("describe", lambda call: call.reply({"methods": []}))

    code, out, _ = ctl("call")

    assert (code, out) == (0, "the application has no commands (or no worker serves)\n")


def test_the_list_is_json_for_programs(fake: Fake, ctl: Ctl) -> None:
    own = [{"name": "clear", "params": {}}]
    fake.on("describe", lambda call: call.reply({"x-application-commands": own}))

    assert json.loads(ctl("call", "--json").out) == own


def test_the_list_shows_parameters_as_they_are_typed() -> None:
    """Optional ones in brackets."""
    own = {
        "name": "x",
        "params": SCHEMA,
        "x-role": "admin",
        "x-on": "each",
        "x-timeout": 5,
        "x-permitted": False,
    }

    text = results.as_text("commands", {"commands": [own]})

    assert "[name=string] [maybe=string|null] [region=eu|us] count=integer [names=array] [level=1|2]" in text
    assert "admin (not you)  each  5 s" in text


def test_results_of_several_workers_have_their_names() -> None:
    """What failed comes last, after its traceback."""
    workers = [
        {"worker": 1, "pid": 11, "error": "no", "traceback": "Traceback\n  \x1b line"},
        {"worker": 2, "pid": 12, "result": {"a": [1]}},
        {"worker": 3, "pid": 13, "result": None},
    ]

    text = results.as_text("call", {"workers": workers})

    assert text.splitlines() == [
        'worker 2: {"a": [1]}',
        "worker 3: done",
        "Traceback",
        "  \\x1b line",
        "worker 1 (pid 11): no",
    ]


@pytest.mark.parametrize(
    ("p95", "shown"), [(0.00021, "0.21 ms"), (0.0062, "6.2 ms"), (0.012, "12 ms"), (None, "-")]
)
def test_a_fast_route_is_not_said_to_take_no_time(p95: float | None, shown: str) -> None:
    """`stats` shows the same."""
    route = {"rule": "/", "methods": ["GET"], "endpoint": "front", "calls": 12, "p95": p95}

    assert results.as_text("routes", {"routes": [route]}).splitlines()[1].endswith(f"  12     {shown}")


def test_what_did_not_fit_is_told() -> None:
    route = {"rule": "/", "methods": ["GET"], "endpoint": "front", "calls": 12, "p95": 0.125}

    routes = results.as_text("routes", {"routes": [route], "missing": 3})
    config = results.as_text("app_config", {"config": {"A": "1"}, "missing": 2})

    assert routes.splitlines()[1].split() == ["/", "GET", "front", "12", "125", "ms"]
    assert routes.endswith("(3 more routes did not fit into the reply)")
    assert config.splitlines() == ["A  1", "(2 more keys did not fit into the reply)"]
