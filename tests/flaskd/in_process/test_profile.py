"""The sampling profiler: what it looks at, how often, and when it ends."""

import sys
import threading
import time
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from flaskd.in_process import profile as module
from flaskd.in_process.profile import SHORTEST_INTERVAL, Sampler, SwitchInterval, end_profile, take_profile
from flaskd.ledger.shared_memory import RequestTable
from flaskd.tasks import EndProfile, ProfileTaken, TakeProfile
from tests.flaskd.in_process.test_stacks import waiting
from tests.support.daemons import PATIENCE

ENVIRON = {"REQUEST_METHOD": "GET", "PATH_INFO": "/"}


def task(**params: Any) -> TakeProfile:
    values: dict[str, Any] = {"profile": "mine", "seconds": 600.0, "rate": 100.0}
    return TakeProfile(**(values | params))


class Core:
    """A server that closes when it is told."""

    counts_requests = True

    def __init__(self, table: RequestTable | None = None) -> None:
        self.ledger = types.SimpleNamespace(table=table or RequestTable.private(4))
        self.steps: list[Callable[[], None]] = []

    def endpoints(self) -> set[str]:
        return {"cart", "front"}

    def call_at_close(self, step: Callable[[], None]) -> None:
        self.steps.append(step)


def serving(table: RequestTable, number: int, endpoint: str) -> Callable[[Callable[[], object]], None]:
    """Return a function that waits as a request of this endpoint."""

    def serve(wait: Callable[[], object]) -> None:
        row = table.begin(number, "id", ENVIRON)
        row.route(endpoint, "/")
        wait()
        row.end(1)

    return serve


def seen(taken: ProfileTaken, function: str) -> int:
    """Count what was seen in stacks that have this function."""
    number = [each.function.rpartition(".")[2] for each in taken.functions].index(function)
    return sum(stack.count for stack in taken.stacks if number in stack.frames)


def looked(table: RequestTable, times: int, **params: Any) -> ProfileTaken:
    sampler = Sampler(table, task(**params))
    for _ in range(times):
        sampler._look()
    return sampler.result()


def test_each_look_counts_each_thread_that_serves_a_request() -> None:
    """The oldest call first; others are not looked at."""
    table = RequestTable.private(4)
    with waiting(serving(table, 1, "cart"), serving(table, 2, "front"), lambda wait: wait()):
        taken = looked(table, 5)

    assert (taken.samples, taken.other) == (5, 0)
    assert [stack.count for stack in taken.stacks] == [10]
    names = [taken.functions[number].function for number in taken.stacks[0].frames]
    assert names[:2] == ["Thread._bootstrap", "Thread._bootstrap_inner"]
    assert names[-3:] == ["serving.<locals>.serve", "waiting.<locals>.wait", "Event.wait"] or names[-1] == (
        "Condition.wait"
    )
    assert [each.file for each in taken.functions if each.function == "serving.<locals>.serve"] == [__file__]


def test_an_endpoint_has_its_threads_only() -> None:
    """That of the request that they serve now."""
    table = RequestTable.private(1)  # and one beyond its rows
    with waiting(serving(table, 1, "cart"), serving(table, 2, "front")):
        assert [stack.count for stack in looked(table, 5, endpoint="cart").stacks] == [5]
        assert [stack.count for stack in looked(table, 5, endpoint="front").stacks] == [5]
        assert looked(table, 5, endpoint="none").stacks == []


def test_all_threads_are_looked_at_if_that_is_wanted() -> None:
    """But the one that looks."""

    def stand_still(wait: Callable[[], object]) -> None:
        wait()

    with waiting(stand_still):
        taken = looked(RequestTable.private(1), 3, all_threads=True)

    assert seen(taken, "stand_still") == 3
    assert "test_all_threads_are_looked_at_if_that_is_wanted" not in {
        each.function for each in taken.functions
    }


def test_requests_that_begin_and_end_are_followed() -> None:
    """Each look is at those of that moment."""
    table = RequestTable.private(2)
    sampler = Sampler(table, task())
    sampler._look()
    for number in (1, 2):
        with waiting(serving(table, number, "cart")):
            sampler._look()
            sampler._look()
    sampler._look()

    taken = sampler.result()

    assert taken.samples == 6
    assert sum(stack.count for stack in taken.stacks) == 4


