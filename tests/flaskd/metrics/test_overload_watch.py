"""An overload is followed while it lasts, told once at its beginning and once at its end, and costs nothing otherwise."""

import logging
from collections.abc import Callable

import pytest

from flaskd.events import Bus
from flaskd.metrics.overload_watch import Counts, OverloadWatch
from flaskd.metrics.saturation import CALM_LOOKS
from flaskd_ctl.protocol import SaturationEvent


class World:
    """The counters, the timer and the events of a watch."""

    def __init__(self) -> None:
        self.now = Counts()
        self.planned: Callable[[], None] | None = None
        self.events: list[SaturationEvent] = []
        bus = Bus()
        bus.subscribe(lambda event: self.events.append(event) if isinstance(event, SaturationEvent) else None)
        self.watch = OverloadWatch(bus, counts=lambda: self.now, later=self._later)

    def _later(self, seconds: float, look: Callable[[], None]) -> Callable[[], None]:
        assert self.planned is None
        self.planned = look
        return self._cancel

    def _cancel(self) -> None:
        self.planned = None

    def answer(self, count: int) -> None:
        self.now = self.now._replace(answered=self.now.answered + count)

    def reject(self, count: int) -> None:
        for _ in range(count):
            self.now = Counts(self.now.rejected + 1, self.now.answered + 1)
            self.watch.rejected()

    def look(self, times: int = 1) -> None:
        for _ in range(times):
            assert self.planned is not None
            look, self.planned = self.planned, None
            look()

    @property
    def told(self) -> list[tuple[bool, int]]:
        return [(event.saturated, event.rejected) for event in self.events]


@pytest.fixture
def world(caplog: pytest.LogCaptureFixture) -> World:
    caplog.set_level(logging.INFO, "flaskd")
    return World()


def test_an_overload_is_told_twice_however_many_requests_it_takes(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """Its beginning and its end, to the log and to who listens."""
    world.answer(100_000)
    world.reject(50)
    assert world.told == []
    for _ in range(20):
        world.look()
        assert world.watch.saturated
        world.reject(50)
        world.answer(100)
    assert world.told == [(True, 50)]

    world.look(1 + CALM_LOOKS)

    assert not world.watch.saturated
    assert world.told == [(True, 50), (False, 21 * 50)]
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]
    assert "50 of 50 requests" in caplog.messages[0]


def test_a_few_rejections_are_one_line_and_no_event(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """They are told when they have ended."""
    world.reject(1)
    world.answer(1000)
    world.look()
    assert not caplog.records
    world.look(CALM_LOOKS)
    assert caplog.messages == ["1 request waited too long and was answered 503"]
    assert world.told == []


def test_it_rests_until_the_next_rejection(world: World) -> None:
    """There is no timer before the first one, nor after the last."""
    assert world.planned is None
    world.reject(10)
    world.look(1 + CALM_LOOKS)
    assert world.planned is None

    world.answer(5000)
    world.reject(10)
    world.look()
    assert world.watch.saturated
    assert world.told[-1] == (True, 10)


def test_it_looks_no_more_after_its_end(world: World) -> None:
    """Neither is a timer left, nor is one begun."""
    world.reject(10)
    world.watch.stop()
    assert world.planned is None
    world.reject(10)
    assert world.planned is None


def test_counters_that_go_back_are_nothing(world: World) -> None:
    """A worker that was taken over may write anything."""
    world.reject(10)
    world.look()
    world.now = Counts()
    world.look(CALM_LOOKS)
    assert not world.watch.saturated
