"""A fleet whose workers are scripted: no process is started, no time is spent."""

import asyncio
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import msgspec
import pytest

from flaskd.channel.supervisor_end import Answer
from flaskd.events import Bus
from flaskd.ledger.shared_memory import RequestTable
from flaskd.settings.schema import Settings
from flaskd.supervisor import changes, fleet, member
from flaskd.supervisor.fleet import Fleet
from flaskd.supervisor.member import Member
from flaskd.supervisor.output import Relay
from flaskd.supervisor.plan import WorkerState
from flaskd_ctl.errors import Failed
from flaskd_ctl.protocol import Actor, Event, IncidentEvent, WorkerEvent
from tests.flaskd.supervisor.clocked import Clock, ClockedLoop

BY = Actor(via="code")


class ScriptedProcess:
    """Takes signals; it is dead when its worker says so."""

    def __init__(self, worker: "ScriptedWorker") -> None:
        self._worker = worker
        self.how_it_ended = ""
        self.signals: list[int] = []

    def send(self, number: int) -> None:
        self.signals.append(number)

    def kill(self) -> None:
        self._worker.world.loop.call_soon(self._worker.dies, "killed by SIGKILL")


class ScriptedWorker(Member):
    """A member with everything of its own but a process: what that would say is said by the test, or by its `script`."""

    world: "World"

    def start(self, params: dict[str, Any], **rest: Any) -> None:
        if self.world.cannot_start:
            raise OSError(self.world.cannot_start)
        self.params = params
        self.request_table = RequestTable.private(4)
        self.stacks_file = os.open(os.devnull, os.O_RDONLY)
        self.pid = 10_000 + self.id
        self.scripted = ScriptedProcess(self)
        self.process = cast(Any, self.scripted)
        self.calls: dict[str, asyncio.Future[Answer]] = {}
        self.call("start", params).add_done_callback(self._started)
        self.world.workers[self.id] = self
        self.world.script(self)

    def call(self, method: str, params: Answer | None = None) -> Any:
        self.calls[method] = self.world.loop.create_future()
        if method == "step_back":
            self.world.leave_script(self)
        return self.calls[method]

    def serves(self, after: float = 0.0) -> None:
        self._later(after, lambda: self.calls["start"].set_result({"pid": self.pid, "versions": {}}))

    def fails(self, why: str, traceback: str = "", after: float = 0.0) -> None:
        """Its start fails, as a worker tells it; then it ends."""

        def fail() -> None:
            self.calls["start"].set_exception(Failed(why, data={"traceback": traceback}))
            self.world.loop.call_soon(self.dies, "exit code 1")

        self._later(after, fail)

    def deafens(self, after: float = 0.0) -> None:
        self._later(after, lambda: self._told({"event": "progress", "phase": "leaving"}))

    def leaves(self, after: float = 0.0) -> None:
        """It has stepped back, and ends."""

        def leave() -> None:
            self.calls["step_back"].set_result({"cut": [], "connections_cut": 0})
            self.world.loop.call_soon(self.dies, "exit code 0")

        self._later(after, leave)

    def dies(self, how: str) -> None:
        if self.state is not WorkerState.GONE:
            self.scripted.how_it_ended = how
            for call in self.calls.values():
                call.cancel()
            self._gone()

    def _later(self, seconds: float, what: Callable[[], None]) -> None:
        def do() -> None:
            if self.state is not WorkerState.GONE:
                what()

        self.world.loop.call_later(seconds, do)


class World:
    """A fleet, its workers, its clock. If not told otherwise a worker serves after a second and leaves within one."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.loop = ClockedLoop(self.clock)
        self.workers: dict[int, ScriptedWorker] = {}
        self.events: list[Event] = []
        self.cannot_start = ""
        self.settings = Settings(app="shop")
        self.script: Callable[[ScriptedWorker], None] = lambda worker: worker.serves(after=1)
        self.leave_script: Callable[[ScriptedWorker], None] = lambda worker: worker.leaves(after=0.5)
        self.degraded: list[bool] = []
        self.least_serving = 0

    def begin(self, workers: int, **settings: Any) -> Fleet:
        """Make the fleet and let its first workers start."""
        self.settings = Settings(app="shop", workers=str(workers), **settings)
        bus = Bus()
        bus.subscribe(self.events.append)
        self.fleet = Fleet(
            self.settings,
            wanted=workers,
            reread=lambda: self.settings,
            params=dict,
            inherited=[],
            relay=cast(Relay, None),
            bus=bus,
            on_change=self._changed,
            on_event=lambda member, event: None,
        )

        async def begin() -> None:
            self.fleet.begin()

        self.loop.run_until_complete(begin())
        return self.fleet

    def up(self, workers: int, **settings: Any) -> Fleet:
        """Make a fleet and wait until it serves."""
        fleet = self.begin(workers, **settings)
        self.play(2)
        assert fleet.up.done()
        self.least_serving = workers
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

    def _changed(self) -> None:
        self.degraded.append(self.fleet.degraded)
        self.least_serving = min(self.least_serving, len(self.fleet.serving))


@contextmanager
def a_world() -> Iterator[World]:
    """Make a world in which the fleet's workers are scripted, and the clock is its own."""
    world = World()
    scripted = type("Scripted", (ScriptedWorker,), {"world": world})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fleet, "Member", scripted)
        for module in (fleet, changes, member):
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
