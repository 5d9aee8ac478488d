"""A stop whose steps fail: whichever it is, the stop goes on, ends, and says so to whoever asked."""

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from flaskd.events import Bus
from flaskd.shutdown.lifecycle import Event, State
from flaskd.shutdown.mailbox import Mailbox
from flaskd.shutdown.owner import Ask, Kill, Owner, Shutdown
from flaskd.shutdown.phases import Action, Snapshot, Stop, StopTimes
from flaskd.shutdown.stoppable import Losses
from flaskd_ctl.protocol import Actor, InFlight, ShutdownParams, StateEvent

BY = Actor(via="code")
PARTS = ["snapshot", "announce_close", "requests", "finished", "losses", *(action.value for action in Action)]


class Faulty:
    """Has nothing open, and fails at one thing."""

    notifies = True
    report_time = 0.0

    def __init__(self, fault: str) -> None:
        self.fault = fault
        self.done: list[Action] = []

    def check(self, part: str) -> None:
        if part == self.fault:
            raise RuntimeError(f"no {part}")

    def snapshot(self, stop: Stop) -> Snapshot:
        self.check("snapshot")
        return Snapshot(now=stop.deadline if self.fault == "cut" else stop.began, flushed=self.fault != "cut")

    def carry_out(self, action: Action, stop: Stop) -> None:
        self.done.append(action)
        self.check(action.value)

    def announce_close(self, *, closing: bool) -> None:
        self.check("announce_close")

    def requests(self) -> list[InFlight]:
        self.check("requests")
        return []

    def finished(self) -> int:
        self.check("finished")
        return 0

    def losses(self) -> Losses:
        self.check("losses")
        return Losses([], 0, 0)


@pytest.fixture
def mailbox() -> Iterator[Mailbox[Ask | None]]:
    with Mailbox[Ask | None]() as mailbox:
        yield mailbox


def own(serving: Faulty, mailbox: Mailbox[Ask | None], bus: Bus) -> Owner:
    owner = Owner(serving, mailbox=mailbox, bus=bus, times=StopTimes(0.3, 0.0), process_exits=False)
    owner.move(Event.READY)
    return owner


@pytest.mark.parametrize("fault", PARTS)
def test_a_step_that_fails_is_logged_and_the_next_is_taken(
    fault: str, mailbox: Mailbox[Ask | None], caplog: pytest.LogCaptureFixture
) -> None:
    """All later steps are taken, the reply comes, and the instance has stopped; what cannot be counted is not called clean."""
    serving = Faulty(fault)
    owner = own(serving, mailbox, Bus())
    reply = owner.ask(Shutdown(BY, asked=ShutdownParams()))

    result = owner.run()

    assert reply.result(0) == result
    assert owner.lifecycle.state is State.STOPPED
    assert serving.done[:3] == [Action.TURN_AWAY, Action.STOP_ACCEPTING, Action.CLOSE_LISTENERS]
    assert result.clean == (fault not in {"losses", "cut"})
    taken = {action.value for action in serving.done}
    failures = [record for record in caplog.records if f"no {fault}" in record.getMessage()]
    assert failures or fault not in taken
    assert all(record.exc_info for record in failures)


def test_what_cannot_be_seen_is_logged_once_and_cut_at_the_deadline(
    mailbox: Mailbox[Ask | None], caplog: pytest.LogCaptureFixture
) -> None:
    """It counts as open until then."""
    serving = Faulty("snapshot")
    owner = own(serving, mailbox, Bus())
    owner.ask(Shutdown(BY, asked=ShutdownParams()))

    result = owner.run()

    assert serving.done[-1] is Action.CUT
    assert result.took >= 0.3
    assert len([record for record in caplog.records if record.levelno >= logging.ERROR]) == 1


@pytest.mark.parametrize("fault", ["turn away", "stop accepting", "close listeners", "cut"])
def test_a_kill_takes_every_step_too(fault: str, mailbox: Mailbox[Ask | None]) -> None:
    """It ends at once."""
    serving = Faulty(fault)
    owner = own(serving, mailbox, Bus())
    reply = owner.ask(Kill(BY))

    owner.run()

    assert reply.result(0) is None
    assert serving.done == [Action.STOP_ACCEPTING, Action.CLOSE_LISTENERS, Action.CUT]


def test_a_listener_of_events_that_raises_keeps_no_other_from_them(
    mailbox: Mailbox[Ask | None], caplog: pytest.LogCaptureFixture
) -> None:
    """As a program's own callback may."""
    seen: list[str] = []

    def fail(event: Any) -> None:
        raise ValueError("a fault of the application's")

    def note(event: Any) -> None:
        if isinstance(event, StateEvent):
            seen.append(event.state)

    bus = Bus()
    bus.subscribe(fail)
    bus.subscribe(note)
    owner = own(Faulty(""), mailbox, bus)
    owner.ask(Shutdown(BY, asked=ShutdownParams()))

    assert owner.run().clean
    assert seen == ["running", "stopping", "stopped"]
    assert "a fault of the application's" in caplog.text
