"""Profiles in the formats of other programs, and as a person reads them."""

import json
from typing import Any, Final

import jsonschema  # type: ignore[import-untyped]
import pytest

from flaskd_ctl.text import profiles, results
from tests.flaskd_ctl.fake import golden

SPEEDSCOPE: Final = {
    "type": "object",
    "required": ["$schema", "shared", "profiles"],
    "properties": {
        "$schema": {"const": "https://www.speedscope.app/file-format-schema.json"},
        "name": {"type": "string"},
        "exporter": {"type": "string"},
        "activeProfileIndex": {"type": "number"},
        "shared": {
            "type": "object",
            "required": ["frames"],
            "properties": {
                "frames": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["name"],
                        "additionalProperties": False,
                        "properties": {
                            "name": {"type": "string"},
                            "file": {"type": "string"},
                            "line": {"type": "number"},
                            "col": {"type": "number"},
                        },
                    },
                }
            },
        },
        "profiles": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["type", "name", "unit", "startValue", "endValue", "samples", "weights"],
                "additionalProperties": False,
                "properties": {
                    "type": {"const": "sampled"},
                    "name": {"type": "string"},
                    "unit": {
                        "enum": ["none", "nanoseconds", "microseconds", "milliseconds", "seconds", "bytes"]
                    },
                    "startValue": {"type": "number"},
                    "endValue": {"type": "number"},
                    "samples": {"type": "array", "items": {"type": "array", "items": {"type": "number"}}},
                    "weights": {"type": "array", "items": {"type": "number"}},
                },
            },
        },
    },
}
"""What speedscope's documentation says of a file with sampled profiles."""


def profile() -> dict[str, Any]:
    return golden("profile")


def test_speedscope_reads_it() -> None:
    """One profile for each worker that was profiled, the oldest call first, weights in seconds of a thread."""
    other = profile()["workers"][0] | {"worker": 5, "other": 0}
    written = json.loads(profiles.speedscope({"workers": [*profile()["workers"], other]}))

    jsonschema.validate(written, SPEEDSCOPE)
    first, second = written["profiles"]
    assert (first["name"], second["name"]) == ("worker 3 (pid 4251)", "worker 5 (pid 4251)")
    frames = written["shared"]["frames"]
    assert [frames[number]["name"] for number in first["samples"][0]] == [
        "Ledger.__call__",
        "Flask.wsgi_app",
        "report",
        "price",
    ]
    assert len(frames) == 5  # those of both workers, once, and the rest
    assert frames[first["samples"][2][0]] == {"name": "(stacks too rare for the reply)"}
    assert len(first["samples"]) == len(first["weights"]) == 3
    assert first["endValue"] == pytest.approx(sum(first["weights"]))
    assert first["weights"][0] == pytest.approx(700 * 10.003 / 982)


def test_folded_stacks_are_one_line_each() -> None:
    """Calls are separated by semicolons, the count comes last."""
    lines = profiles.collapsed(profile()).splitlines()

    assert lines[1].split(";")[0] == "worker 3 (pid 4251)"
    assert lines[1].endswith(";report (/srv/shop/shop.py:10) 250")
    assert [int(line.rpartition(" ")[2]) for line in lines] == [700, 250, 50]
    odd = {"function": "a;b\n\x1b[2J", "file": "x;y", "line": 1}
    worker = {"worker": 1, "pid": 2, "functions": [odd], "stacks": [{"count": 3, "frames": [0]}]}
    (line,) = profiles.collapsed({"workers": [worker]}).splitlines()
    assert line.count(";") == 1
    assert line.isprintable()


def test_a_person_reads_where_the_time_goes() -> None:
    """In the function itself, and with all that it calls; with what was missed."""
    lines = results.as_text("profile", profile()).splitlines()

    assert lines[0] == (
        "worker 3 (pid 4251): 982 samples in 10 s, 1.0 threads each; 18 missed, the longest gap was 64 ms;"
        " 50 of what was seen is in stacks too rare for the reply"
    )
    assert lines[1].startswith("worker 4 (pid 4252): did not reply within 15 s; something holds the GIL")
    assert [line.split() for line in lines[3:6]] == [
        ["OWN", "TOTAL", "FUNCTION"],
        ["70.0", "%", "70.0", "%", "price", "at", "/srv/shop/shop.py:20"],
        ["25.0", "%", "95.0", "%", "report", "at", "/srv/shop/shop.py:10"],
    ]


def test_no_request_is_told_as_that() -> None:
    """An empty table would be a riddle."""
    worker = {"worker": 0, "pid": 2, "samples": 100, "seconds": 1.0}

    assert results.as_text("profile", {"workers": [worker]}) == (
        "pid 2: 100 samples in 1 s, 0.0 threads each; no request was seen"
    )
    assert results.as_text("profile", {}) == "no worker"


def test_a_function_that_calls_itself_has_its_time_once() -> None:
    """In total; it cannot have more than all."""
    function = {"function": "walk", "file": "/x.py", "line": 1}
    worker = {
        "worker": 1,
        "pid": 2,
        "samples": 4,
        "functions": [function],
        "stacks": [{"count": 4, "frames": [0, 0, 0]}],
    }

    assert results.as_text("profile", {"workers": [worker]}).splitlines()[-1].split()[:4] == [
        "100.0",
        "%",
        "100.0",
        "%",
    ]
