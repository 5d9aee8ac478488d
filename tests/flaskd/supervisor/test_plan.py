"""The plan of a fleet: what holds in every fleet that does what the plan says, whatever happens to it."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings, strategies as st
from msgspec.structs import replace

from flaskd.supervisor.plan import (
    CALM,
    CRASH_LOOP,
    PAUSES,
    Action,
    EndStart,
    Failures,
    Start,
    StopWorker,
    WorkerState,
    WorkerView,
    plan,
)

STARTING, SERVING, LEAVING = WorkerState.STARTING, WorkerState.SERVING, WorkerState.LEAVING


@dataclass
class Fleet:
    """Workers that live by the plan alone, and a clock that is moved by hand.

    `starts` tells of each start how long it takes and whether it succeeds; after those, all succeed in a second.
    Who is ended is gone the next time that the clock moves, as a process is.
    """

    wanted: int
    starts: Iterator[tuple[float, bool]] = field(default_factory=lambda: iter(()))
    now: float = 1000.0
    failures: Failures = field(default_factory=Failures)
    workers: dict[int, WorkerView] = field(default_factory=dict)
    due_at: dict[int, tuple[float, bool]] = field(default_factory=dict)
    ended: set[int] = field(default_factory=set)
    started_at: list[float] = field(default_factory=list)
    look_again: float | None = None

    def those(self, state: WorkerState) -> list[WorkerView]:
        return [each for each in self.workers.values() if each.state is state]

    def settle(self) -> None:
        """Do what the plan says, and hold it to its laws."""
        serving_before, wanted = len(self.those(SERVING)), self.wanted
        before = list(self.workers.values())
        todo = plan(wanted, before, self.failures, self.now)
        assert plan(wanted, reversed_(before), self.failures, self.now) == todo, "the same in, the same out"
        for action in todo.actions:
            self.do(action)
        again = plan(wanted, list(self.workers.values()), self.failures, self.now)
        self.look_again = again.look_again

        assert {action.worker for action in again.actions if isinstance(action, EndStart)} <= self.ended
        assert all(isinstance(action, EndStart) for action in again.actions), "nothing is done twice"
        assert len(self.those(SERVING)) >= min(serving_before, wanted), (
            "nobody goes whom others do not stand in for"
        )
        assert len(self.those(SERVING)) <= wanted
        alive = [each for each in self.those(STARTING) if each.id not in self.ended]
        assert len(self.those(SERVING)) + len(alive) <= wanted + 1, "there is room for one more"
        assert not any(each.due for each in alive), "what loads what is out of date is ended"
        on_the_way = alive or self.ended or again.look_again is not None
        if len(self.those(SERVING)) < wanted or any(each.due for each in self.those(SERVING)):
            assert on_the_way, "what is missing or due is seen to"
        if again.look_again is not None:
            assert self.now < again.look_again <= self.now + PAUSES[-1]

    def do(self, action: Action) -> None:
        match action:
            case Start(replaces):
                assert self.now >= self.failures.not_before, "starts are put off"
                assert replaces is None or self.workers[replaces].due
                ident = 1 + max([0, *self.workers, *self.due_at])
                self.workers[ident] = WorkerView(ident, STARTING)
                took, good = next(self.starts, (1.0, True))
                self.due_at[ident] = (self.now + took, good)
                self.started_at.append(self.now)
            case StopWorker(ident):
                assert len(self.those(SERVING)) > self.wanted, (
                    "a worker only goes where more serve than are wanted"
                )
                assert self.workers[ident].state is SERVING
                self.workers[ident] = replace(self.workers[ident], state=LEAVING)
            case EndStart(ident):
                assert self.workers[ident].state is STARTING, "who serves is not ended"
                self.ended.add(ident)

    def next_event(self) -> float:
        """When something happens by itself; infinity for never."""
        moments = [self.due_at[ident][0] for ident in self.those_ids(STARTING) if ident not in self.ended]
        if self.ended:
            moments.append(self.now + 0.001)
        if self.look_again is not None:
            moments.append(self.look_again)
        return min(moments, default=math.inf)

    def wait(self, seconds: float) -> None:
        """Let the time pass, and what happens in it happen."""
        until = self.now + seconds
        while (at := self.next_event()) <= until:
            self.now = max(self.now, at)
            self.happen()
        self.now = until

    def happen(self) -> None:
        for ident in self.ended:
            del self.workers[ident]
        self.ended.clear()
        ready = [ident for ident in self.those_ids(STARTING) if self.due_at[ident][0] <= self.now]
        for ident in ready:
            if self.due_at[ident][1]:
                self.workers[ident] = replace(self.workers[ident], state=SERVING)
            else:
                del self.workers[ident]
                self.failures = self.failures.one_more(self.now, served=False)
            self.settle()
        self.settle()

    def those_ids(self, state: WorkerState) -> list[int]:
        return [each.id for each in self.those(state)]

    def crash(self, which: int) -> None:
        """A worker ends unasked, if there is one."""
        serving = self.those_ids(SERVING)
        if serving:
            del self.workers[serving[which % len(serving)]]
            self.failures = self.failures.one_more(self.now, served=True)

    def mark_due(self, idents: list[int], why: str) -> None:
        for ident in idents:
            if self.workers[ident].state is not LEAVING:
                self.workers[ident] = replace(self.workers[ident], due=why)

    def happens(self, what: str, number: int, seconds: float) -> None:
        """Something that is not the plan's doing."""
        match what:
            case "crash":
                self.crash(number)
            case "storm":
                for _ in range(number):
                    self.crash(number)
                    self.settle()
            case "reload":
                self.mark_due(list(self.workers), "reload")
                self.failures = Failures()
            case "recycle":
                self.mark_due(self.those_ids(SERVING)[: number % 3], "max requests")
            case "scale":
                self.wanted = number
                self.failures = Failures()
            case "gone":
                for ident in self.those_ids(LEAVING)[:number]:
                    del self.workers[ident]
        self.settle()
        self.wait(seconds)


