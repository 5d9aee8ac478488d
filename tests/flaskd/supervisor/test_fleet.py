"""The fleet at work: what an operator orders happens one step at a time, and fails without harm."""

import errno
from concurrent.futures import Future
from typing import Any

import pytest

from flaskd.channel.messages import Loaded
from flaskd.supervisor.overdue import LEAVE_TIME, STACKS_TIME
from flaskd.supervisor.plan import CRASH_LOOP, PAUSES
from flaskd_ctl.errors import ControlError, Failed, NotFound, WrongState
from flaskd_ctl.protocol import WorkerEvent
from tests.flaskd.supervisor.conftest import ScriptedWorker, World


def refused(future: "Future[Any]") -> ControlError:
    error = future.exception(0)
    assert isinstance(error, ControlError)
    return error


def broken(worker: ScriptedWorker) -> None:
    worker.fails("no module named till", "Traceback: till", after=1)


def test_the_first_workers_start_together_and_up_says_when_all_serve(world: World) -> None:
    """A fleet of three is up when the slowest serves."""
    world.script = lambda worker: worker.serves(after=worker.id)
    fleet = world.begin(3)

    world.play(2.5)
    assert not fleet.up.done()
    world.play(1)

    assert fleet.up.result(0) is None
    assert world.story == [f"{number} {state}" for state in ("starting", "serving") for number in (1, 2, 3)]


def test_a_first_worker_that_cannot_start_fails_the_daemons_start(world: World) -> None:
    """Whoever waits for the start gets what the worker said, traceback included."""
    world.script = broken
    fleet = world.begin(2)

    world.play(2)

    error = fleet.up.exception(0)
    assert isinstance(error, Failed)
    assert (str(error), error.data["traceback"]) == ("no module named till", "Traceback: till")


def test_a_crash_while_another_first_worker_loads_is_a_crash(world: World) -> None:
    """A request may have killed it. The instance is up when as many serve as are wanted."""
    world.script = lambda worker: worker.serves(after=6 if worker.id == 2 else 1)
    fleet = world.begin(2)
    world.play(1.5)

    world.workers[1].dies("exit code 3")
    world.play(2)

    assert not fleet.up.done()
    assert [(each.incident.kind, each.incident.reason) for each in world.incidents] == [
        ("crash", "exit code 3")
    ]
    assert world.workers[3].why == "crash: exit code 3"
    world.play(3)
    assert fleet.up.result(0) is None
    assert world.serving == [2, 3]


def test_a_worker_that_accepts_and_has_not_yet_said_so_crashes_too(world: World) -> None:
    """It was told to serve: a request may have reached it."""
    world.script = lambda worker: worker.serves(after=1) if worker.id > 1 else worker.receive(Loaded())
    fleet = world.begin(1)

    world.workers[1].dies("killed by SIGSEGV")
    world.play(2)

    assert fleet.up.result(0) is None
    assert [each.incident.kind for each in world.incidents] == ["crash"]
    assert (fleet.history.restarts, world.serving) == (1, [2])


def test_a_worker_that_was_told_to_serve_and_cannot_fails_the_start(world: World) -> None:
    """It says why."""

    def script(worker: ScriptedWorker) -> None:
        worker.receive(Loaded())
        worker.fails("can't start new thread", after=1)

    world.script = script
    fleet = world.begin(1)
    world.play(2)
    assert str(fleet.up.exception(0)) == "can't start new thread"


def test_a_reload_replaces_one_after_the_other_new_before_old(world: World) -> None:
    """At no moment serve fewer than before, and a third is started only when the first has gone deaf's way."""
    world.up(2)

    future = world.changes.order_reload(check="/health")
    world.play(10)

    result = future.result(0)
    assert world.story == [
        *("3 starting", "3 serving", "1 leaving", "4 starting", "1 gone"),
        *("4 serving", "2 leaving", "2 gone"),
    ]
    assert world.least_serving == 2
    assert (result.replaced, result.workers, result.generation, result.joined) == (2, 2, 2, False)
    assert [world.workers[number].first.check for number in (1, 3, 4)] == ["", "/health", "/health"]
    assert world.serving == [3, 4]


