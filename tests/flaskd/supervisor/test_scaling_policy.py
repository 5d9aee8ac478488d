"""The number of workers follows the load, within its bounds, and comes to rest: by thousands of loads, without a process."""

import itertools
import math
from collections.abc import Callable

import pytest
from hypothesis import given, settings, strategies as st

from flaskd.settings.workers import Bounds
from flaskd.supervisor.scaling.policy import (
    FULL,
    GROW_AFTER,
    MOST_PATIENCE,
    OOM_TIME,
    ROOMY,
    Policy,
    Sample,
    Step,
    need_of,
)

THREADS = 4
QUIET = 60.0

ANY = lambda: None  # noqa: E731 - room for any number


class Site:
    """An instance under a load, looked at once a second. `load(at, workers)` is what is seen; starts take `delay` seconds."""

    def __init__(
        self,
        policy: Policy,
        load: Callable[[float, int], Sample],
        *,
        delay: float = 1.0,
        room: int | None = None,
    ) -> None:
        self.policy = policy
        self.load = load
        self.delay = delay
        self.room = room
        self.now = 0.0
        self.steps: list[tuple[float, Step]] = []
        self.numbers = [policy.wanted]
        self._ready = 0.0

    def play(self, seconds: float) -> "Site":
        for _ in range(round(seconds)):
            self.now += 1
            if self.now < self._ready:
                self.policy.disturbed(self.now)
                continue
            step = self.policy.observe(self.load(self.now, self.policy.wanted), self._room)
            if step is not None:
                assert step.wanted == self.policy.wanted != self.numbers[-1]
                grows = step.wanted > self.numbers[-1]
                self._ready = self.now + self.delay if grows else 0.0
                self.steps.append((self.now, step))
                self.numbers.append(step.wanted)
        return self

    def _room(self) -> int | None:
        return None if self.room is None else max(0, self.room - self.policy.wanted)

    @property
    def turns(self) -> int:
        """How often the number changed its direction."""
        ups = [after > before for before, after in itertools.pairwise(self.numbers)]
        return sum(one != other for one, other in itertools.pairwise(ups))


def busy(demand: float) -> Callable[[float, int], Sample]:
    """Let so many threads' worth of requests come in, however many workers there are; what finds no thread waits."""

    def sample(at: float, workers: int) -> Sample:
        served = min(math.ceil(demand), workers * THREADS)
        return Sample(at, workers, THREADS, served, math.ceil(demand) - served)

    return sample


def computing(demand: float, cpus: int = 64) -> Callable[[float, int], Sample]:
    """Let requests need so many CPUs; a worker has one at most."""

    def sample(at: float, workers: int) -> Sample:
        used = min(demand, workers, cpus)
        return Sample(at, workers, THREADS, math.ceil(used), cpu=used, cpus=cpus)

    return sample


a_range = st.tuples(st.integers(1, 12), st.integers(0, 20)).map(lambda pair: Bounds(pair[0], sum(pair)))
samples = st.builds(
    lambda busy, waiting, waited, cpu, cpus: (busy, waiting, waited, cpu, cpus),
    st.integers(0, 120),
    st.integers(0, 200),
    st.sampled_from([0.0, 0.01, 0.2, 5.0]),
    st.floats(0, 40),
    st.integers(1, 64),
)


@settings(max_examples=1000)
@given(
    a_range, st.lists(samples, max_size=150), st.integers(0, 30), st.lists(st.integers(0, 150), max_size=4)
)
def test_the_number_stays_within_its_bounds(
    bounds: Bounds, seen: list[tuple[int, int, float, float, int]], room: int, kills: list[int]
) -> None:
    """Whatever is seen, and whatever the OOM killer does; growth never exceeds what the memory has room for."""
    policy = Policy(bounds, QUIET)
    for at, (threads, waiting, waited, cpu, cpus) in enumerate(seen):
        before = policy.wanted
        sample = Sample(
            float(at), before, THREADS, min(threads, before * THREADS), waiting, waited, cpu, cpus
        )
        step = policy.observe(sample, lambda: room)
        assert bounds.minimum <= policy.wanted <= bounds.maximum
        assert policy.wanted <= max(before, before + room)
        assert policy.wanted <= 2 * before
        assert (step is None) == (policy.wanted == before)
        if at in kills:
            policy.killed(float(at), policy.wanted)
            assert policy.wanted >= bounds.minimum
        again = policy.look_again(float(at))
        assert (again is None) == (policy.wanted == bounds.minimum)
        assert again is None or again >= at