def reversed_(workers: list[WorkerView]) -> list[WorkerView]:
    return workers[::-1]


seconds = st.one_of(st.just(0.0), st.floats(0, 3), st.floats(0, 60))
outcomes = st.lists(st.tuples(st.floats(0, 40), st.booleans()), max_size=20)
happenings = st.lists(
    st.tuples(
        st.sampled_from(["crash", "storm", "reload", "recycle", "scale", "gone", "wait"]),
        st.integers(1, 6),
        seconds,
    ),
    max_size=25,
)


@settings(max_examples=1500)
@given(st.integers(1, 5), outcomes, happenings)
def test_a_fleet_lives_by_its_laws_and_is_whole_in_the_end(
    wanted: int, starts: list[tuple[float, bool]], happenings: list[tuple[str, int, float]]
) -> None:
    """Crashes, storms, failed starts, reloads, scaling, recycling, in any order: `settle` and `do` assert what always holds.

    When failures end, exactly as many as wanted serve, none of them due, and nothing is left to do.
    """
    fleet = Fleet(wanted, iter(starts))
    fleet.settle()
    for what, number, pause in happenings:
        fleet.happens(what, number, pause)
    fleet.starts = iter(())

    fleet.wait(40 + PAUSES[-1] + 10 * (fleet.wanted + 1))

    assert len(fleet.those(SERVING)) == fleet.wanted
    assert not any(each.due for each in fleet.those(SERVING))
    assert not fleet.those(STARTING)
    assert fleet.next_event() == math.inf, "an idle fleet has no timer"


@settings(max_examples=300)
@given(st.integers(1, 12), st.floats(0, 2), st.floats(1, 600))
def test_starts_that_fail_are_tried_as_seldom_as_the_pauses_say(
    wanted: int, took: float, time: float
) -> None:
    """The first round, one at once, then one after each pause."""

    def fail() -> Iterator[tuple[float, bool]]:
        while True:
            yield took, False

    fleet = Fleet(wanted, fail())
    fleet.settle()
    began = fleet.now
    fleet.wait(time)

    longest, left = 0, time
    for pause in (*PAUSES[1:], *[PAUSES[-1]] * 30):
        if left < pause:
            break
        left -= pause
        longest += 1
    assert len(fleet.started_at) <= wanted + 1 + longest, [at - began for at in fleet.started_at]