def test_a_thread_that_waits_is_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has used no CPU time, so it is where it was; this is most of what a look would cost."""
    table = RequestTable.private(2)
    walked: list[object] = []
    original = Sampler._key

    def walk(self: Sampler, frame: Any) -> tuple[int, ...]:
        walked.append(frame.f_code)
        return original(self, frame)

    monkeypatch.setattr(Sampler, "_key", walk)
    with waiting(serving(table, 1, "cart")):
        sampler = Sampler(table, task())
        for _ in range(50):
            sampler._look()

    assert len(walked) <= 3  # it may still have been on its way to sleep
    assert sum(stack.count for stack in sampler.result().stacks) == 50


def test_a_thread_that_has_run_is_looked_at_again() -> None:
    """Though it waits at the same line of the same function: somebody else has called it."""
    table = RequestTable.private(2)
    steps, here = threading.Semaphore(0), threading.Semaphore(0)

    def query() -> None:
        here.release()
        assert steps.acquire(timeout=PATIENCE)

    def first() -> None:
        query()

    def second() -> None:
        query()

    def serve() -> None:
        row = table.begin(1, "id", ENVIRON)
        first()
        second()
        row.end(1)

    thread = threading.Thread(target=serve)
    thread.start()
    sampler = Sampler(table, task())
    for _ in range(2):
        assert here.acquire(timeout=PATIENCE)
        sampler._look()
        steps.release()
    thread.join(PATIENCE)
    taken = sampler.result()

    assert (seen(taken, "first"), seen(taken, "second")) == (1, 1)


def test_where_the_system_does_not_tell_cpu_times_every_look_walks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then nothing is known of a thread between two looks."""
    table = RequestTable.private(2)
    monkeypatch.delattr(time, "pthread_getcpuclockid")
    with waiting(serving(table, 1, "cart")):
        taken = looked(table, 4)

    assert sum(stack.count for stack in taken.stacks) == 4


def test_stacks_beyond_the_limit_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their memory is bounded."""
    monkeypatch.setattr(module, "MOST_STACKS", 1)
    table = RequestTable.private(2)
    sampler = Sampler(table, task())
    with waiting(serving(table, 1, "cart")):
        sampler._look()

    def deeper(wait: Callable[[], object]) -> None:
        serving(table, 2, "cart")(wait)

    with waiting(deeper):
        sampler._look()
        sampler._look()
    taken = sampler.result()

    assert ([stack.count for stack in taken.stacks], taken.other) == ([1], 2)


class Clock:
    """Time that passes when somebody waits, or as a look takes it."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.ends_at = float("inf")

    def monotonic(self) -> float:
        return self.now

    def wait(self, seconds: float) -> bool:
        self.now += seconds
        return self.is_set()

    def is_set(self) -> bool:
        return self.now >= self.ends_at


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def run(clock: Clock, *, look: Callable[[int], float] = lambda number: 0.0, **params: Any) -> ProfileTaken:
    """Run a sampler whose looks take so long."""
    sampler = Sampler(RequestTable.private(1), task(**params))

    def take() -> int:
        sampler._samples += 1
        clock.now += look(sampler._samples)
        return 1

    sampler._look = take  # type: ignore[method-assign]
    sampler.run(clock)  # type: ignore[arg-type]
    return sampler.result()


def test_it_looks_at_the_rate_for_the_time(clock: Clock) -> None:
    """And then ends."""
    taken = run(clock, seconds=2.0, rate=50.0)

    assert taken.samples in {99, 100}
    assert taken.missed == 0
    assert taken.seconds == pytest.approx(2.0, abs=0.03)
    assert taken.longest_gap == pytest.approx(0.02, abs=0.001)


def test_looks_that_were_not_possible_are_counted(clock: Clock) -> None:
    """As C code held the GIL; they are not made up for, which would count one moment several times."""
    taken = run(clock, look=lambda number: 0.5 if number == 10 else 0.0, seconds=2.0, rate=100.0)

    assert taken.samples + taken.missed in {198, 199, 200}
    assert taken.missed in {49, 50, 51}
    assert taken.longest_gap == pytest.approx(0.5, abs=0.02)
    assert taken.seconds == pytest.approx(2.0, abs=0.02)


