"""The commands on workers at the command line: what is sent, what is shown, how each ends."""

import json
import sys
from typing import Any

import pytest

from tests.flaskd_ctl.cli.test_cli import BOUND, Terminal
from tests.flaskd_ctl.conftest import Ctl
from tests.flaskd_ctl.fake import Call, Fake, golden

TRACEBACK = 'Traceback (most recent call last):\n  File "shop.py", line 1\nImportError: no \x1b[31mprices\n'


@pytest.mark.parametrize(
    ("typed", "params"),
    [
        (["reload"], {}),
        (["reload", "--check", "/health?deep=1"], {"check": "/health?deep=1"}),
        (["scale", "3"], {"to": 3}),
        (["scale", "+2"], {"by": 2}),
        (["scale", "-1"], {"by": -1}),
        (["scale", "auto"], {"auto": True}),
        (["scale", "3", "--for", "10m"], {"to": 3, "for": 600.0}),
        (["scale", "-12", "--timeout", "20"], {"by": -12}),
        (["scale", "--timeout", "20", "-1"], {"by": -1}),
        (["restart-worker", "3"], {"worker": 3}),
    ],
)
def test_what_is_typed_is_what_is_asked(
    either: Fake, ctl: Ctl, typed: list[str], params: dict[str, Any]
) -> None:
    """Progress is asked for always: its first word says that it has begun."""
    method = typed[0].replace("-", "_")

    code, out, err = ctl("--endpoint", either.url, *typed, "--json")

    assert (code, err) == (0, "")
    assert json.loads(out) == golden(method)
    assert [(call.method, call.params) for call in either.calls] == [(method, {**params, "progress": True})]


def test_an_incident_is_asked_for_by_its_id_and_shown_in_full(fake: Fake, ctl: Ctl) -> None:
    assert "shop.py" in ctl("incidents", "2").out
    assert "shop.py" not in ctl("incidents").out
    assert [call.params for call in fake.calls] == [{"id": 2}, {}]


def test_a_reload_ends_with_one_line_of_what_was_done(fake: Fake, ctl: Ctl) -> None:
    fake.on("reload", lambda call: call.reply(golden("reload") | {"changed": [], "needs_restart": []}))

    assert ctl("reload") == (0, "reloaded shop: 1 worker replaced in 0.75 s, generation 2\n", "")


def test_each_step_is_shown_on_a_terminal(fake: Fake, ctl: Ctl, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())

    assert ctl("reload").code == 0

    shown = terminal.getvalue()
    assert "shop: worker 3 (pid 4251) starts\r" in shown
    assert "shop: worker 3 (pid 4251) serves; worker 1 (pid 4243) leaves\r" in shown
    assert shown.endswith("\r\x1b[K")


def fail(call: Call) -> None:
    call.steps()
    call.refuse("failed", "worker 3 could not start; the old ones serve on", traceback=TRACEBACK)


def test_a_failed_reload_shows_the_traceback_before_the_sentence(fake: Fake, ctl: Ctl) -> None:
    """It is the application's, and cannot steer the terminal."""
    fake.on("reload", fail)

    code, out, err = ctl("reload")

    assert (code, out) == (1, "")
    assert err.splitlines() == [
        "Traceback (most recent call last):",
        '  File "shop.py", line 1',
        "ImportError: no \\x1b[31mprices",
        "flaskd_ctl: worker 3 could not start; the old ones serve on",
    ]


def test_the_traceback_is_dimmed_on_a_terminal(fake: Fake, ctl: Ctl, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("NO_COLOR", "TERM"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    fake.on("reload", fail)

    assert ctl("reload").code == 1

    assert "\x1b[2mTraceback" in terminal.getvalue()
    assert "prices\x1b[0m\nflaskd_ctl: worker 3" in terminal.getvalue()


def test_a_failed_reload_is_an_object_for_programs(fake: Fake, ctl: Ctl) -> None:
    fake.on("reload", fail)

    code, out, err = ctl("reload", "--json")

    assert (code, out) == (1, "")
    assert json.loads(err)["data"] == {"traceback": TRACEBACK}


@pytest.mark.parametrize("typed", [["reload"], ["scale", "2"], ["restart-worker", "1"]])
def test_no_wait_returns_when_it_has_begun(fake: Fake, ctl: Ctl, typed: list[str]) -> None:
    """The daemon never finishes here."""
    method = typed[0].replace("-", "_")
    fake.on(method, lambda call: call.steps())

    code, out, err = ctl(*typed, "--no-wait", "--json")

    assert (code, err) == (0, "")
    assert json.loads(out) == {"name": "shop", "begun": method}


def test_a_bound_on_the_whole_says_how_far_it_came(fake: Fake, ctl: Ctl) -> None:
    """What takes longer goes on, and is not taken for a silence."""
    fake.on("scale", lambda call: call.steps())

    code, out, err = ctl("scale", "2", "--timeout", str(BOUND))

    assert (code, out) == (5, "")
    assert "shop has not finished `scale` after 1 s (seen last: worker 4 serving); it continues" in err
    assert "did not answer" not in err


@pytest.mark.parametrize(("name", "expected"), [("wrong_state", 1), ("not_found", 1), ("invalid_params", 2)])
def test_a_refusal_is_a_sentence_and_a_code(fake: Fake, ctl: Ctl, name: str, expected: int) -> None:
    fake.on("restart_worker", lambda call: call.refuse(name, "there is no worker 9", hint="see `workers`"))

    code, out, err = ctl("restart-worker", "9")

    assert (code, out, err) == (expected, "", "flaskd_ctl: there is no worker 9. See `workers`.\n")


def test_ctrl_c_ends_the_waiting_only(ctl: Ctl, fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("flaskd_ctl.transports.unix.UnixConnection.receive", interrupt)

    code, out, err = ctl("reload")

    assert (code, out) == (130, "")
    assert err.startswith("Stopped waiting; shop continues the reload\n")


def degraded(**changes: Any) -> dict[str, Any]:
    return golden("status") | {"state": "degraded", "process_exits": False, **changes}


def test_a_degraded_instance_runs_and_says_why_in_the_list(fake: Fake, ctl: Ctl) -> None:
    """LSB: it runs, so `status` is 0."""
    fake.on("status", lambda call: call.reply(degraded()))

    assert ctl("status").code == 0
    row = json.loads(ctl("list", "--json").out)[0]

    assert (row["state"], row["ready"]) == ("degraded", True)
    assert row["detail"] == "worker 2 (pid 4250): killed by SIGKILL"


@pytest.mark.parametrize(
    ("goal", "ready", "expected"), [("running", False, 0), ("ready", True, 0), ("ready", False, 5)]
)
def test_degraded_is_running_and_ready_only_where_it_says_so(
    fake: Fake, ctl: Ctl, goal: str, ready: bool, expected: int
) -> None:
    fake.on("status", lambda call: call.reply(degraded(ready=ready)))

    assert ctl("wait", "--for", goal, "--timeout", str(BOUND)).code == expected


def test_nobody_waits_for_idle_where_it_cannot_be_known(fake: Fake, ctl: Ctl) -> None:
    """Without the ledger the wait would have no end."""
    fake.on("status", lambda call: call.reply(degraded(in_flight=None)))

    code, out, err = ctl("wait", "--for", "idle")

    assert (code, out) == (1, "")
    assert "shop cannot tell when it is idle: its ledger of requests is off" in err
