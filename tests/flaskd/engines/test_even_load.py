"""Which worker accepts: laws of the pure policy, on rows that are made up, in time that a test moves."""

import heapq
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from hypothesis import example, given, strategies as st

from flaskd.engines.shared.even_load import (
    LONGEST_PAUSE,
    MOST_WAITS,
    PATIENCE,
    PAUSE,
    TOLERANCE,
    Decision,
    Shedding,
    Turn,
    connections_of,
    level,
    load_of,
    row,
)

LOADS = st.lists(st.integers(0, 40), min_size=1, max_size=8)
SPAN = (MOST_WAITS + 1) * 2 * PATIENCE
"""Seconds after which a connection was accepted, whatever others do."""


@given(st.integers(0, 1 << 30), st.integers(0, 1 << 30), st.integers(0, 1 << 20))
def test_a_row_says_that_a_worker_accepts_and_what_it_has(accepted: int, connections: int, busy: int) -> None:
    """It fits into a word, which is never 0, and changes with each connection that is accepted."""
    word = row(accepted, connections, busy)
    assert 0 < word < 1 << 64
    assert word != row(accepted + 1, connections, busy)
    assert connections_of(word) == min(connections, (1 << 24) - 2)
    assert load_of(word) == connections_of(word) + min(busy, (1 << 16) - 1)


@given(LOADS, st.integers(1, 60))
def test_connections_are_dealt_out_to_the_lowest_load(loads: list[int], count: int) -> None:
    """One after the other; the level is how high that goes."""
    dealt = list(loads)
    heapq.heapify(dealt)
    highest = 0
    for _ in range(count):
        lowest = heapq.heappop(dealt)
        highest = max(highest, lowest + 1)
        heapq.heappush(dealt, lowest + 1)
    assert level(loads, count) == highest


@dataclass
class Worker:
    """A worker that has its turn when the test says so; `hangs`: it has none."""

    number: int
    load: int
    hangs: bool = False
    accepted: int = 0
    turn: Turn = field(default_factory=Turn)

    @property
    def row(self) -> int:
        return row(self.accepted, self.load, 0)

    def accepts(self, workers: "list[Worker]", queued: int, now: float) -> bool:
        """Look at the queue once."""
        others = {each.number: each.row for each in workers if each is not self}
        if self.turn.decide(self.load, others, lambda: queued, now) is not Decision.ACCEPT:
            return False
        self.load += 1
        self.accepted += 1
        return True


def serve(workers: list[Worker], queued: int, now: float = 0.0) -> float:
    """Have workers take turns until nothing is queued; returns the time then."""
    awake = [each for each in workers if not each.hangs]
    while queued:
        before = queued
        for worker in awake:
            while queued and worker.accepts(workers, queued, now):
                queued -= 1
        if queued == before:
            now = min(each.turn.ask_again for each in awake if each.turn.ask_again is not None)
    for worker in awake:
        worker.turn.none_waits()
    return now


@given(LOADS, st.integers(1, 60))
def test_what_waits_is_accepted_at_once_and_evenly(loads: list[int], queued: int) -> None:
    """Nobody waits for anybody; no worker gets one that another, lower one should have got."""
    workers = [Worker(number, load) for number, load in enumerate(loads)]
    assert serve(workers, queued) == 0.0
    assert max(each.load for each in workers) <= max(level(loads, queued), *loads)
    raised = [each.load for each in workers if each.accepted]
    assert max(raised) - min(each.load for each in workers) <= 1


@example([0, 0, 0, 0, 0], 3, {0})
@example([0, 0, 0, 0, 0, 0], 10, {0})
@given(LOADS, st.integers(1, 60), st.sets(st.integers(0, 7)))
def test_a_worker_that_hangs_keeps_nothing(loads: list[int], queued: int, hang: set[int]) -> None:
    """However low its load: each of the others waits for it once, and does without it until it does something."""
    workers = [Worker(number, load, number in hang) for number, load in enumerate(loads)]
    hung = sum(worker.hangs for worker in workers)
    if hung == len(workers):
        workers[0].hangs, hung = False, hung - 1
    now, waits = 0.0, 0
    for _ in range(60):
        end = serve(workers, queued, now)
        assert end - now <= SPAN * len(workers)
        waits += end > now
        now = end
    assert waits <= hung * (len(workers) - hung)


def test_a_worker_that_no_longer_hangs_gets_its_part() -> None:
    """It is waited for again once its row has changed."""
    slow, quick = Worker(0, 0, hangs=True), Worker(1, 5)
    serve([slow, quick], 1)
    assert quick.load == 6
    slow.accepted += 1
    slow.hangs = False
    serve([quick, slow], 6)
    assert (slow.load, quick.load) == (6, 6)


