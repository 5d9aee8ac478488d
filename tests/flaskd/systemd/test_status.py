"""What systemd hears of an instance: when, in which words, and that an idle one costs nothing."""

import time
from collections.abc import Callable
from concurrent.futures import Future

import pytest

from flaskd.probes.rotation import Rotation
from flaskd.shutdown.lifecycle import State
from flaskd.systemd.status import SPARE, ServiceStatus, describe
from flaskd_ctl.errors import Failed, WrongState
from flaskd_ctl.protocol import ProgressEvent, StateEvent, WorkerEvent
from tests.flaskd.systemd.manual import Clock, Told

RUNNING = Rotation(State.RUNNING, serving=2, wanted=2, threads=4, in_flight=0)


class Instance:
    """An instance as `News` sees it, changed by the test."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.manager = Told()
        self.now = RUNNING._replace(state=State.STARTING, serving=0)
        self.left = 0.0
        self.armed = 0
        self.service = ServiceStatus(self.manager, self, self.clock)

    def rotation(self) -> Rotation:
        return self.now

    def seconds_left(self) -> float:
        return self.left

    def start_timeout(self) -> float:
        return 60.0

    def counts_requests(self) -> bool:
        return True

    def notify_on_next_request(self) -> None:
        self.armed += 1

    def move(self, to: State) -> list[dict[str, str]]:
        was, self.now = self.now.state, self.now._replace(state=to)
        self.service.receive(StateEvent(at=0.0, was=was.value, state=to.value))
        return self.manager.take()

    def progress(self, phase: str, in_flight: int, left: float) -> list[dict[str, str]]:
        self.now, self.left = self.now._replace(in_flight=in_flight), left
        self.service.receive(ProgressEvent(0.0, phase, in_flight, connections=1, deadline_left=left))
        return self.manager.take()


@pytest.fixture
def shop() -> Instance:
    """An instance that has just begun to run."""
    shop = Instance()
    shop.service.start()
    shop.now = RUNNING
    shop.service.receive(StateEvent(at=0.0, was="starting", state="running"))
    shop.clock.advance(10)
    shop.manager.take()
    return shop


@pytest.mark.parametrize(
    ("now", "left", "reloading", "text"),
    [
        (RUNNING._replace(in_flight=3), 0.0, False, "running, 2 workers, 3 in flight"),
        (RUNNING._replace(serving=1, wanted=1), 0.0, False, "running, 1 worker, 0 in flight"),
        (RUNNING._replace(serving=3), 0.0, True, "reloading, 3 workers, 0 in flight"),
        (RUNNING._replace(state=State.DRAINING), 0.0, False, "draining, 2 workers, 0 in flight"),
        (RUNNING._replace(state=State.STARTING, serving=1), 0.0, False, "starting, 1 of 2 workers"),
        (RUNNING._replace(state=State.STOPPING, in_flight=2), 7.2, False, "stopping, 2 left, 7 s"),
        (RUNNING._replace(state=State.STOPPED), 0.0, False, "stopped"),
    ],
)
def test_text_says_how_it_stands(now: Rotation, left: float, reloading: bool, text: str) -> None:
    """One line, which `systemctl status` shows."""
    assert describe(now, left=left, reloading=reloading, counted=True) == text


def test_text_does_not_count_requests_that_nobody_counts() -> None:
    """Without a ledger 0 would be a lie."""
    assert describe(RUNNING, left=0, reloading=False, counted=False) == "running, 2 workers"


def test_start_asks_for_the_time_that_a_worker_may_take_and_tells_ready_once_it_serves() -> None:
    """READY=1 comes with the move to running, and only then."""
    shop = Instance()

    shop.service.start()
    begun = shop.manager.take()
    shop.now = RUNNING._replace(state=State.STARTING)
    running = shop.move(State.RUNNING)

    assert begun[0]["EXTEND_TIMEOUT_USEC"] == str(int((60 + SPARE) * 1_000_000))
    assert not any("READY" in message for message in begun)
    assert running == [{"READY": "1", "STATUS": "running, 2 workers, 0 in flight"}]


def test_each_worker_that_starts_after_the_first_one_gets_its_time() -> None:
    """With `--workers auto` the others begin when the first one has been measured; `running` comes after them."""
    shop = Instance()
    shop.service.start()
    shop.manager.take()
    shop.now = RUNNING._replace(state=State.STARTING)

    shop.service.receive(WorkerEvent(0.0, 1, 7, "serving", 1, "start"))

    (told,) = shop.manager.take()
    assert told["EXTEND_TIMEOUT_USEC"] == str(int((60 + SPARE) * 1_000_000))


def test_idle_instance_has_no_timer_and_says_nothing(shop: Instance) -> None:
    """Nobody polls: the next request rings."""
    shop.clock.advance(3600)

    assert (shop.clock.pending, shop.manager.take()) == (0, [])
    assert shop.armed > 0


def test_requests_are_told_at_most_once_a_second_while_any_is_in_flight(shop: Instance) -> None:
    """The first is told at once; then the numbers follow, until none is left and the bells are armed again."""
    shop.now = RUNNING._replace(in_flight=1)
    shop.service.request_began()
    assert shop.manager.take() == [{"STATUS": "running, 2 workers, 1 in flight"}]
    armed = shop.armed

    for in_flight in (2, 3, 4):
        shop.now = RUNNING._replace(in_flight=in_flight)
        shop.service.request_began()
    shop.clock.advance(1.0)
    assert shop.manager.take() == [{"STATUS": "running, 2 workers, 4 in flight"}]
    assert shop.armed == armed

    shop.now = RUNNING
    shop.clock.advance(1.0)
    assert shop.manager.take() == [{"STATUS": "running, 2 workers, 0 in flight"}]
    assert (shop.clock.pending, shop.armed) == (0, armed + 1)


def test_numbers_that_stay_are_not_told_again(shop: Instance) -> None:
    """systemd has to pass on each message, so one without news is none."""
    shop.now = RUNNING._replace(in_flight=1)
    shop.service.request_began()
    shop.manager.take()

    shop.clock.advance(30.0)

    assert shop.manager.take() == []


def test_request_that_begins_while_the_bells_are_armed_is_not_missed(shop: Instance) -> None:
    """It may begin between the look and the arming: then nobody rings."""
    shop.now = RUNNING._replace(in_flight=1)
    shop.service.request_began()
    shop.manager.take()
    shop.now = RUNNING
    begins = iter([RUNNING._replace(in_flight=1)])
    shop.notify_on_next_request = lambda: setattr(  # type: ignore[method-assign]
        shop, "now", next(begins, shop.now)
    )

    shop.clock.advance(2.5)

    assert shop.manager.take()[-1]["STATUS"].endswith("1 in flight")


def test_stop_says_how_many_are_left_and_asks_for_the_time_it_may_take(shop: Instance) -> None:
    """Else a stop that was asked for with a long grace period by the control socket would be cut off by TimeoutStopSec=."""
    assert shop.move(State.STOPPING) == [{"STOPPING": "1"}]

    (begun,) = shop.progress("emptying", 2, 7.0)
    shop.left = 6.0
    shop.clock.advance(1.0)
    (later,) = shop.manager.take()

    assert begun["STATUS"] == "stopping, 2 left, 7 s"
    assert begun["EXTEND_TIMEOUT_USEC"] == str(int((7 + SPARE) * 1_000_000))
    assert later["STATUS"] == "stopping, 2 left, 6 s"
    assert later["EXTEND_TIMEOUT_USEC"] == str(int((6 + SPARE) * 1_000_000))


def test_progress_is_told_at_once_where_the_phase_changes_else_once_a_second(shop: Instance) -> None:
    """A burst of events is one message."""
    shop.move(State.STOPPING)
    assert len(shop.progress("emptying", 9, 7.0)) == 1

    assert [shop.progress("emptying", left, 7.0) for left in (8, 7, 6)] == [[], [], []]
    assert len(shop.progress("leaving", 5, 7.0)) == 1


def test_after_the_end_there_is_no_timer(shop: Instance) -> None:
    """Nothing is left behind."""
    shop.move(State.STOPPING)
    shop.progress("emptying", 1, 7.0)
    assert shop.move(State.STOPPED) == [{"STATUS": "stopped"}]

    assert shop.clock.pending == 0


def ordered(future: "Future[None]") -> Callable[[], "Future[None]"]:
    """Return what gives `future` as the reply."""
    return lambda: future


def test_reload_begins_with_a_time_stamp_and_is_ready_only_when_it_is_through(shop: Instance) -> None:
    """RELOADING=1 with MONOTONIC_USEC is what Type=notify-reload waits for, then READY=1 (sd_notify(3))."""
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    reply: Future[None] = Future()

    assert shop.service.track_reload(ordered(reply)) is reply
    (begun,) = shop.manager.take()
    shop.service.receive(WorkerEvent(0.0, 3, 7, "serving", 2, "reload"))
    (step,) = shop.manager.take()
    reply.set_result(None)
    (done,) = shop.manager.take()

    assert begun["RELOADING"] == "1"
    assert before <= int(begun["MONOTONIC_USEC"]) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    assert begun["STATUS"] == "reloading, 2 workers, 0 in flight"
    assert step == {"EXTEND_TIMEOUT_USEC": str(int((60 + SPARE) * 1_000_000))}
    assert done == {"READY": "1", "STATUS": "running, 2 workers, 0 in flight"}


def test_reload_that_failed_is_over_and_said_until_one_succeeds(shop: Instance) -> None:
    """systemd knows no word for it: the state is running again, and the text says what went wrong."""
    failed: Future[None] = Future()
    shop.service.track_reload(ordered(failed))
    shop.manager.take()

    failed.set_exception(Failed("worker 3 could not start:\nno database"))

    assert shop.manager.take() == [
        {
            "READY": "1",
            "STATUS": "running, 2 workers, 0 in flight; reload failed: worker 3 could not start: no database",
        }
    ]
    again: Future[None] = Future()
    shop.service.track_reload(ordered(again))
    again.set_result(None)
    assert shop.manager.take()[-1]["STATUS"] == "running, 2 workers, 0 in flight"


def test_two_reloads_are_over_when_both_are(shop: Instance) -> None:
    """READY=1 after the first would end the wait of whoever asked for the second."""
    first: Future[None] = Future()
    second: Future[None] = Future()
    shop.service.track_reload(ordered(first))
    shop.service.track_reload(ordered(second))
    assert [message["RELOADING"] for message in shop.manager.take()] == ["1", "1"]

    first.set_result(None)
    assert shop.manager.take() == []
    second.set_result(None)

    assert shop.manager.take()[0]["READY"] == "1"


def test_reload_that_cannot_even_be_ordered_is_over_too(shop: Instance) -> None:
    """Who sent SIGHUP waits for READY=1, whatever comes of it."""

    def refuse() -> "Future[None]":
        raise Failed("the settings cannot be read anew")

    with pytest.raises(Failed):
        shop.service.track_reload(refuse)

    assert [("RELOADING" in each, "READY" in each) for each in shop.manager.take()] == [
        (True, False),
        (False, True),
    ]


@pytest.mark.parametrize("state", [State.STARTING, State.STOPPING])
def test_reload_that_is_refused_in_this_state_makes_nobody_ready(shop: Instance, state: State) -> None:
    """READY=1 would end the wait for a start that has not happened."""
    shop.now = shop.now._replace(state=state)

    def refuse() -> "Future[None]":
        raise WrongState("not now")

    with pytest.raises(WrongState):
        shop.service.track_reload(refuse)

    assert shop.manager.take() == []
