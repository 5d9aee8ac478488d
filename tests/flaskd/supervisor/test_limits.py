"""The watch over workers: who hangs, who is worn out, what is slow; and no look is made before it is due."""

from dataclasses import dataclass, field

import pytest

from flaskd.supervisor.watching.limits import (
    EARLY,
    MEMORY_PAUSE,
    PATIENCE,
    Action,
    Findings,
    Kill,
    Limits,
    Observation,
    Replace,
    ReportSlow,
    SendPing,
    check_limits,
)
from flaskd_ctl.protocol import InFlight

GIB = 1 << 30


def request(number: int = 1, *, age: float) -> InFlight:
    return InFlight(id=number, method="GET", path="/slow", age=age, client="", thread="")


@dataclass
class Night:
    """One worker watched over by a clock that is moved from look to look; from `silent` on it gives no answer."""

    limits: Limits
    silent: float = float("inf")
    share: float = 0.0
    now: float = 0.0
    asked: float | None = None
    begun: dict[int, float] = field(default_factory=dict)
    reported: frozenset[int] = frozenset()
    looks: int = 0

    def look(self) -> Findings:
        """Look once, now."""
        self.looks += 1
        found = check_limits(
            [
                Observation(
                    1,
                    served=self.now,
                    share=self.share,
                    asked=None if self.asked is None else self.now - self.asked,
                    answered=self.asked is None or self.asked < self.silent,
                    requests=[request(number, age=self.now - at) for number, at in self.begun.items()],
                    reported=self.reported,
                )
            ],
            self.limits,
            0,
        )
        if SendPing(1) in found.actions:
            self.asked = self.now
        self.reported |= {verdict.request.id for verdict in found.actions if isinstance(verdict, ReportSlow)}
        return found

    def until(self, end: float) -> list[tuple[float, Action]]:
        """Make every look that is due until `end`; return what was found, and when. Questions are not told."""
        found: list[tuple[float, Action]] = []
        while self.now <= end:
            seen = self.look()
            found += [(self.now, verdict) for verdict in seen.actions if not isinstance(verdict, SendPing)]
            if seen.check_again is None or any(
                isinstance(verdict, Kill | Replace) for verdict in seen.actions
            ):
                break
            self.now += seen.check_again
        return found


def test_without_a_limit_nobody_looks() -> None:
    """An idle supervisor makes no wake-ups of its own."""
    observations = [Observation(1, served=1e6, requests=[request(age=1e6)], memory=GIB)]
    assert check_limits(observations, Limits(), 0) == Findings()


def test_without_workers_nobody_looks() -> None:
    """The next one that serves is told."""
    assert check_limits([], Limits(10, 10, 10, 10), 0) == Findings()


def test_a_worker_is_asked_twice_within_its_timeout_and_no_look_is_wasted() -> None:
    """Two wake-ups in each timeout."""
    night = Night(Limits(silence=10))
    assert night.until(100) == []
    assert night.looks == pytest.approx(21, abs=1)


@pytest.mark.parametrize("moment", [0.0, 1.0, 4.9, 5.0, 7.3])
def test_who_gives_no_sign_of_life_hangs(moment: float) -> None:
    """After its timeout at the earliest, after one and a half at the latest."""
    night = Night(Limits(silence=10), silent=moment)
    ((when, verdict),) = night.until(100)
    assert verdict == Kill(1, "gave no sign of life for 10 s (--worker-timeout)")
    assert moment + 10 <= when <= moment + 15


@pytest.mark.parametrize("moment", [0.0, 1.0, 4.9, 5.0, 7.3])
def test_a_request_that_is_too_old_is_found_when_it_becomes_so(moment: float) -> None:
    """Not half a timeout later, though nobody looks more often for it."""
    night = Night(Limits(silence=10))
    night.until(moment - 5)
    night.begun[1] = moment
    night.now = max(night.now, moment)
    ((when, verdict),) = night.until(100)
    assert isinstance(verdict, Kill)
    assert "GET /slow has taken 10.0 s" in verdict.reason
    assert when == pytest.approx(moment + 10, abs=0.01)


def test_a_worker_that_leaves_keeps_its_grace_period_but_must_not_hang() -> None:
    """Its requests have a deadline of their own."""
    limits = Limits(silence=10)
    old = [request(age=60)]
    assert not check_limits([Observation(1, leaving=True, asked=1, requests=old)], limits, 0).actions
    silent = Observation(1, leaving=True, asked=10, answered=False, requests=old)
    assert [type(verdict) for verdict in check_limits([silent], limits, 0).actions] == [Kill]


def test_a_slow_request_is_told_once_when_it_becomes_so() -> None:
    """Each of them."""
    night = Night(Limits(request=3))
    night.begun = {1: 0.0, 2: 1.0}
    found = night.until(50)
    assert [
        (round(when, 3), verdict.request.id) for when, verdict in found if isinstance(verdict, ReportSlow)
    ] == [
        (3.0, 1),
        (4.0, 2),
    ]
    assert len(found) == 2
    assert night.looks < 25


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_workers_go_at_their_age_or_a_little_before(share: float) -> None:
    """At most a tenth before it, each by another part of it; with one look when it is due."""
    night = Night(Limits(age=1000), share=share)
    assert night.until(5000) == [(1000 - 100 * share, Replace(1, "max age"))]
    assert night.looks == 2


def test_who_is_due_or_leaves_is_not_worn_again() -> None:
    """Whatever its age and size; and nothing is looked for again."""
    limits = Limits(age=10, memory=GIB)
    for seen in (
        Observation(1, due=True, served=100, memory=2 * GIB),
        Observation(1, leaving=True, served=100, memory=2 * GIB),
    ):
        assert check_limits([seen], limits, 0) == Findings()


def test_a_worker_that_has_grown_is_replaced() -> None:
    """The limit itself is allowed, and memory that cannot be known is no reason."""
    limits = Limits(memory=GIB)
    for memory in (None, GIB):
        found = check_limits([Observation(1, served=9000, memory=memory)], limits, 0)
        assert (found.actions, found.check_again) == ((), MEMORY_PAUSE)
    found = check_limits([Observation(1, served=9000, memory=GIB + 1)], limits, 3)
    assert found.actions == (Replace(1, "max memory: 1025 MiB"),)
    assert found.early == 0


def test_replacing_what_is_too_large_from_its_start_becomes_ever_rarer() -> None:
    """Such workers serve longer and longer, up to ten minutes, and never are replaced in a storm."""
    early, served = 0, []
    for _ in range(9):
        age = 0.0
        while not (
            found := check_limits([Observation(1, served=age, memory=2 * GIB)], Limits(memory=GIB), early)
        ).actions:
            age += found.check_again or 0.0
        served.append(age)
        early = found.early
    assert served == [*PATIENCE, PATIENCE[-1], PATIENCE[-1]]


def test_who_grows_slowly_does_not_count_as_too_large_from_its_start() -> None:
    """After it the next one is looked at with fresh eyes."""
    patience = PATIENCE[2]
    quick = check_limits([Observation(1, served=patience + EARLY - 1, memory=2 * GIB)], Limits(memory=GIB), 2)
    slow = check_limits([Observation(1, served=patience + EARLY, memory=2 * GIB)], Limits(memory=GIB), 2)
    assert (quick.early, slow.early) == (3, 0)