def test_who_leaves_says_why_it_leaves_not_why_it_came(world: World) -> None:
    """Replaced, too many, or because all are to leave."""
    fleet = world.up(2)
    world.changes.order_restart(1)
    world.play(10)
    world.changes.order_scale(to=1, by=None)
    world.play(10)
    fleet.hold()
    fleet.serving[0].stop_gracefully(grace=1, linger=0)
    world.play(10)

    assert [
        event.why for event in world.events if isinstance(event, WorkerEvent) and event.state == "leaving"
    ] == ["restart", "scale", "shutdown"]


def test_a_reload_is_done_when_the_old_ones_accept_nothing_not_when_they_are_gone(world: World) -> None:
    """An old worker may have a long request to finish."""
    world.up(1)
    world.leave_script = lambda worker: worker.stops_accepting(after=3)

    future = world.changes.order_reload(check=None)
    world.play(3.5)
    assert not future.done()
    world.play(1)

    assert future.done()
    assert world.story[-1] == "1 leaving"


def test_a_failed_start_in_mid_reload_leaves_the_rest_serving(world: World) -> None:
    """The reload ends there: its error has the traceback, nobody is due any more, nothing more is started."""
    fleet = world.up(3)
    world.script = lambda worker: worker.serves(after=1) if worker.id == 4 else broken(worker)

    future = world.changes.order_reload(check=None)
    world.play(100)

    error = refused(future)
    assert isinstance(error, Failed)
    assert str(error) == "worker 5 could not start: no module named till; 3 workers serve on"
    assert error.data["traceback"] == "Traceback: till"
    assert world.serving == [2, 3, 4]
    assert not any(member.due for member in fleet.members.values())
    assert max(world.workers) == 5
    assert world.least_serving == 3
    assert fleet.history.last_failure is not None
    assert fleet.history.last_failure.traceback == "Traceback: till"
    assert not any(world.degraded)


def test_a_failed_reload_changes_no_setting(world: World) -> None:
    """Not the number of workers either: else the code that fails would be started again and again for the missing ones."""
    fleet = world.up(2)
    world.script = broken
    world.reread(workers="4", threads=3)

    error = refused_after(world, world.changes.order_reload(check="/health"))

    assert "2 workers serve on" in str(error)
    assert (fleet.wanted, fleet.settings.threads) == (2, 16)
    world.play(100)
    assert world.serving == [1, 2]
    assert not fleet.degraded
    world.script = lambda worker: worker.serves(after=1)
    future = world.changes.order_reload(check=None)
    world.play(20)
    assert sorted(future.result(0).changed) == ["threads", "workers"]
    assert (fleet.wanted, len(world.serving)) == (4, 4)
    assert world.workers[max(world.workers)].first.check == ""


def refused_after(world: World, future: "Future[Any]", seconds: float = 5) -> ControlError:
    world.play(seconds)
    return refused(future)


def test_a_reload_says_what_only_a_restart_can_change(world: World) -> None:
    """What the supervisor has used itself stays as it is."""
    fleet = world.up(1)
    world.reread(engine="granian", bind=("127.0.0.1:1",), threads=3)

    future = world.changes.order_reload(check=None)
    world.play(5)

    result = future.result(0)
    assert sorted(result.changed) == ["bind", "engine", "threads"]
    assert result.needs_restart == ["bind"]
    assert (fleet.settings.bind, fleet.settings.engine) == (("127.0.0.1:8000",), "granian")


def test_a_reload_during_a_reload_is_one_more_that_all_share(world: World) -> None:
    """Never two at once: the second loads what was there when it was asked for, or later."""
    world.up(2)

    first = world.changes.order_reload(check=None)
    world.play(0.5)
    more = [world.changes.order_reload(check=None) for _ in range(3)]
    world.play(4)
    assert first.done()
    assert not any(future.done() for future in more)
    world.play(10)

    results = [future.result(0) for future in more]
    assert [result.generation for result in (first.result(0), *results)] == [2, 3, 3, 3]
    assert [result.joined for result in results] == [False, True, True]
    assert max(world.workers) == 6
    assert world.least_serving == 2


