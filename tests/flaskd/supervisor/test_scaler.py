"""The number of workers of a scripted fleet: by the load, by what the machine has, and by an operator for a time."""

from typing import Any

import pytest

from flaskd.process.capacity import Capacity
from flaskd.process.cgroup import Memory
from flaskd.supervisor.plan import OOM_PAUSE, WorkerState
from flaskd.supervisor.scaling import scaler
from flaskd.supervisor.workers import Workers
from flaskd_ctl.errors import Failed
from flaskd_ctl.protocol import ScaleEvent
from tests.flaskd.supervisor.conftest import ScriptedWorker, World

MIB = 1 << 20
QUIET = 60.0


class Machine:
    """What flaskd takes the machine for."""

    def __init__(self) -> None:
        self.capacity = Capacity(8, None, None)
        self.share: int | None = 100 * MIB


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine()
    monkeypatch.setattr(scaler, "capacity", lambda: machine.capacity)
    monkeypatch.setattr(scaler, "share", lambda pid: machine.share)
    return machine


class Load:
    """Requests in a world's workers, which report the first one if they were asked to."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.rows: list[Any] = []
        self.number = 0

    def begin(self, count: int, worker: int | None = None) -> None:
        """Let so many requests begin, in one worker or spread over all."""
        ids = [worker] if worker is not None else self.world.serving
        for index in range(count):
            self.number += 1
            table = self.world.workers[ids[index % len(ids)]].request_table
            table.on_next_request = self._report
            self.rows.append(table.begin(self.number, "x", {"REQUEST_METHOD": "GET", "PATH_INFO": "/"}))

    def _report(self) -> None:
        self.world.loop.call_soon(self.world.scaler.request_began)

    def end(self) -> None:
        """Let all of them end."""
        for row in self.rows:
            row.end(1)
        self.rows.clear()


@pytest.fixture
def load(world: World) -> Load:
    return Load(world)


def timers(world: World) -> list[float]:
    """Return in how many seconds timers of the loop are due."""
    handles = world.loop._scheduled  # type: ignore[attr-defined]
    return [handle.when() - world.clock.now for handle in handles if not handle.cancelled()]


def told(world: World) -> list[tuple[int, int, str]]:
    """Return the changes that were told: from, to, cause."""
    return [(event.was, event.wanted, event.cause) for event in world.events if isinstance(event, ScaleEvent)]


def scale(world: World, **asked: Any) -> Any:
    """Order a number as the control socket does."""
    workers = Workers(world.fleet, world.changes, world.scaler, None, None)  # type: ignore[arg-type]
    return workers.order_scale(**{"to": None, "by": None, "seconds": None, **asked})


def test_it_grows_with_the_load_and_shrinks_when_it_is_quiet(world: World, load: Load) -> None:
    """Between the minimum and the maximum; each change is told in events, the audit log, `status` and metrics."""
    world.up("2..5", threads=4)
    world.play(2)
    load.begin(8)
    world.play(8)
    assert len(world.serving) == 3
    load.begin(8, worker=3)
    world.play(8)
    assert len(world.serving) == 5
    load.end()
    world.play(QUIET + 8)
    assert len(world.serving) == 2
    assert told(world) == [(2, 3, "threads"), (3, 5, "threads"), (5, 2, "quiet")]
    done = [entry for entry in world.entries if entry.command == "scale"]
    assert [entry.params for entry in done] == [{"to": 3, "was": 2}, {"to": 5, "was": 3}, {"to": 2, "was": 5}]
    assert done[0].by.detail == "itself: 8 of 8 threads were busy for 2 s"
    assert dict(world.fleet.history.scalings) == {"threads": 2, "quiet": 1}
    status = world.scaler.status()
    assert (status.setting, status.minimum, status.maximum) == ("2..5", 2, 5)
    assert status.why == "2 would have been enough for 60 s"
    assert status.since is not None
    assert world.fleet.history.starts == {"start": 2, "load": 3}
    assert world.fleet.history.ends["quiet"] == 3


def test_an_idle_instance_has_no_timer(world: World, load: Load) -> None:
    """With the minimum of workers there is none at all; with more there is one, for the moment when the number shrinks."""
    world.up("2..5", threads=4)
    world.play(3)
    assert timers(world) == []
    load.begin(8)
    world.play(10)
    assert len(world.serving) == 3
    load.end()
    world.play(2)
    (left,) = timers(world)
    assert QUIET - 5 < left <= QUIET
    world.play(left + 5)
    assert len(world.serving) == 2
    world.play(10)
    assert timers(world) == []
    assert world.scaler.status().limited == ""


def test_a_worker_that_comes_while_it_is_idle_reports_its_first_request_too(world: World, load: Load) -> None:
    """One that replaces another was not asked when the instance became idle."""
    world.up("1..5", threads=4)
    world.play(3)
    world.fleet.replace(world.fleet.serving[0], "max requests")
    world.play(8)
    assert world.serving == [2]
    assert timers(world) == []
    load.begin(4)
    world.play(6)
    assert len(world.serving) == 2


def test_nothing_changes_while_a_reload_is_under_way(world: World, load: Load) -> None:
    """The load of half a reload says nothing; after it the load must last again."""
    world.up("2..5", threads=4)
    load.begin(8)
    world.script = lambda worker: worker.serves(after=20)
    reload = world.changes.order_reload(check=None)
    world.play(39)
    assert not reload.done()
    assert told(world) == []
    assert world.fleet.wanted == 2


def test_replacing_workers_all_the_time_hides_no_load(world: World, load: Load) -> None:
    """With a low --max-requests there is always one that starts."""
    world.up("2..5", threads=4)
    load.begin(8)
    world.script = lambda worker: worker.serves(after=100)
    world.fleet.replace(world.fleet.serving[0], "max requests")
    world.play(5)
    assert told(world) == [(2, 3, "threads")]


def test_a_worker_that_cannot_start_is_given_up(world: World, load: Load) -> None:
    """The instance is not degraded for want of it, and tries again only when starts are calm."""
    world.up("2..5", threads=4)
    load.begin(8)
    world.script = lambda worker: worker.fails("no room", after=0.5)
    world.play(8)
    assert (world.fleet.wanted, len(world.serving)) == (2, 2)
    assert told(world) == [(2, 3, "threads"), (3, 2, "failure")]
    assert not any(world.degraded)
    world.play(7)
    assert len(told(world)) == 2
    world.script = lambda worker: worker.serves(after=1)
    world.play(20)
    assert len(world.serving) == 3


def test_a_number_of_an_operator_holds_for_a_time(world: World, load: Load) -> None:
    """Then the load decides again: at once within the bounds, and from there."""
    world.up("2..4", threads=4, scale_hold=100.0)
    answer = scale(world, to=6)
    world.play(3)
    assert answer.result().workers == 6
    assert answer.result().until == pytest.approx(world.clock.time() + 97)
    status = world.scaler.status()
    assert (status.scaled, status.until) == (6, answer.result().until)
    load.begin(24)
    world.play(50)
    assert len(world.serving) == 6
    load.end()
    world.play(46)
    assert len(world.serving) == 6
    world.play(6)
    assert len(world.serving) == 4
    assert told(world) == [(6, 4, "end")]
    assert world.scaler.status().why == "6 was set for 100 s"
    assert world.scaler.status().scaled is None
    world.play(QUIET + 5)
    assert len(world.serving) == 2


def test_an_operator_may_say_for_how_long_and_give_it_back(world: World) -> None:
    """`--for`, and `scale auto`; also where the number is fixed, where it holds for good without that."""
    world.up(2)
    assert scale(world, by=1).result is not None
    world.play(3)
    assert (world.fleet.wanted, world.scaler.status().until) == (3, None)
    assert timers(world) == []
    scale(world, to=4, seconds=30.0)
    world.play(29)
    assert world.fleet.wanted == 4
    world.play(5)
    assert world.fleet.wanted == 2
    scale(world, to=5)
    world.play(3)
    answer = scale(world)
    world.play(3)
    assert (answer.result().workers, answer.result().until) == (2, None)
    assert world.scaler.held is None


def test_a_number_that_cannot_be_reached_changes_nothing(world: World) -> None:
    """What held before holds again, and ends when it would have ended."""
    world.up("1..3")
    scale(world, to=2, seconds=60.0)
    world.play(5)
    world.script = lambda worker: worker.fails("no room", after=0.5)
    answer = scale(world, to=4, seconds=500.0)
    world.play(5)
    with pytest.raises(Failed, match="no room"):
        answer.result()
    assert (world.fleet.wanted, world.scaler.status().scaled) == (2, 2)
    world.play(55)
    assert world.scaler.status().scaled is None


def test_a_reload_brings_other_bounds(world: World) -> None:
    """A number within them stays; one that an operator has set is over if the setting has changed, and only then."""
    world.up("1..3")
    scale(world, to=3)
    world.play(3)
    world.changes.order_reload(check=None)
    world.play(10)
    assert world.scaler.status().scaled == 3
    world.reread(workers="2..8")
    world.changes.order_reload(check=None)
    world.play(10)
    assert (world.scaler.status().scaled, world.scaler.status().maximum) == (None, 8)
    assert world.fleet.wanted == 3
    world.reread(workers="1")
    world.changes.order_reload(check=None)
    world.play(10)
    assert (world.fleet.wanted, len(world.serving)) == (1, 1)


def test_a_failed_reload_keeps_bounds_and_number(world: World) -> None:
    """A worker of the new version that does not load undoes all of it."""
    world.up("1..3")
    scale(world, to=3, seconds=300.0)
    world.play(3)
    world.reread(workers="5..8")
    world.script = lambda worker: worker.fails("no module", after=0.5)
    world.changes.order_reload(check=None)
    world.play(5)
    status = world.scaler.status()
    assert (world.fleet.wanted, status.setting, status.scaled) == (3, "1..3", 3)


@pytest.mark.parametrize(
    ("free", "share", "cores", "workers", "why"),
    [
        (16 * 1024, 100, 8, 8, "8 CPUs"),
        (
            512,
            100,
            129,
            4,
            (
                "129 CPUs, but memory for 4: 512 MiB are free in the control group, a worker takes 125 MiB, and a reload needs "
                "room for one more"
            ),
        ),
        (100, 100, 8, 1, None),
        (1500, 100, 2, 2, "2 CPUs"),
        (512, None, 4, 4, "4 CPUs"),
    ],
)
def test_auto_measures_the_first_worker(
    world: World, machine: Machine, free: int, share: int | None, cores: int, workers: int, why: str | None
) -> None:
    """If the memory may not have room for one on each CPU; the instance is up when as many as have room serve."""
    machine.capacity = Capacity(cores, None, Memory(2 * free * MIB, free * MIB), limited=True)
    machine.share = None if share is None else share * MIB
    world.begin("auto")
    world.play(0.5)
    assert len(world.workers) == (1 if free < cores * 1024 and cores > 1 else cores)
    world.play(1)
    assert not world.fleet.up.done() or workers in {1, len(world.serving)}
    world.play(2)
    assert (len(world.serving), world.fleet.up.done()) == (workers, True)
    status = world.scaler.status()
    assert (status.minimum, status.maximum) == (workers, workers)
    assert why is None or status.why == why
    assert timers(world) == []


def kill_for_memory(world: World, ident: int) -> None:
    worker: ScriptedWorker = world.workers[ident]
    worker.scripted.out_of_memory = True
    worker.dies("killed by SIGKILL: out of memory (the kernel's OOM killer)")


def test_after_an_oom_kill_the_load_gets_no_worker_that_did_not_fit(world: World, load: Load) -> None:
    """The number shrinks by the one that was killed, although the load needs more."""
    world.up("1..5", threads=2)
    load.begin(16)
    world.play(20)
    assert len(world.serving) == 5
    kill_for_memory(world, world.serving[-1])
    world.play(60)
    assert (world.fleet.wanted, len(world.serving)) == (4, 4)
    assert told(world)[-1] == (5, 4, "memory")
    assert "5 were too many for the memory" in world.scaler.status().limited


def test_after_an_oom_kill_an_automatic_number_is_smaller(world: World, machine: Machine) -> None:
    """It was flaskd's choice, so flaskd corrects it; `scale auto` counts anew."""
    machine.capacity = Capacity(3, None, Memory(64 << 30, 32 << 30))
    world.up("auto")
    kill_for_memory(world, 2)
    world.play(60)
    assert (world.fleet.wanted, len(world.serving)) == (2, 2)
    assert world.scaler.status().why == "the OOM killer has killed one of 3 workers"
    scale(world)
    world.play(5)
    assert len(world.serving) == 3
    assert world.scaler.status().why == "3 CPUs"


def test_after_an_oom_kill_a_fixed_number_comes_back_with_a_delay(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    """And it is said: the operator's number is kept, so it may happen again."""
    world.up(2)
    kill_for_memory(world, 1)
    world.play(OOM_PAUSE - 0.5)
    assert len(world.fleet.members) == 1
    world.play(2)
    assert len(world.serving) == 2
    line = "out of memory: the kernel has killed worker 1 of 2; the next starts in 5 s"
    assert line in capsys.readouterr().err
    world.workers[2].dies("killed by SIGKILL")  # any other end is answered at once
    world.play(1.5)
    assert len(world.fleet.in_state(WorkerState.SERVING)) == 2


def test_growth_stops_where_the_memory_ends(world: World, load: Load, machine: Machine) -> None:
    """One worker's room is kept for a reload."""
    world.up("1..5", threads=2)
    machine.capacity = Capacity(8, None, Memory(1024 * MIB, 270 * MIB))
    load.begin(16)
    world.play(4)
    assert len(world.serving) == 2
    machine.capacity = Capacity(8, None, Memory(1024 * MIB, 150 * MIB))
    world.play(20)
    assert len(world.serving) == 2
    assert world.scaler.status().limited.endswith("but the memory has no room for one more")
