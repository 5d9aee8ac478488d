"""The rounds at work on a fleet: who hangs is put down, who is worn is replaced, and never in a storm."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from flaskd.channel.messages import Calls, Done, Ping
from flaskd.events import Bus
from flaskd.supervisor.watching import checks
from flaskd.supervisor.watching.checks import Checks
from flaskd_ctl.protocol import InFlight, SlowEvent
from tests.flaskd.supervisor.conftest import ScriptedWorker, World

Start = Callable[..., World]

GIB = 1 << 30


@pytest.fixture
def silent() -> set[int]:
    """The ids of workers that give no sign of life."""
    return set()


@pytest.fixture
def start(world: World, silent: set[int], monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Start so many workers that are watched over, with these settings."""
    monkeypatch.setattr(checks, "time", world.clock)
    call = ScriptedWorker.call

    def ping(worker: ScriptedWorker, asked: Calls) -> Any:
        answer = call(worker, asked)
        if isinstance(asked, Ping) and worker.id not in silent:
            answer.set_result(Done())
        return answer

    monkeypatch.setattr(ScriptedWorker, "call", ping)
    changed = world.fleet_changed
    watch: list[Checks] = []

    def begin(workers: int, **settings: Any) -> World:
        bus = Bus()
        bus.subscribe(world.events.append)

        def told() -> None:
            changed()
            for each in watch:
                each.check_soon()

        monkeypatch.setattr(world, "fleet_changed", told)
        fleet = world.begin(workers, **settings)
        watch.append(Checks(fleet, bus))
        world.play(2)
        assert fleet.up.done()
        world.least_serving = workers
        world.events.clear()
        return world

    yield begin
    watch.clear()


def test_nobody_is_asked_anything_without_a_limit(start: Start) -> None:
    """Nobody polls."""
    world = start(2)
    world.play(10_000)
    assert all("Ping" not in worker.calls for worker in world.workers.values())


def test_the_one_that_gives_no_sign_of_life_is_put_down(start: Start, silent: set[int]) -> None:
    """The others serve on, and it is replaced."""
    world = start(3, worker_timeout=10.0)
    world.play(100)
    assert world.story == []
    silent.add(2)
    world.play(18)
    assert world.story == ["2 gone", "4 starting", "4 serving"]
    (event,) = world.incidents
    assert (event.incident.kind, event.incident.worker) == ("hung", 2)
    world.play(1000)
    assert world.serving == [1, 3, 4]


def test_workers_are_not_blamed_for_the_time_in_which_their_supervisor_was_stopped(
    start: Start, silent: set[int]
) -> None:
    """As with SIGSTOP, or all of the machine: what they would have answered was not read."""
    world = start(2, worker_timeout=10.0)
    world.play(20)
    silent.update({1, 2})
    world.play(6)
    world.clock.now += 60
    world.play(0.5)
    for worker in world.workers.values():
        worker.calls["Ping"].set_result(Done())
    silent.clear()
    world.play(60)
    assert world.story == []


def test_workers_of_one_age_go_one_after_the_other(start: Start) -> None:
    """At no moment serve fewer than before, and at each age limit each goes once."""
    world = start(4, max_worker_age=1000.0)
    world.play(1000)
    assert world.least_serving == 4
    assert sorted(world.serving) == [5, 6, 7, 8]


def test_workers_that_are_too_large_from_their_start_are_replaced_ever_more_rarely(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A storm of starts would cost more than the memory."""
    monkeypatch.setattr(checks, "resident", lambda pid: 2 * GIB)
    world = start(1, max_worker_memory="1G")
    world.play(3600)
    assert 8 <= max(world.serving) <= 14
    assert world.least_serving == 1


def test_a_limit_that_is_read_anew_holds(start: Start, silent: set[int]) -> None:
    """From the reload on."""
    world = start(1)
    world.reread(worker_timeout=10.0)
    world.changes.order_reload(check=None)
    world.play(30)
    silent.update(world.serving)
    world.play(16)
    assert [event.incident.kind for event in world.incidents] == ["hung"]


@pytest.mark.parametrize("answer", [False, True])
def test_a_slow_request_is_told_with_its_worker(start: Start, *, answer: bool) -> None:
    """And the worker is told, if it is to answer it."""
    world = start(2, request_timeout=5.0, request_timeout_answer=answer)
    worker, began = world.workers[2], world.clock.now
    worker.request_table.requests = lambda: [  # type: ignore[method-assign]  # a table that goes by our clock
        InFlight(id=7, method="GET", path="/", age=world.clock.now - began, client="", thread="")
    ]
    world.play(30)
    (event,) = [event for event in world.events if isinstance(event, SlowEvent)]
    assert (event.request.id, event.request.worker, event.limit) == (7, 2, 5.0)
    assert event.request.age == pytest.approx(5.0)
    assert ("AnswerLate" in worker.calls) == answer
