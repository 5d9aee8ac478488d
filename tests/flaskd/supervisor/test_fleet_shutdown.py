"""The last shutdown of a fleet: in order, to one deadline, and nothing that is lost goes uncounted or is counted twice."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import cast

import pytest

from flaskd.channel.messages import Done, Stopped
from flaskd.ledger.row import Row
from flaskd.listening.listeners import Listener
from flaskd.shutdown import phases
from flaskd.shutdown.phases import Action, LameDuck, Phase, StopTimes
from flaskd.supervisor.fleet_shutdown import REPORT_TIME, FleetShutdown
from flaskd.supervisor.launcher import Launcher
from flaskd.supervisor.plan import WorkerState
from flaskd_ctl.protocol import InFlight
from tests.flaskd.supervisor.conftest import ScriptedWorker, World


class ScriptedListener:
    """Has so many in its queue, and notes what is done to it."""

    def __init__(self) -> None:
        self.url = "http://127.0.0.1:8000"
        self.queue = 0
        self.is_half_open = False
        self.block_is_inherited = False
        self.done: list[str] = []

    def queued(self) -> bool:
        return self.queue > 0

    def queue_length(self) -> int:
        return self.queue

    def half_open(self) -> bool:
        return self.is_half_open

    def block_new(self) -> None:
        self.done.append("turn away")

    def close(self) -> None:
        self.done.append("close")


class Driven:
    """A stop under way, as the owner drives it: a step whenever something may have changed."""

    def __init__(
        self,
        world: World,
        listener: ScriptedListener,
        *,
        grace: float = 30.0,
        lame_duck: float = 0.0,
        unrouted: float = 0.0,
    ) -> None:
        self.world = world
        times = StopTimes(grace, 0.5, LameDuck(lame_duck, unrouted))
        self.stop = phases.Stop(times, now=world.clock.now, notified=False, report_time=REPORT_TIME)
        self.launcher = cast(Launcher, SimpleNamespace(closing=False))
        self.fleet_shutdown = FleetShutdown(world.fleet, cast(Sequence[Listener], [listener]), self.launcher)
        self.actions: list[Action] = []

    def play(self, seconds: float) -> None:
        """Let so much time pass, with a look ten times a second."""
        until = self.world.clock.now + seconds
        while self.world.clock.now < until and self.stop.phase is not Phase.DONE:
            self.look()
            self.world.play(0.1)

    def look(self) -> None:
        while self.stop.phase is not Phase.DONE:
            phase = self.stop.phase
            step = self.stop.step(self.fleet_shutdown.snapshot(self.stop))
            for action in step.actions:
                self.actions.append(action)
                self.fleet_shutdown.carry_out(action, self.stop)
            if self.stop.phase is phase and not step.actions:
                return


@pytest.fixture
def listener() -> ScriptedListener:
    return ScriptedListener()


@pytest.fixture(autouse=True)
def same_clock(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flaskd.supervisor.fleet_shutdown.time", world.clock)


def ask(worker: ScriptedWorker, path: str, number: int = 1) -> Row:
    """A request comes into the worker's application, and stays until its slot is ended."""
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": path, "QUERY_STRING": "", "REMOTE_ADDR": "127.0.0.1"}
    return worker.request_table.begin(number, f"id-{number}", environ)


def cut_by(worker: ScriptedWorker) -> Stopped:
    """What the worker itself would answer."""
    cut = worker.request_table.requests()
    return Stopped(cut=cut, connections_cut=len(cut))


def paths(requests: list[InFlight]) -> list[tuple[int, str]]:
    return sorted((request.worker, request.path) for request in requests)


def test_an_idle_fleet_leaves_in_order(world: World, listener: ScriptedListener) -> None:
    """New ones are turned away, all are told to leave, the listener is closed when all are deaf; nothing is cut."""
    world.up(3)

    def leave(worker: ScriptedWorker) -> None:
        worker.stops_accepting(after=0.3)
        worker.leaves(after=1)

    world.leave_script = leave
    stop = Driven(world, listener)

    stop.play(0.2)
    assert [each.state for each in world.fleet.members.values()] == [WorkerState.LEAVING] * 3
    assert listener.done == ["turn away"]
    stop.play(0.4)
    assert listener.done == ["turn away", "close"]
    assert len(world.fleet.members) == 3
    stop.play(5)

    assert stop.stop.phase is Phase.DONE
    assert not world.fleet.members
    assert stop.fleet_shutdown.losses() == ([], 0, 0, 0)
    assert not world.incidents


def test_a_lame_duck_stays_while_any_worker_gets_requests(world: World, listener: ScriptedListener) -> None:
    """What has begun counts, in whichever worker, also if it is over by the next look; so does what waits in the queue."""
    world.up(2)
    workers = [world.workers[number] for number in world.serving]
    stop = Driven(world, listener, lame_duck=60, unrouted=2)

    for number in range(1, 5):
        stop.play(1.5)
        ask(workers[number % 2], "/", number).end(1)
    stop.play(1.5)
    listener.queue = 1
    stop.play(4)
    assert stop.stop.phase is Phase.LAME_DUCK
    assert listener.done == []
    listener.queue = 0
    stop.play(3)

    assert "turn away" in listener.done


