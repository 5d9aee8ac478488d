"""A fleet whose workers are scripted: no process is started, no time is spent."""

import asyncio
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from flaskd.audit.log import Audit
from flaskd.channel.messages import Call, Progress, Ready, Reply, Start, Stopped
from flaskd.events import Bus
from flaskd.ledger.errors import ErrorTable
from flaskd.ledger.shared_memory import RequestTable
from flaskd.ledger.slowest import SlowTable
from flaskd.metrics.memory import MetricsMemory
from flaskd.settings.schema import Settings
from flaskd.settings.sources import ReadSettings
from flaskd.supervisor import changes, fleet, member
from flaskd.supervisor.changes import Change, Changes, Reload
from flaskd.supervisor.fleet import Fleet
from flaskd.supervisor.launcher import Launcher
from flaskd.supervisor.member import Member, Resources
from flaskd.supervisor.overdue import Overdue
from flaskd.supervisor.plan import WorkerState
from flaskd.supervisor.process import Process
from flaskd.supervisor.process_stats import ProcessStats
from flaskd.supervisor.scaling import scaler
from flaskd.supervisor.scaling.scaler import Scaler
from flaskd_ctl.errors import ControlError, Failed
from flaskd_ctl.protocol import AuditEntry, Event, IncidentEvent, WorkerEvent
from tests.flaskd.supervisor.clocked import Clock, ClockedLoop


class ScriptedProcess:
    """Takes signals; it is dead when its worker says so."""

    stacks = None

    def __init__(self, worker: "ScriptedWorker") -> None:
        self._worker = worker
        self.pid = 10_000 + worker.id
        self.how_it_ended = ""
        self.out_of_memory = False
        self.signals: list[int] = []

    def send(self, number: int) -> None:
        self.signals.append(number)

    def close(self) -> None:
        pass

    def kill(self) -> None:
        self._worker.world.loop.call_soon(self._worker.dies, "killed by SIGKILL")


class ScriptedWorker(Member):
    """A member with everything of its own but a process: what that would say is said by the test, or by its `script`."""

    world: "World"

    def launch(self, start: Start) -> None:
        self.first = start
        self.scripted = ScriptedProcess(self)
        self.calls: dict[str, asyncio.Future[Reply]] = {}
        table, stacks = RequestTable.private(4), os.open(os.devnull, os.O_RDONLY)
        metrics, errors, slow = MetricsMemory.private(), ErrorTable.private(), SlowTable.private()
        process, channel = cast(Process, self.scripted), cast(Any, None)
        self.launched(Resources(process, channel, table, metrics, errors, slow, stacks), start)
        self.world.workers[self.id] = self
        self.world.script(self)

    def call(self, call: Call) -> "asyncio.Future[Reply]":
        """Keep the call, by the name of its type."""
        name = type(call).__name__
        self.calls[name] = self.world.loop.create_future()
        if name == "StopGracefully":
            self.world.leave_script(self)
        return self.calls[name]

    def serves(self, after: float = 0.0) -> None:
        self._later(after, lambda: self.calls["Start"].set_result(Ready(versions={})))

    def fails(self, why: str, traceback: str = "", after: float = 0.0) -> None:
        """Its start fails, as a worker tells it; then it ends."""

        def fail() -> None:
            self.calls["Start"].set_exception(Failed(why, data={"traceback": traceback}))
            self.world.loop.call_soon(self.dies, "exit code 1")

        self._later(after, fail)

    def stops_accepting(self, after: float = 0.0) -> None:
        self._later(after, lambda: self.receive(Progress("leaving")))

    def leaves(self, after: float = 0.0) -> None:
        """It has stopped gracefully, and ends."""

        def leave() -> None:
            self.calls["StopGracefully"].set_result(Stopped(cut=[], connections_cut=0))
            self.world.loop.call_soon(self.dies, "exit code 0")

        self._later(after, leave)

    def dies(self, how: str) -> None:
        if self.state is not WorkerState.GONE:
            self.scripted.how_it_ended = how
            for call in self.calls.values():
                call.cancel()
            self.gone()

    def _later(self, seconds: float, what: Callable[[], None]) -> None:
        def do() -> None:
            if self.state is not WorkerState.GONE:
                what()

        self.world.loop.call_later(seconds, do)


class ScriptedTemplates:
    """Notes what is ordered."""

    def __init__(self) -> None:
        self.orders: list[str] = []

    def renew(self) -> None:
        self.orders.append("renew")

    def settle(self) -> None:
        self.orders.append("settle")

    def revert(self) -> None:
        self.orders.append("revert")