def test_reloads_with_different_checks_are_not_one(world: World) -> None:
    """Whoever asked for a check is not told "done" after another's; who asked for none shares either."""
    world.up(1)
    world.changes.order_reload(check=None)
    world.play(0.5)

    asked = [world.changes.order_reload(check=check) for check in ("/a", None, "/b", "/a")]
    world.play(20)

    assert [future.result(0).generation for future in asked] == [3, 3, 4, 3]
    assert [world.workers[number].first.check for number in (2, 3, 4)] == ["", "/a", "/b"]


def test_a_reload_that_waited_is_tried_though_the_one_before_failed(world: World) -> None:
    """Whoever asked again may have mended the code meanwhile."""
    world.up(1)
    world.script = lambda worker: broken(worker) if worker.id == 2 else worker.serves(after=1)

    first = world.changes.order_reload(check=None)
    world.play(0.5)
    second = world.changes.order_reload(check=None)
    world.play(10)

    assert "worker 2 could not start" in str(refused(first))
    assert second.result(0).generation == 3
    assert world.serving == [3]


def test_the_check_of_a_reload_holds_for_that_reload_and_all_of_it(world: World) -> None:
    """Also for workers that are started after a scale was done beside it; not for those of a later crash."""
    world.up(3)
    world.changes.order_reload(check="/health")
    world.changes.order_scale(to=2, by=None)

    world.play(20)
    assert [world.workers[number].first.check for number in (4, 5)] == ["/health", "/health"]
    world.workers[5].dies("killed by SIGKILL")
    world.play(2)

    assert world.workers[6].first.check == ""


def test_scaling_during_a_reload_is_both(world: World) -> None:
    """In the end so many serve as were asked for last, and none of them is old."""
    world.up(2)

    reload = world.changes.order_reload(check=None)
    world.play(0.5)
    scale = world.changes.order_scale(to=4, by=None)
    world.play(20)

    assert (scale.result(0).workers, scale.result(0).was) == (4, 2)
    assert reload.result(0).replaced == 2
    assert len(world.serving) == 4
    assert min(world.serving) > 2
    assert world.least_serving == 2


def test_scaling_down_steps_back_at_once(world: World) -> None:
    """The newest go; nobody is started."""
    world.up(3)

    future = world.changes.order_scale(to=None, by=-2)
    world.play(1)

    assert (future.result(0).workers, future.result(0).was) == (1, 3)
    assert world.serving == [1]
    assert max(world.workers) == 3


@pytest.mark.parametrize(("to", "by_count"), [(0, None), (None, -2), (100_000, None)])
def test_an_impossible_number_of_workers_changes_nothing(
    world: World, to: int | None, by_count: int | None
) -> None:
    """At least one, and no more than could ever be meant."""
    fleet = world.up(2)

    with pytest.raises(WrongState, match=r"cannot run .* workers"):
        world.changes.order_scale(to=to, by=by_count)

    world.play(5)
    assert (fleet.wanted, world.serving, world.story) == (2, [1, 2], [])


def test_a_scale_that_fails_restores_the_number(world: World) -> None:
    """Where one of two cannot start, the other goes again; of two scales at once, neither has been."""
    fleet = world.up(2)
    world.script = lambda worker: worker.serves(after=0.5) if worker.id == 3 else broken(worker)

    up = world.changes.order_scale(to=4, by=None)
    world.play(0.2)
    more = world.changes.order_scale(to=5, by=None)
    world.play(50)

    assert "could not start" in str(refused(up))
    assert "could not start" in str(refused(more))
    assert fleet.wanted == 2
    assert world.serving == [1, 2]
    assert max(world.workers) <= 5


def test_a_worker_is_replaced_by_a_restart_alone(world: World) -> None:
    """New before old, and no other worker is touched."""
    world.up(3)

    future = world.changes.order_restart(2)
    world.play(5)

    assert (future.result(0).worker, future.result(0).replaced) == (4, 2)
    assert world.story == ["4 starting", "4 serving", "2 leaving", "2 gone"]
    assert world.workers[4].why == "restart"


@pytest.mark.parametrize("gone", [False, True])
def test_a_restart_of_an_unknown_worker_is_not_found(world: World, gone: bool) -> None:
    """One that leaves is not known any more; the hint names those that are."""
    world.up(2)
    world.leave_script = lambda worker: None
    if gone:
        world.changes.order_restart(1)
        world.play(2)

    with pytest.raises(NotFound, match="no worker") as caught:
        world.changes.order_restart(1 if gone else 7)

    assert "2" in caught.value.hint


