"""Waiting for a state: what is announced is not asked for again and again."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.flaskd_ctl.conftest import Ctl, StartFake
from tests.flaskd_ctl.fake import PATIENCE, Call, Fake, golden, state_event

HOLD = "1"


@pytest.mark.parametrize(("goal", "status"), [("ready", {}), ("running", {}), ("idle", {"in_flight": 0})])
def test_what_is_so_already_returns_at_once(
    fake: Fake, ctl: Ctl, goal: str, status: dict[str, object]
) -> None:
    fake.on("status", lambda call: call.reply(golden("status") | status))

    code, out, err = ctl("wait", "--for", goal)

    assert (code, out, err) == (0, f"shop is {goal}\n", "")


@pytest.mark.parametrize("goal", ["ready", "running", "idle"])
def test_what_does_not_come_is_exit_5_and_says_what_was_seen(fake: Fake, ctl: Ctl, goal: str) -> None:
    fake.on("status", lambda call: call.reply(golden("status") | {"state": "draining", "ready": False}))

    code, out, err = ctl("wait", "--for", goal, "--timeout", HOLD)

    assert (code, out) == (5, "")
    assert f"not {goal} after 1 s (seen last: " in err


def test_stopped_is_exit_5_while_it_runs(fake: Fake, ctl: Ctl) -> None:
    code, _, err = ctl("wait", "--for", "stopped", "--timeout", HOLD)

    assert code == 5
    assert "not stopped after 1 s (seen last: running)" in err


def test_stopped_is_so_when_nothing_runs(ctl: Ctl) -> None:
    assert ctl("wait", "--for", "stopped", "--name", "shop") == (0, "shop is stopped\n", "")


@pytest.mark.parametrize("goal", ["ready", "running", "idle"])
def test_an_instance_that_never_comes_is_exit_5(ctl: Ctl, goal: str) -> None:
    code, _, err = ctl("--name", "shop", "wait", "--for", goal, "--timeout", HOLD)

    assert code == 5
    assert "seen last: not running" in err


def test_a_change_is_told_by_the_event_stream(fake: Fake, ctl: Ctl) -> None:
    """The state is asked once for each event, not at intervals."""
    ready = threading.Event()

    def tell(call: Call) -> None:
        call.reply({"state": "draining", "since": 1})
        ready.set()
        call.note(state_event("draining", "running"))

    states = iter([{"state": "draining", "ready": False}, {}])
    fake.on("events", tell).on("status", lambda call: call.reply(golden("status") | next(states)))

    assert ctl("wait", "--for", "ready", "--timeout", str(PATIENCE)).code == 0
    assert sorted(call.method for call in fake.calls) == ["events", "status", "status"]


def test_an_instance_may_come_later(ctl: Ctl, start_fake: StartFake) -> None:
    with ThreadPoolExecutor() as pool:
        waited = pool.submit(ctl, "--name", "shop", "wait", "--for", "running", "--timeout", str(PATIENCE))
        start_fake()
        assert waited.result(PATIENCE).code == 0


def test_stopped_is_told_when_nothing_listens_any_more(fake: Fake, ctl: Ctl) -> None:
    with ThreadPoolExecutor() as pool:
        waited = pool.submit(ctl, "wait", "--for", "stopped", "--timeout", str(PATIENCE))
        assert fake.asked.wait(PATIENCE)
        assert not waited.done()
        fake.die()
        assert waited.result(PATIENCE).code == 0


def test_a_silent_daemon_is_exit_5_also_without_a_timeout_of_ones_own(
    fake: Fake, ctl: Ctl, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first word has its time even where the wait has none."""
    monkeypatch.setattr("flaskd_ctl.client.waiting.RESPONSE_TIMEOUT", 0.2)
    fake.on("events", lambda call: None)

    code, _, err = ctl("wait", "--for", "ready")

    assert code == 5
    assert "did not answer `events`" in err


@pytest.mark.parametrize("goal", ["ready", "running", "stopped"])
def test_a_silent_daemon_is_not_said_to_be_gone(fake: Fake, ctl: Ctl, goal: str) -> None:
    """SIGSTOP: it lives."""
    fake.on("events", lambda call: None).on("status", lambda call: None)

    code, _, err = ctl("wait", "--for", goal, "--timeout", HOLD)

    assert code == 5
    assert "seen last: not running" not in err
    assert "answer" in err


def test_what_may_not_be_asked_is_exit_4(fake: Fake, ctl: Ctl) -> None:
    fake.on("events", lambda call: call.refuse("not_permitted"))

    assert ctl("wait", "--for", "ready").code == 4