@settings(max_examples=500)
@given(a_range, st.floats(0, 100), st.sampled_from([busy, computing]), st.integers(1, 33))
def test_a_constant_load_never_turns_it_back(
    bounds: Bounds, demand: float, kind: Callable[[float], Callable[[float, int], Sample]], start: int
) -> None:
    """From any number, it moves in one direction, comes to rest, and serves the load."""
    policy = Policy(bounds, QUIET, wanted=start)
    site = Site(policy, kind(demand)).play(600)
    assert site.turns == 0
    settled = len(site.steps)
    site.play(1200)
    assert len(site.steps) == settled
    unit = THREADS if kind is busy else 1
    load = (math.ceil(demand) if kind is busy else demand) / unit
    assert policy.wanted >= min(bounds.maximum, math.ceil(load / FULL - 1e-9))
    assert policy.wanted <= max(bounds.minimum, math.ceil(load / ROOMY), 1)


@settings(max_examples=300)
@given(a_range, st.floats(0, 60), st.floats(0, 60))
def test_a_larger_load_gets_no_fewer_workers(bounds: Bounds, one: float, other: float) -> None:
    """From the same start, after the same time."""
    small, large = (Site(Policy(bounds, QUIET), busy(each)).play(300) for each in sorted((one, other)))
    assert small.policy.wanted <= large.policy.wanted


@settings(max_examples=300)
@given(a_range, st.lists(st.floats(0, 100), min_size=1, max_size=60))
def test_it_shrinks_to_the_minimum_in_the_end(bounds: Bounds, loads: list[float]) -> None:
    """Whatever was before: once nothing is in flight, it takes the quiet time, with its patience, and no look in between."""
    current = [0.0]
    policy = Policy(bounds, QUIET)
    site = Site(policy, lambda at, workers: busy(current[0])(at, workers))
    for current[0] in loads:
        site.play(10)
    current[0] = 0.0
    site.play(3)
    looks = 0
    while (at := policy.look_again(site.now)) is not None:
        looks += 1
        assert at <= site.now + MOST_PATIENCE * QUIET + 1
        site.now = max(site.now, at)
        policy.observe(busy(0)(site.now, policy.wanted), ANY)
    assert policy.wanted == bounds.minimum
    assert looks <= 2


@settings(max_examples=200)
@given(st.integers(1, 6), st.integers(2, 20))
def test_a_load_that_needs_more_as_soon_as_there_are_fewer_is_tried_ever_less(
    enough: int, quiet: int
) -> None:
    """With one worker fewer than it takes, requests wait; with enough, half would seem to do."""

    def load(at: float, workers: int) -> Sample:
        full = workers < enough
        return Sample(at, workers, THREADS, workers * THREADS if full else 1, waiting=9 if full else 0)

    site = Site(Policy(Bounds(1, 8), float(quiet)), load).play(60 * quiet)
    late = [step for at, step in site.steps if at > 45 * quiet and step.cause == "quiet"]
    assert site.policy.patience == (MOST_PATIENCE if enough > 1 else 1)
    assert len(late) <= 2


def test_a_short_burst_starts_nothing() -> None:
    """The need must last, without a break."""
    policy = Policy(Bounds(2, 8), QUIET)
    site = Site(policy, lambda at, workers: busy(8 if at % 3 else 0)(at, workers)).play(60)
    assert not site.steps
    for at in range(100, 200, 5):  # requests that come now and then: nothing is known of the time in between
        assert policy.observe(busy(8)(float(at), 2), ANY) is None