def test_it_ends_when_it_is_told(clock: Clock) -> None:
    """Between two looks."""
    clock.ends_at = 1000.5

    assert run(clock, seconds=600.0).seconds == pytest.approx(0.5, abs=0.02)


def test_the_switch_interval_is_short_while_few_threads_compute() -> None:
    """What computes for less than the interval and then waits would be seen where it waits; then it is what it was."""
    before = sys.getswitchinterval()
    with SwitchInterval() as switching:
        assert sys.getswitchinterval() == pytest.approx(SHORTEST_INTERVAL)
        switching.set_for(4)
        assert sys.getswitchinterval() == pytest.approx(4 * SHORTEST_INTERVAL)
        switching.set_for(1000)
        assert sys.getswitchinterval() == before
        switching.set_for(0)
        assert sys.getswitchinterval() == pytest.approx(SHORTEST_INTERVAL)

    assert sys.getswitchinterval() == before


def test_a_switch_interval_of_the_application_is_left_alone() -> None:
    """Whether it sets it before the profile or meanwhile."""
    before = sys.getswitchinterval()
    try:
        with SwitchInterval() as switching:
            sys.setswitchinterval(0.002)
            switching.set_for(3)
            assert sys.getswitchinterval() == pytest.approx(0.002)
        assert sys.getswitchinterval() == pytest.approx(0.002)
        sys.setswitchinterval(0.0001)
        with SwitchInterval():
            assert sys.getswitchinterval() == pytest.approx(0.0001)
        assert sys.getswitchinterval() == pytest.approx(0.0001)
    finally:
        sys.setswitchinterval(before)


def test_a_look_tells_how_many_threads_have_run() -> None:
    """Those that wait have not."""
    table = RequestTable.private(4)
    with waiting(serving(table, 1, "cart"), serving(table, 2, "front")):
        sampler = Sampler(table, task())
        assert sampler._look() == 2  # nothing is known of them yet
        for _ in range(5):
            last = sampler._look()

    assert last == 0


@contextmanager
def running(core: Core, name: str) -> Iterator[list[ProfileTaken]]:
    """Profile this process until somebody ends it; the result is there after the block."""
    results: list[ProfileTaken] = []
    begun = threading.Event()

    def note(step: Callable[[], None]) -> None:
        core.steps.append(step)
        begun.set()

    core.call_at_close = note  # type: ignore[method-assign]
    thread = threading.Thread(
        target=lambda: results.append(take_profile(core, task(profile=name)))  # type: ignore[arg-type]
    )
    thread.start()
    assert begun.wait(PATIENCE)
    yield results
    thread.join(PATIENCE)
    assert not thread.is_alive()


def test_one_profile_at_a_time() -> None:
    """The second is refused, and told for how long; to end another's does nothing."""
    core: Any = Core()
    with running(core, "first") as results:
        with pytest.raises(RuntimeError, match=r"is being profiled already, for \d+\.\d s more"):
            take_profile(core, task(profile="second"))
        end_profile(core, EndProfile(profile="second"))
        assert not results
        end_profile(core, EndProfile(profile="first"))

    assert len(results) == 1
    with running(core, "third"):
        end_profile(core, EndProfile(profile="third"))


def test_a_server_that_closes_ends_the_profile() -> None:
    """What was seen until then is the result."""
    core: Any = Core()
    with running(core, "mine") as results:
        core.steps[0]()

    assert results[0].seconds < PATIENCE


def test_an_unknown_endpoint_is_refused_with_those_that_there_are() -> None:
    """A profile of nothing would look like an endpoint that nobody calls."""
    core: Any = Core()

    with pytest.raises(ValueError, match="has no endpoint 'nosuch': the application has cart, front"):
        take_profile(core, task(endpoint="nosuch"))


def test_without_the_ledger_nobody_knows_which_threads_serve() -> None:
    """All may be looked at."""
    core: Any = Core()
    core.counts_requests = False

    with pytest.raises(ValueError, match="use --all-threads"):
        take_profile(core, task())
    assert take_profile(core, task(all_threads=True, seconds=1)).samples