@given(st.lists(st.dictionaries(st.integers(0, 9), st.integers(1, (1 << 64) - 1)), min_size=20, max_size=20))
def test_whatever_is_in_the_rows_a_connection_is_accepted_in_time(rows: list[dict[int, int]]) -> None:
    """An application can write anything into the rows of all workers, another thing each time."""
    turn, now = Turn(), 0.0
    for others in rows:
        if turn.decide(1 << 24, others, lambda: 1, now) is Decision.ACCEPT:
            break
        assert turn.ask_again is not None
        assert now < turn.ask_again < now + 2 * PATIENCE
        now = turn.ask_again
    assert now <= SPAN


def test_an_empty_queue_is_no_reason_to_look_again() -> None:
    """Nobody polls."""
    turn, taken = Turn(), Turn()
    assert turn.decide(5, {1: row(0, 0, 0)}, lambda: 0, 0.0) is Decision.NONE
    assert turn.ask_again is None
    assert taken.decide(5, {1: row(0, 0, 0)}, lambda: 1, 1.0) is Decision.LEAVE
    taken.none_waits()
    assert taken.ask_again is None


def test_a_connection_that_was_left_to_others_is_not_taken_before_its_time() -> None:
    """New ones that come meanwhile change nothing."""
    turn = Turn()
    others = {1: row(0, 0, 0)}
    for step in range(4):
        assert turn.decide(5, others, lambda: 1, step * PATIENCE / 4) is Decision.LEAVE
    assert turn.decide(5, others, lambda: 1, 2 * PATIENCE) is Decision.ACCEPT


# --- kept connections


def even(loads: list[int]) -> bool:
    """Tell whether nobody is above or below the mean by more than is tolerated."""
    mean = sum(loads) / len(loads)
    return max(max(loads) - mean, mean - min(loads)) < max(1.0, TOLERANCE * mean)


def rounds(
    loads: list[int], pick: Callable[[list[int]], int], count: int, hang: frozenset[int] = frozenset()
) -> tuple[int, int]:
    """Let each worker look, and what it lets go come back; returns rounds and connections let go.

    What comes at a time all comes to the same worker, which `pick` picks: one with less than the mean, if there is one that is
    neither aside nor hangs.
    """
    sheddings = [Shedding() for _ in loads]
    now, gone = 0.0, 0
    for number in range(count):
        if even(loads):
            return number, gone
        aside, left = set(hang), 0
        for worker, shedding in enumerate(sheddings):
            others = loads[:worker] + loads[worker + 1 :]
            if worker not in hang and now >= shedding.look_at and shedding.look(loads[worker], others, now):
                aside.add(worker)
            while worker not in hang and shedding.take():
                left += 1
                loads[worker] -= 1
        gone += left
        free = [worker for worker in range(len(loads)) if worker not in aside] or [0]
        lower = [worker for worker in free if loads[worker] < sum(loads) / len(loads)]
        loads[pick(lower or free)] += left
        now += PAUSE
    return count, gone


@example([0, 2, 2], 0)
@example([7, 2, 0, 1], 0)
@given(st.lists(st.integers(0, 60), min_size=2, max_size=6), st.integers(0, 1 << 32))
def test_kept_connections_become_even(loads: list[int], seed: int) -> None:
    """Whichever worker with less than its part those that are let go come to, at a time all to the same."""
    total = sum(loads)
    taken, _ = rounds(loads, random.Random(seed).choice, 400)
    assert even(loads), loads
    assert sum(loads) == total
    assert taken < 400


@given(st.lists(st.integers(0, 60), min_size=1, max_size=8))
def test_what_is_even_stays(loads: list[int]) -> None:
    """No connection is closed for a difference that is tolerated, nor by a worker that has less than its part."""
    shedding = Shedding()
    mine, *others = loads
    attempt = shedding.look(mine, others, 0.0)
    mean = sum(loads) / len(loads)
    if even(loads) or mine < mean:
        assert not attempt
        assert not shedding.take()
    let_go = 0
    while shedding.take():
        let_go += 1
    assert let_go <= math.ceil(max(0.0, mine - mean) / 2)


def test_a_worker_that_hangs_costs_few_connections() -> None:
    """It has none and gets none: the attempts to fill it become rare."""
    hour = int(3600 / PAUSE)
    taken, gone = rounds([0, 6, 6, 6], min, hour, hang=frozenset({0}))
    assert taken == hour
    assert gone <= 3 * 2 * (math.log2(LONGEST_PAUSE / PAUSE) + 3600 / LONGEST_PAUSE)
    shedding, attempts = Shedding(), 0
    for number in range(hour):
        attempts += number * PAUSE >= shedding.look_at and shedding.look(6, [0, 6, 6], number * PAUSE)
    assert 2 < attempts <= math.log2(LONGEST_PAUSE / PAUSE) + 3600 / LONGEST_PAUSE + 2