def test_a_restart_outlives_the_reload_that_failed_beside_it(world: World) -> None:
    """A new worker that crashes ends the reload; who waits for a restart is still answered."""
    world.up(3)
    reload = world.changes.order_reload(check=None)
    world.play(1.1)  # 4 serves, 5 starts
    restart = world.changes.order_restart(3)
    world.workers[4].dies("killed by SIGSEGV")
    world.play(30)

    assert "worker 4 ended: killed by SIGSEGV" in str(refused(reload))
    assert restart.result(0).replaced == 3
    assert len(world.serving) == 3


def test_an_old_worker_that_crashes_does_not_fail_the_reload(world: World) -> None:
    """It was to go anyway; the crash is counted, and kept as an incident."""
    fleet = world.up(3)

    future = world.changes.order_reload(check=None)
    world.play(0.5)
    world.workers[2].dies("killed by SIGKILL")
    world.play(20)

    assert future.result(0).workers == 3
    assert min(world.serving) > 3
    assert fleet.history.restarts == 1
    assert [(event.incident.kind, event.incident.worker) for event in world.incidents] == [("crash", 2)]


def test_a_new_worker_that_crashes_fails_the_reload(world: World) -> None:
    """What is being rolled out does not last; those that are left serve on, and the lost one is replaced."""
    world.up(2)

    future = world.changes.order_reload(check=None)
    world.play(1.2)
    world.workers[3].dies("killed by SIGSEGV")
    world.play(20)

    assert "worker 3 ended: killed by SIGSEGV" in str(refused(future))
    assert 2 in world.serving
    assert len(world.serving) == 2


def test_a_stop_during_a_reload_ends_it_and_what_starts(world: World) -> None:
    """Nothing is started any more; who waits is told; who is asked for more says no."""
    fleet = world.up(2)
    world.script = lambda worker: None
    first = world.changes.order_reload(check=None)
    second = world.changes.order_reload(check=None)
    world.play(1)

    fleet.hold()
    world.play(100)

    assert isinstance(refused(first), WrongState)
    assert str(refused(first)) == "the instance is stopping"
    assert isinstance(refused(second), WrongState)
    assert world.serving == [1, 2]
    assert world.story == ["3 starting", "3 gone"]
    assert not world.incidents
    for order in (
        lambda: world.changes.order_reload(check=None),
        lambda: world.changes.order_scale(to=3, by=None),
        lambda: world.changes.order_restart(1),
    ):
        with pytest.raises(WrongState, match="stopping cannot be changed"):
            order()


def test_nothing_can_be_changed_before_it_is_up(world: World) -> None:
    """A starting instance is not reloaded."""
    world.begin(1)

    with pytest.raises(WrongState, match="starting cannot be changed"):
        world.changes.order_reload(check=None)


def test_a_crash_is_replaced_at_once(world: World) -> None:
    """The first failure in a row is not put off; why it was started is told."""
    fleet = world.up(2)

    world.workers[1].dies("killed by SIGKILL")
    world.play(1.01)

    assert world.serving == [2, 3]
    assert world.workers[3].why == "crash: killed by SIGKILL"
    assert (fleet.history.restarts, fleet.degraded) == (1, False)


def test_a_crash_loop_is_degraded_and_recovers_by_itself(world: World) -> None:
    """Starts are tried ever more seldom; when one succeeds the fleet is whole again without being asked."""
    fleet = world.up(1)
    world.script = broken

    world.workers[1].dies("killed by SIGKILL")
    world.play(sum(PAUSES[:CRASH_LOOP]) + 3 * CRASH_LOOP)
    assert fleet.degraded
    tried = len(world.workers)
    world.play(600)
    assert len(world.workers) - tried <= 600 / PAUSES[-1] + len(PAUSES)
    world.script = lambda worker: worker.serves(after=1)
    world.play(PAUSES[-1] + 2)

    assert len(world.serving) == 1
    assert world.degraded[-1] is False