def test_it_grows_to_what_serves_in_a_few_seconds() -> None:
    """Twice as many at a time, once the last ones serve."""
    site = Site(Policy(Bounds(1, 8), QUIET), busy(22)).play(20)
    assert [step.wanted for _, step in site.steps] == [2, 4, 7]
    assert site.steps[-1][0] <= 3 * (GROW_AFTER + 2)
    assert site.steps[0][1].why == "4 of 4 threads were busy, and 18 requests waited for 2 s"


def test_a_queue_is_a_reason_only_if_the_workers_have_something_to_do() -> None:
    """A proxy whose clock differs must not start workers that nobody needs."""
    idle = Sample(1.0, 2, THREADS, busy=1, waited=0.3)
    assert need_of(idle).needs == 1
    half = Sample(1.0, 2, THREADS, busy=5, waited=0.3)
    assert (need_of(half).needs, need_of(half).cause) == (3, "queue")
    assert need_of(half._replace(waited=0.01)).needs == 2


def test_workers_that_would_only_share_the_cpus_are_not_started() -> None:
    """The number of CPUs is what counts, not the maximum; `limited` says so."""
    site = Site(Policy(Bounds(1, 8), QUIET), computing(20, cpus=2)).play(60)
    assert site.policy.wanted == 2
    full = Sample(61.0, 2, THREADS, busy=8, waiting=20, cpu=1.97, cpus=2)
    assert (need_of(full).needs, need_of(full).why) == (2, "all CPUs are used (2)")
    assert need_of(full._replace(cpu=0.4)).needs == 9
    half = Sample(1.0, 1, THREADS, busy=4, waiting=9, cpu=0.49, cpus=0.5)  # a container with --cpus 0.5
    assert need_of(half).needs == 1


def test_the_memory_limits_growth_and_says_so() -> None:
    """It grows by what has room, and no further."""
    site = Site(Policy(Bounds(1, 8), QUIET), busy(22), room=3).play(30)
    assert site.policy.wanted == 3
    assert site.policy.limited.endswith("but the memory has no room for one more")
    site.room = None
    site.play(30)
    assert (site.policy.wanted, site.policy.limited) == (7, "")


def test_the_maximum_is_named() -> None:
    """An operator sees that it is too small."""
    site = Site(Policy(Bounds(1, 2), QUIET), busy(22)).play(30)
    assert (
        site.policy.limited == "8 of 8 threads were busy, and 14 requests waited, but at most 2 are allowed"
    )


def test_after_an_oom_kill_it_does_not_grow_to_what_did_not_fit() -> None:
    """For ten minutes; a second kill soon after that doubles the time. The minimum always holds."""
    site = Site(Policy(Bounds(2, 8), QUIET), busy(22)).play(30)
    assert site.policy.wanted == 7
    step = site.policy.killed(site.now, 7)
    assert step == Step(6, "memory", "the OOM killer has killed one of 7 workers")
    site.numbers.append(6)
    site.play(OOM_TIME - 5)
    assert site.policy.wanted == 6
    assert "7 were too many for the memory" in site.policy.limited
    site.play(20)
    assert site.policy.wanted == 7

    site.policy.killed(site.now, 7)
    site.numbers.append(6)
    site.play(2 * OOM_TIME - 10)
    assert site.policy.wanted == 6
    assert site.policy.killed(site.now, 2) is not None
    assert site.policy.killed(site.now, 2) is None
    assert site.policy.wanted == 2


def test_a_worker_that_cannot_start_is_given_up() -> None:
    """The number is again what serves; it is not degraded for want of one that was only to help."""
    site = Site(Policy(Bounds(1, 8), QUIET), busy(22)).play(GROW_AFTER + 1)
    assert site.policy.wanted == 2
    step = site.policy.failed(site.now, 1)
    assert (step and step.wanted, site.policy.wanted) == (1, 1)
    assert site.policy.failed(site.now, 0) is None


@pytest.mark.parametrize(("bounds", "wanted"), [(Bounds(4, 9), 4), (Bounds(1, 2), 2), (Bounds(1, 9), 3)])
def test_other_bounds_hold_at_once(bounds: Bounds, wanted: int) -> None:
    """As a reload brings them; a number that is within them stays."""
    policy = Policy(Bounds(1, 9), QUIET, wanted=3)
    assert policy.change(bounds, QUIET) == policy.wanted == wanted