class World:
    """A fleet, its workers, its clock. If not told otherwise a worker serves after a second and leaves within one."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.templates = ScriptedTemplates()
        self.loop = ClockedLoop(self.clock)
        self.workers: dict[int, ScriptedWorker] = {}
        self.events: list[Event] = []
        self.cannot_start = ""
        self.error: OSError | None = None
        self.settings = Settings(app="shop")
        self.script: Callable[[ScriptedWorker], None] = lambda worker: worker.serves(after=1)
        self.leave_script: Callable[[ScriptedWorker], None] = lambda worker: worker.leaves(after=0.5)
        self.connections: Callable[[int], int | None] = lambda pid: None
        self.degraded: list[bool] = []
        self.listeners: list[Any] = []
        self.entries: list[AuditEntry] = []
        self.least_serving = 0

    def begin(self, workers: int | str, **settings: Any) -> Fleet:
        """Make the fleet and let its first workers start."""
        self.settings = Settings(app="shop", workers=str(workers), **settings)
        bus = Bus()
        bus.subscribe(self.events.append)
        audit = Audit("", report=lambda entry, _: self.entries.append(entry))
        self.scaler = Scaler(self.settings, listeners=self.listeners, bus=bus, audit=audit)
        stats = SimpleNamespace(connections=lambda pid: self.connections(pid))
        self.fleet = Fleet(
            self.settings,
            wanted=self.scaler.wanted_first,
            launcher=cast(Launcher, self),
            overdue=Overdue(cast(ProcessStats, stats)),
            bus=bus,
            observer=self,
        )
        self.changes = Changes(self.fleet, source=self, user=self, read=self.read())
        self.scaler.attach(self.fleet, lambda: self.changes.under_way)

        async def begin() -> None:
            self.fleet.begin()

        self.loop.run_until_complete(begin())
        return self.fleet

    def launch(self, member: Member, settings: Settings, *, check: str) -> None:
        if self.cannot_start:
            raise self.error or OSError(self.cannot_start)
        assert isinstance(member, ScriptedWorker)
        shared = dict.fromkeys(
            (
                *("request_table", "metrics", "errors", "slow", "loads", "load_row"),
                *("stacks", "log", "records"),
            ),
            0,
        )
        member.launch(
            Start(
                settings=settings,
                engine="",
                name="shop",
                worker=member.id,
                generation=member.generation,
                check=check,
                listeners=[],
                **shared,  # type: ignore[arg-type]
            )
        )

    def read(self) -> ReadSettings:
        return ReadSettings(self.settings, {})

    look = read

    def use_settings(self, read: ReadSettings) -> None:
        self.scaler.use(read.settings)

    def wanted_by(self, settings: Settings) -> int:
        return self.scaler.own_number()

    def first_serves(self, member: Member) -> None:
        self.scaler.first_serves(member)

    def out_of_memory(self, member: Member, workers: int) -> None:
        self.scaler.out_of_memory(member, workers)

    def with_set(self, settings: Settings) -> Settings:
        return settings

    def names_set(self) -> list[str]:
        return []

    def fleet_changed(self) -> None:
        self.degraded.append(self.fleet.degraded)
        self.least_serving = min(self.least_serving, len(self.fleet.serving))
        self.scaler.fleet_changed()

    def plan_done(self) -> None:
        self.changes.finish()

    def changes_fail(self, error: ControlError, *, after_start: bool) -> None:
        self.changes.fail(error, kind=Reload if after_start else Change)
        if not after_start:
            self.scaler.start_failed()

    def worker_reported(self, member: Member, event: object) -> None:
        pass

    def up(self, workers: int | str, **settings: Any) -> Fleet:
        """Make a fleet and wait until it serves."""
        fleet = self.begin(workers, **settings)
        self.play(2)
        assert fleet.up.done()
        self.scaler.look_soon()
        self.least_serving = fleet.wanted
        self.events.clear()
        return fleet

    def play(self, seconds: float) -> None:
        """Let so much time pass."""
        self.loop.run_until_complete(asyncio.sleep(seconds))

    def reread(self, **changes: Any) -> None:
        """Change the settings, for the next reload."""
        self.settings = msgspec.structs.replace(self.settings, **changes)

    @property
    def serving(self) -> list[int]:
        return [each.id for each in self.fleet.serving]

    @property
    def story(self) -> list[str]:
        """What was told of workers: "3 serving", …"""
        return [f"{event.worker} {event.state}" for event in self.events if isinstance(event, WorkerEvent)]

    @property
    def incidents(self) -> list[IncidentEvent]:
        return [event for event in self.events if isinstance(event, IncidentEvent)]


@contextmanager
def a_world() -> Iterator[World]:
    """Make a world in which the fleet's workers are scripted, and the clock is its own."""
    world = World()
    scripted = type("Scripted", (ScriptedWorker,), {"world": world})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fleet, "Member", scripted)
        patch.setattr(asyncio, "get_running_loop", lambda: world.loop)  # tests act between its turns
        for module in (fleet, changes, member, scaler):
            patch.setattr(module, "time", world.clock)
        try:
            yield world
        finally:
            for worker in world.workers.values():
                worker.dies("the test's end")
            world.loop.close()


@pytest.fixture
def world() -> Iterator[World]:
    with a_world() as world:
        yield world