def test_the_queue_is_emptied_before_anybody_goes_deaf(world: World, listener: ScriptedListener) -> None:
    """Workers accept until it is empty."""
    world.up(2)
    listener.queue = 5
    stop = Driven(world, listener)

    stop.play(3)
    assert len(world.serving) == 2
    listener.queue = 0
    stop.play(5)

    assert stop.stop.phase is Phase.DONE
    assert stop.fleet_shutdown.losses() == ([], 0, 0, 0)


def test_a_queue_that_nobody_can_empty_is_not_waited_for(world: World, listener: ScriptedListener) -> None:
    """Once the only worker that loads has failed, what waits is cut at once, and counted."""
    world.script = lambda worker: worker.fails("no module named shop", after=2)
    world.begin(1)
    listener.queue = 3
    listener.is_half_open = True
    stop = Driven(world, listener)

    stop.play(1.9)
    assert listener.done == ["turn away"]
    stop.play(0.4)

    assert stop.stop.phase is Phase.DONE
    assert stop.fleet_shutdown.losses() == ([], 0, 3, 0)
    assert world.story[-1] == "1 gone"


def test_what_waits_while_the_first_workers_load_is_answered(
    world: World, listener: ScriptedListener
) -> None:
    """A worker that loads goes on loading; the listener is closed once the queue is empty."""
    world.script = lambda worker: worker.serves(after=5) if worker.id == 1 else None
    world.begin(2)
    listener.queue = 3
    stop = Driven(world, listener)

    stop.play(6)
    assert (world.serving, listener.done) == ([1], ["turn away"])
    listener.queue = 0
    stop.play(5)

    assert stop.stop.phase is Phase.DONE
    assert stop.fleet_shutdown.losses() == ([], 0, 0, 0)
    assert not world.incidents


def test_a_worker_that_loads_is_waited_for_up_to_the_deadline(
    world: World, listener: ScriptedListener
) -> None:
    """What waits then is cut, and counted."""
    world.script = lambda worker: None
    world.begin(1)
    listener.queue = 3
    stop = Driven(world, listener, grace=3)

    stop.play(2.9)
    assert listener.done == ["turn away"]
    stop.play(0.4)

    assert stop.stop.phase is Phase.DONE
    assert stop.fleet_shutdown.losses() == ([], 0, 3, 0)


def test_nobody_waits_for_a_worker_that_loads_if_nobody_is_in_the_queue(
    world: World, listener: ScriptedListener
) -> None:
    """The stop is as fast as before."""
    world.script = lambda worker: None
    world.begin(2)
    stop = Driven(world, listener)

    stop.play(0.4)

    assert stop.stop.phase is Phase.DONE
    assert world.story[-2:] == ["1 gone", "2 gone"]


def test_what_a_worker_cut_is_in_the_result(world: World, listener: ScriptedListener) -> None:
    """By name and worker; the others had nothing to cut."""
    world.up(2)
    ask(world.workers[1], "/long")
    world.leave_script = lambda worker: None
    stop = Driven(world, listener, grace=3)
    stop.play(2.9)
    assert not world.incidents
    for worker in list(world.workers.values()):
        worker.calls["StopGracefully"].set_result(cut_by(worker))
        world.loop.call_soon(worker.dies, "exit code 0")

    stop.play(5)

    losses = stop.fleet_shutdown.losses()
    assert paths(losses.cut) == [(1, "/long")]
    assert losses.connections_cut == 1


def test_who_has_not_gone_a_little_after_the_deadline_is_killed_and_named(
    world: World, listener: ScriptedListener
) -> None:
    """From shared memory: a worker that hangs says nothing. Connections beyond its requests are counted as they are then."""
    fleet = world.up(2)
    ask(world.workers[2], "/hangs")
    open_now = {world.workers[1].pid: 0, world.workers[2].pid: 3}
    world.connections = lambda pid: open_now[pid]
    world.workers[1].connections_seen = 7  # as a status had shown it, long ago
    world.leave_script = lambda worker: None
    stop = Driven(world, listener, grace=3)

    stop.play(3 + REPORT_TIME - 0.2)
    assert Action.CUT not in stop.actions
    stop.play(2)

    losses = stop.fleet_shutdown.losses()
    assert paths(losses.cut) == [(2, "/hangs")]
    assert losses.connections_cut == 3
    world.play(1)
    assert not fleet.members


def test_a_worker_that_said_what_it_cut_and_does_not_end_is_counted_once(
    world: World, listener: ScriptedListener
) -> None:
    """Its application's clean-up may be slow, and the request that it cut still stand in shared memory."""
    world.up(1)
    ask(world.workers[1], "/long")
    world.connections = lambda pid: 1
    world.leave_script = lambda worker: None
    stop = Driven(world, listener, grace=1)
    stop.play(1.2)
    world.workers[1].calls["StopGracefully"].set_result(cut_by(world.workers[1]))

    stop.play(10)

    losses = stop.fleet_shutdown.losses()
    assert paths(losses.cut) == [(1, "/long")]
    assert losses.connections_cut == 1