def test_whoever_asks_for_a_reload_in_a_crash_loop_does_not_wait_for_the_pause(world: World) -> None:
    """The code may have been mended: it is tried at once."""
    fleet = world.up(1)
    world.script = broken
    world.workers[1].dies("killed by SIGKILL")
    world.play(200)
    assert fleet.degraded
    world.script = lambda worker: worker.serves(after=1)

    future = world.changes.order_reload(check=None)
    world.play(1.1)

    assert future.result(0).workers == 1
    assert not any(world.degraded[-1:])


def test_whoever_wants_no_more_than_serve_ends_a_crash_loop(world: World) -> None:
    """Nothing changes among the workers then; it is told all the same."""
    world.up(2)
    world.script = broken
    world.workers[1].dies("killed by SIGKILL")
    world.play(200)
    assert world.degraded[-1:] == [True]
    story = list(world.story)

    future = world.changes.order_scale(to=1, by=None)
    world.play(0.1)

    assert future.result(0).workers == 1
    assert world.degraded[-1:] == [False]
    assert world.story == story


def test_a_worker_that_does_not_start_in_time_is_ended_with_its_stacks_asked_for(world: World) -> None:
    """--start-timeout: the reload fails with the reason, and the old worker serves on."""
    world.up(1, start_timeout=5)
    world.script = lambda worker: None

    future = world.changes.order_reload(check=None)
    world.play(5 + STACKS_TIME + 0.1)

    assert "did not serve within 5 s" in str(refused(future))
    assert len(world.workers[2].scripted.signals) == 1
    assert [event.incident.kind for event in world.incidents] == ["start failed"]
    assert world.serving == [1]


def test_a_worker_that_does_not_leave_is_ended(world: World) -> None:
    """Its grace period and a while more: then it is put down, as hung."""
    fleet = world.up(1, grace=5)
    world.leave_script = lambda worker: None

    world.changes.order_reload(check=None)
    world.play(1 + 5 + LEAVE_TIME + STACKS_TIME + 1)

    assert world.story[-1] == "1 gone"
    assert [event.incident.kind for event in world.incidents] == ["hung"]
    assert fleet.history.restarts == 0


def test_a_process_that_cannot_be_started_is_a_failed_start(world: World) -> None:
    """No descriptors, no memory: the change fails, what serves serves on, and it is tried again later, not at once."""
    fleet = world.up(1)
    world.cannot_start = "Too many open files"

    future = world.changes.order_scale(to=3, by=None)
    world.play(5)

    assert "could not be started: Too many open files" in str(refused(future))
    assert (fleet.wanted, world.serving) == (1, [1])
    world.workers[1].dies("killed by SIGKILL")
    world.play(100)
    assert world.degraded[-1]
    world.cannot_start = ""
    world.play(PAUSES[-1] + 2)
    assert len(world.serving) == 1


def test_a_process_that_the_kernel_refuses_is_told_with_the_next_step(world: World) -> None:
    """EAGAIN alone says neither what is missing nor where to raise it."""
    world.up(1)
    world.cannot_start = "again"
    world.error = BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    future = world.changes.order_reload(check=None)
    world.play(1)

    error = refused(future)
    assert "could not be started: no further process can be started" in str(error)
    assert "LimitNPROC=" in error.hint


def test_an_incident_is_listed_in_short_and_shown_in_full(world: World) -> None:
    """The list has no stacks and tracebacks; one that is not kept is not found."""
    fleet = world.up(1)
    world.script = broken
    refused_after(world, world.changes.order_reload(check=None))

    (short,) = fleet.history.incidents.listed(None).incidents
    (full,) = fleet.history.incidents.listed(short.id).incidents

    assert (short.traceback, full.traceback) == ("", "Traceback: till")
    with pytest.raises(NotFound, match="no incident 99"):
        fleet.history.incidents.listed(99)


@pytest.mark.parametrize("fails", [False, True])
def test_a_reload_takes_a_new_template_and_keeps_the_one_that_is_good(world: World, fails: bool) -> None:
    """Exactly one is left: the new one once nobody serves from the old one, or the old one if the reload has failed."""
    world.up(2)
    if fails:
        world.script = lambda worker: worker.fails("no database", after=1)
    reload = world.changes.order_reload(check=None)
    world.play(1.5)
    assert world.templates.orders == (["renew", "revert"] if fails else ["renew"])
    world.play(5)
    assert world.templates.orders == ["renew", "revert" if fails else "settle"]
    assert (reload.exception(0) is not None) is fails