@given(st.integers(1, 5), st.floats(0.1, 300))
def test_starts_that_keep_failing_are_a_crash_loop_however_long_each_takes(wanted: int, took: float) -> None:
    """An application that needs a minute to fail is not calm in that minute."""
    fleet = Fleet(wanted, iter([(took, False)] * 50))
    fleet.settle()

    fleet.wait(6 * took + sum(PAUSES))

    assert fleet.failures.looping


@given(st.integers(2, 30))
def test_all_workers_killed_at_once_are_one_blow(wanted: int) -> None:
    """Whatever kills them all (an operator, the kernel out of memory), they are not kept waiting for half a minute."""
    fleet = Fleet(wanted)
    fleet.settle()
    fleet.wait(60)
    assert len(fleet.those(SERVING)) == wanted

    for _ in range(wanted):
        fleet.crash(0)
        fleet.settle()
    assert not fleet.those(SERVING)
    fleet.wait(PAUSES[1] + 1.1)

    assert fleet.those(SERVING)
    assert not fleet.failures.looping


@given(st.lists(st.floats(0, 29), min_size=1, max_size=200))
def test_failures_that_go_on_do_not_put_starts_off_for_ever(gaps: list[float]) -> None:
    """A start is due at the latest the longest pause after the failure that put it off, whatever fails meanwhile."""
    failures, now, waiting_since = Failures(), 1000.0, None
    for gap in gaps:
        failures = failures.one_more(now, served=True)
        if now < failures.not_before:
            waiting_since = now if waiting_since is None else waiting_since
            assert failures.not_before <= waiting_since + PAUSES[-1]
        now += gap
        if now >= failures.not_before:
            waiting_since = None


def test_pauses_grow_and_calm_ends_the_row() -> None:
    """Each failure in a row waits longer, to the last pause; one that had served after a time of calm is the first again."""
    failures, now = Failures(), 1000.0
    for number, pause in enumerate((*PAUSES, PAUSES[-1]), start=1):
        failures = failures.one_more(now, served=True)
        assert (failures.streak, failures.not_before) == (number, now + pause)
        assert failures.looping == (number >= CRASH_LOOP)
        now = failures.not_before

    assert failures.one_more(now + CALM, served=True).streak == failures.streak + 1
    assert failures.one_more(now + CALM + 0.1, served=True).streak == 1
    assert failures.one_more(now + CALM + 0.1, served=False).streak == failures.streak + 1


SOME = (WorkerView(1, SERVING), WorkerView(2, SERVING), WorkerView(3, SERVING))


@pytest.mark.parametrize(
    ("wanted", "workers", "actions"),
    [
        pytest.param(3, (), (Start(None),) * 3, id="the first start is all at once"),
        pytest.param(3, SOME, (), id="a whole fleet is left alone"),
        pytest.param(2, SOME, (StopWorker(3),), id="the newest goes"),
        pytest.param(
            2,
            (WorkerView(1, SERVING, "x"), *SOME[1:]),
            (StopWorker(1),),
            id="who is due goes before the newest",
        ),
        pytest.param(
            3, tuple(replace(each, due="reload") for each in SOME), (Start(1),), id="a reload starts one"
        ),
        pytest.param(
            3,
            (replace(SOME[0], due="x"), *SOME[1:], WorkerView(4, STARTING)),
            (),
            id="and no second meanwhile",
        ),
        pytest.param(
            3,
            (*SOME[:2], WorkerView(4, STARTING), WorkerView(5, STARTING)),
            (EndStart(5),),
            id="one too many is ended",
        ),
        pytest.param(
            3, (*SOME[:2], WorkerView(4, STARTING, "reload")), (EndStart(4), Start(None)), id="out of date"
        ),
        pytest.param(
            1, (WorkerView(1, LEAVING, "x"), WorkerView(2, SERVING)), (), id="who leaves does not count"
        ),
    ],
)
def test_the_rules_by_example(
    wanted: int, workers: tuple[WorkerView, ...], actions: tuple[Action, ...]
) -> None:
    """Each rule of the plan once."""
    assert plan(wanted, workers, Failures(), 1000.0).actions == actions