def test_a_worker_that_dies_while_leaving_loses_what_it_had(world: World, listener: ScriptedListener) -> None:
    """The kernel's out-of-memory killer may strike then as well."""
    world.up(2)
    ask(world.workers[1], "/long")
    world.leave_script = lambda worker: worker.leaves(after=1) if worker.id == 2 else None
    stop = Driven(world, listener)
    stop.play(0.5)
    world.workers[1].dies("killed by SIGKILL")

    stop.play(5)

    losses = stop.fleet_shutdown.losses()
    assert stop.stop.phase is Phase.DONE
    assert paths(losses.cut) == [(1, "/long")]
    assert losses.connections_cut == 1
    assert world.fleet.history.restarts == 0


def test_an_earlier_deadline_reaches_the_workers(world: World, listener: ScriptedListener) -> None:
    """A second shutdown with less time: whoever has been told to leave is told again."""
    world.up(1)
    told: list[float] = []
    world.leave_script = lambda worker: told.append(world.clock.now)
    stop = Driven(world, listener, grace=30)
    stop.play(0.5)
    stop.stop.hasten(StopTimes(1, 0.5), now=world.clock.now)
    stop.play(0.2)

    assert len(told) == 2
    stop.play(1 + REPORT_TIME + 0.5)
    assert stop.stop.phase is Phase.DONE


def test_who_steps_back_already_and_who_starts_leave_with_the_rest(
    world: World, listener: ScriptedListener
) -> None:
    """A shutdown in the middle of a reload: one old worker lingers, a new one loads the application."""
    world.up(2)
    world.leave_script = lambda worker: worker.stops_accepting(after=0.1)
    world.script = lambda worker: worker.serves(after=1) if worker.id == 3 else None
    reload = world.changes.order_reload(check=None)
    world.play(1.5)
    assert [each.state.value for each in world.fleet.members.values()] == [
        *("leaving", "serving", "serving", "starting")
    ]
    world.leave_script = lambda worker: worker.leaves(after=0.5)
    stop = Driven(world, listener)

    stop.play(5)

    assert stop.stop.phase is Phase.DONE
    assert "stopping" in str(reload.exception(0))
    assert stop.fleet_shutdown.losses() == ([], 0, 0, 0)
    assert not world.incidents


def test_draining_is_said_to_every_worker(world: World, listener: ScriptedListener) -> None:
    """`Connection: close` comes from all of them; whoever is started meanwhile learns it at its start."""
    world.up(2)
    stop = Driven(world, listener)

    stop.fleet_shutdown.announce_close(closing=True)

    assert all("AnnounceClose" in worker.calls for worker in world.workers.values())
    assert stop.launcher.closing


@pytest.mark.parametrize("inherited", [True, False])
def test_what_connections_inherit_of_the_turning_away_is_taken_off_while_the_queue_empties(
    world: World, listener: ScriptedListener, inherited: bool
) -> None:
    """Without the privilege for a filter: what a worker accepts then would wait for its second segment. One look at a time."""
    world.up(1)
    listener.queue, listener.block_is_inherited = 3, inherited
    stop = Driven(world, listener)

    stop.play(0.3)

    calls = world.workers[1].calls
    assert ("TakeAccepted" in calls) == inherited
    if inherited:
        asked = calls["TakeAccepted"]
        stop.play(0.3)
        assert world.workers[1].calls["TakeAccepted"] is asked
        asked.set_result(Done())
        stop.play(0.3)
        assert world.workers[1].calls["TakeAccepted"] is not asked


def test_a_worker_that_dies_in_the_stop_keeps_it_from_being_called_clean(
    world: World, listener: ScriptedListener
) -> None:
    """What it had accepted and nobody knows of is lost too; one that had not begun to accept loses nothing."""
    world.up(2)
    world.leave_script = lambda worker: worker.stops_accepting(after=0.1)
    stop = Driven(world, listener)
    stop.play(0.5)

    world.workers[1].dies("killed by SIGKILL")
    world.workers[2].leaves()
    stop.play(1)

    assert stop.stop.phase is Phase.DONE
    assert stop.fleet_shutdown.losses() == ([], 0, 0, 1)


def test_streams_are_told_before_the_queue_is_empty(world: World, listener: ScriptedListener) -> None:
    """They may hold the threads that what is in the queue waits for; a lame duck still serves them."""
    world.up(2)
    listener.queue = 3
    driven = Driven(world, listener, lame_duck=5)

    driven.play(4)
    assert all("AnnounceStopping" not in worker.calls for worker in world.workers.values())
    driven.play(3)

    assert driven.stop.phase is Phase.EMPTYING
    assert all("AnnounceStopping" in worker.calls for worker in world.workers.values())
    assert all("StopGracefully" not in worker.calls for worker in world.workers.values())
