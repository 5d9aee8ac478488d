"""Which workers are given a task."""

from types import SimpleNamespace
from typing import Any

import pytest

from flaskd.supervisor.tasks import MOST_UNANSWERED, TaskOrders
from flaskd.tasks import Choice, ListRoutes
from flaskd_ctl.errors import Failed, WrongState
from tests.flaskd.supervisor.conftest import ScriptedWorker, World


@pytest.fixture
def unanswered(monkeypatch: pytest.MonkeyPatch) -> dict[int, int]:
    """Calls that each worker has not answered."""
    counts: dict[int, int] = {}
    monkeypatch.setattr(ScriptedWorker, "unanswered", property(lambda worker: counts.get(worker.id, 0)))
    return counts


@pytest.fixture
def in_flight(monkeypatch: pytest.MonkeyPatch) -> dict[int, int]:
    """Requests that each worker has in flight."""
    counts: dict[int, int] = {}
    tables = property(lambda worker: SimpleNamespace(in_flight=counts.get(worker.id, 0), close=lambda: None))
    monkeypatch.setattr(ScriptedWorker, "request_table", tables)
    return counts


def chosen(orders: TaskOrders, choice: Choice | int | None) -> list[int]:
    return [each.worker for each in orders.order(ListRoutes(), choice)]


def test_the_least_busy_has_the_fewest_requests_and_answers(
    world: World, unanswered: dict[int, int], in_flight: dict[int, int]
) -> None:
    """One that has not answered what it was asked may hang: others come first."""
    orders = TaskOrders(world.up(3))
    in_flight.update({1: 2, 2: 1, 3: 5})

    assert chosen(orders, Choice.LEAST_BUSY) == [2]
    unanswered[2] = 1
    assert chosen(orders, Choice.LEAST_BUSY) == [1]
    unanswered[1] = 1
    assert chosen(orders, Choice.LEAST_BUSY) == [3]


def test_a_worker_that_leaves_is_not_chosen(
    world: World, unanswered: dict[int, int], in_flight: dict[int, int]
) -> None:
    """It still can be named, and has its part in what concerns every process."""
    fleet = world.up(2)
    orders = TaskOrders(fleet)
    fleet.members[1].stop_gracefully(grace=30, linger=0)

    assert chosen(orders, Choice.SERVING) == [2]
    assert chosen(orders, Choice.LEAST_BUSY) == [2]
    assert chosen(orders, None) == [1, 2]
    assert chosen(orders, 1) == [1]


def test_without_a_worker_that_serves_there_is_none_to_choose(world: World) -> None:
    """While the first ones load, too."""
    orders = TaskOrders(world.begin(2))

    for choice in Choice:
        with pytest.raises(WrongState, match="no worker serves now"):
            orders.order(ListRoutes(), choice)


def test_a_worker_that_answers_nothing_is_given_no_more(world: World, unanswered: dict[int, int]) -> None:
    """What it does not read stays with the supervisor."""
    orders = TaskOrders(world.up(1))
    unanswered[1] = MOST_UNANSWERED
    (ordered,) = orders.order(ListRoutes(), None)

    with pytest.raises(Failed, match=f"it has not answered {MOST_UNANSWERED} calls"):
        ordered.reply.result(0)
    calls: Any = world.workers[1].calls
    assert "ListRoutes" not in calls
