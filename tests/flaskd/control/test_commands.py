"""The commands on workers as the control plane carries them out, for a fleet that does what it is told."""

import asyncio
import gc
import itertools
import json
import os
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import msgspec
import pytest

from flaskd.audit.log import Audit, quiet
from flaskd.control.access.policy import USER, Grant, Rules
from flaskd.control.access.shares import Places
from flaskd.control.handlers import Handlers, streams
from flaskd.control.registry import Registry
from flaskd.events import Bus
from flaskd.logs.ring import Ring
from flaskd.tasks import Choice, Note, Ordered, StacksTaken, Task
from flaskd_ctl import errors
from flaskd_ctl.contract.commands import Role
from flaskd_ctl.protocol import (
    RESULTS,
    Actor,
    EndpointStats,
    ErrorsResult,
    Event,
    IncidentsResult,
    LogLine,
    PingResult,
    ReloadResult,
    RequestsResult,
    RestartResult,
    ScaleResult,
    ShutdownParams,
    ShutdownResult,
    SlowResult,
    StateEvent,
    StateResult,
    StatsParams,
    StatsResult,
    StatusResult,
    WorkerEvent,
    WorkersResult,
)
from tests.support.daemons import PATIENCE
from tests.wire.test_golden import golden

ME = Actor(via="control", uid=os.getuid())
STEP = WorkerEvent(at=1.0, worker=3, pid=99, state="starting", generation=2, why="reload")
ELSEWHERE = StateEvent(at=1.0, was="running", state="draining")


def result(method: str) -> Any:
    """Return the result that the golden message of `method` has, as its struct."""
    return msgspec.convert(golden(method)["reply"]["result"], RESULTS[method])


class ScriptedFleet:
    """Keeps each order, with the future that the test completes."""

    def __init__(self) -> None:
        self.orders: list[tuple[object, ...]] = []
        self.given = asyncio.Event()
        self.future: Future[Any] = Future()
        self.future.set_running_or_notify_cancel()

    def _order(self, *order: object) -> Future[Any]:
        self.orders.append(order)
        self.given.set()
        return self.future

    def order_reload(self, *, check: str | None) -> Future[ReloadResult]:
        return self._order("reload", check)

    def order_scale(self, *, to: int | None, by: int | None, seconds: float | None) -> Future[ScaleResult]:
        return self._order("scale", to, by, seconds)

    def order_restart(self, worker: int) -> Future[RestartResult]:
        return self._order("restart", worker)

    def workers(self) -> WorkersResult:
        found: WorkersResult = result("workers")
        return found

    def incidents(self, ident: int | None) -> IncidentsResult:
        if ident == 9:
            raise errors.NotFound("there is no incident 9")
        found: IncidentsResult = result("incidents")
        return found


class ScriptedDaemon:
    """A daemon with a fleet, or without."""

    def __init__(self, fleet: ScriptedFleet | None) -> None:
        self.bus = Bus()
        self.log_ring = Ring()
        self.audit = Audit("", report=quiet)
        self.fleet = fleet
        self.tuning: Any = None

    def ping(self) -> PingResult:
        found: PingResult = result("ping")
        return found

    def status(self) -> StatusResult:
        found: StatusResult = result("status")
        return found

    def requests(self) -> RequestsResult:
        raise NotImplementedError

    def stats(self, asked: StatsParams) -> StatsResult:
        raise NotImplementedError

    def endpoint_stats(self) -> list[EndpointStats]:
        raise NotImplementedError

    def metrics(self, accept: str) -> Callable[[], tuple[str, bytes]]:
        raise NotImplementedError

    def errors(self, ident: str | None) -> ErrorsResult:
        found: ErrorsResult = result("errors")
        return found

    def slow(self, limit: int) -> SlowResult:
        raise NotImplementedError

    def code_on_disk(self) -> Any:
        raise NotImplementedError

    def order_task(
        self,
        task: Task,
        worker: int | Choice | None,
        on_note: Callable[[int, Note], None] | None = None,
    ) -> list[Ordered]:
        raise errors.WrongState("no worker serves now")

    def order_reopen_logs(self) -> Future[list[str]]:
        raise NotImplementedError

    def order_stack_dump(self, worker: int) -> "Future[StacksTaken]":
        raise NotImplementedError

    def order_drain(self, by: Actor) -> Future[StateResult]:
        raise NotImplementedError

    def order_resume(self, by: Actor) -> Future[StateResult]:
        raise NotImplementedError

    def order_shutdown(self, by: Actor, asked: ShutdownParams) -> Future[ShutdownResult]:
        raise NotImplementedError

    def order_kill(self, by: Actor) -> None:
        raise NotImplementedError


class ScriptedPeer:
    """A caller; `streams` False is a ZeroMQ REQ, `gone` one that has left."""

    def __init__(self, *, streams: bool = True, gone: bool = False) -> None:
        self.caller = ME
        self.groups: frozenset[int] | None = frozenset()
        self.heard: list[dict[str, Any]] = []
        self.works: list[asyncio.Future[None]] = []
        self._streams = streams
        self._gone = gone

    async def until_writable(self) -> None:
        pass

    async def until_gone(self) -> None:
        await asyncio.Event().wait()

    def takes_notifications(self) -> bool:
        return self._streams

    async def send(self, message: bytes) -> bool:
        if self._gone:
            raise ConnectionError
        self.heard.append(json.loads(message))
        return True

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self.works.append(asyncio.ensure_future(work))


class Stage:
    """A registry that serves a scripted daemon."""

    def __init__(self, *, workers: bool = True) -> None:
        self.fleet = ScriptedFleet()
        self.daemon = ScriptedDaemon(self.fleet if workers else None)
        self.registry = Registry(Rules(owner=os.getuid()), Handlers(self.daemon).by_name, self.daemon.audit)
        self.peer = ScriptedPeer()

    def tell(self, *events: Event) -> None:
        for event in events:
            self.daemon.bus.publish(event)

    async def ask(self, method: str, **params: Any) -> dict[str, Any]:
        message = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
        answer = self.registry.answer(message.encode(), self.peer)
        if isinstance(answer, Coroutine):
            answer = await answer
        return dict(json.loads(answer or b"{}"))


def on_stage(play: Callable[[Stage], Coroutine[Any, Any, None]], *, workers: bool = True) -> None:
    async def run() -> None:
        async with asyncio.timeout(PATIENCE):
            await play(Stage(workers=workers))

    asyncio.run(run())


@pytest.mark.parametrize("needed", list(Role))
@pytest.mark.parametrize("role", list(Role))
def test_tracebacks_are_shown_to_the_role_that_the_rules_say(
    monkeypatch: pytest.MonkeyPatch, role: Role, needed: Role
) -> None:
    """They quote the application's code and values; who may not see them learns which role may."""

    async def play(stage: Stage) -> None:
        grants = {role: (Grant(USER, "somebody", 54321),)}
        stage.registry.set_rules(Rules(os.getuid(), grants, needed))
        stage.peer.caller = Actor(via="control", uid=54321)
        hidden = f"(hidden: tracebacks need the role {needed.value})"
        status, incidents = result("status"), result("incidents")
        failure = msgspec.structs.replace(status.last_failure, traceback="the application's")
        incident = msgspec.structs.replace(incidents.incidents[0], traceback="the application's")
        monkeypatch.setattr(
            stage.daemon, "status", lambda: msgspec.structs.replace(status, last_failure=failure)
        )
        monkeypatch.setattr(stage.fleet, "incidents", lambda ident: IncidentsResult([incident]))

        shown = (await stage.ask("status"))["result"]["last_failure"]["traceback"]
        told = (await stage.ask("incidents", id=1))["result"]["incidents"][0]["traceback"]
        if role.includes(Role.OPERATOR):
            error = (await stage.ask("errors", id="3f9a1c07"))["result"]["errors"][0]["traceback"]
            assert error == (result("errors").errors[0].traceback if role.includes(needed) else hidden)

        may = role.includes(needed)
        assert shown == told == ("the application's" if may else hidden)

    on_stage(play)


ORDERS: list[tuple[str, dict[str, Any], tuple[object, ...]]] = [
    ("reload", {}, ("reload", None)),
    ("reload", {"check": "/health"}, ("reload", "/health")),
    ("scale", {"to": 3, "for": 60.0}, ("scale", 3, None, 60.0)),
    ("scale", {"by": -2}, ("scale", None, -2, None)),
    ("scale", {"auto": True}, ("scale", None, None, None)),
    ("restart_worker", {"worker": 4}, ("restart", 4)),
]


@pytest.mark.parametrize(("method", "params", "order"), ORDERS)
@pytest.mark.parametrize("progress", [False, True])
def test_an_order_is_answered_when_it_has_happened(
    method: str, params: dict[str, Any], order: tuple[object, ...], progress: bool
) -> None:
    """And the steps until then are told to who asked for them: those of workers, nothing else."""

    async def play(stage: Stage) -> None:
        asking = asyncio.ensure_future(stage.ask(method, **params, progress=progress))
        await stage.fleet.given.wait()
        stage.tell(ELSEWHERE, STEP)
        assert not asking.done()
        stage.fleet.future.set_result(result(method))

        assert (await asking)["result"] == golden(method)["reply"]["result"]
        assert stage.fleet.orders == [order]
        note = {"id": 1, "event": {"event": "worker", **msgspec.to_builtins(STEP)}}
        expected = [{"jsonrpc": "2.0", "method": "progress", "params": note}] if progress else []
        assert stage.peer.heard == expected

    on_stage(play)


@pytest.mark.parametrize("progress", [False, True])
def test_a_failure_is_told_after_the_steps_that_led_to_it(progress: bool) -> None:
    """With the application's traceback."""

    async def play(stage: Stage) -> None:
        asking = asyncio.ensure_future(stage.ask("reload", progress=progress))
        await stage.fleet.given.wait()
        stage.tell(STEP)
        stage.fleet.future.set_exception(errors.Failed("worker 3 could not start", data={"traceback": "T"}))

        error = (await asking)["error"]
        assert (error["message"], error["data"]) == (
            "worker 3 could not start",
            {"name": "failed", "traceback": "T"},
        )
        assert len(stage.peer.heard) == progress

    on_stage(play)


@pytest.mark.parametrize("progress", [False, True])
def test_a_caller_that_leaves_takes_no_reload_back(progress: bool) -> None:
    """And where that fails, nobody takes it for an error of ours: the audit has it."""

    async def play(stage: Stage) -> None:
        complaints: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        asking = asyncio.ensure_future(stage.ask("reload", progress=progress))
        await stage.fleet.given.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking

        assert not stage.fleet.future.cancelled()
        stage.fleet.future.set_exception(errors.Failed("nobody is left to be told"))
        for _ in range(3):  # turns in which it is handed on from future to future
            await asyncio.sleep(0)
        stage.fleet.future = Future()  # which had held the others
        gc.collect()
        assert complaints == []

    on_stage(play)


def test_a_caller_that_left_unseen_gets_no_answer() -> None:
    async def play(stage: Stage) -> None:
        stage.peer = ScriptedPeer(gone=True)
        asking = asyncio.ensure_future(stage.ask("reload", progress=True))
        await stage.fleet.given.wait()
        stage.tell(STEP)
        stage.fleet.future.set_result(result("reload"))

        assert await asking == {}

    on_stage(play)


def test_a_req_socket_gets_no_progress_and_gives_no_order() -> None:
    async def play(stage: Stage) -> None:
        stage.peer = ScriptedPeer(streams=False)

        assert (await stage.ask("reload", progress=True))["error"]["data"]["name"] == "invalid_params"
        assert stage.fleet.orders == []

    on_stage(play)


def test_what_is_known_of_workers_is_answered_at_once() -> None:
    async def play(stage: Stage) -> None:
        assert (await stage.ask("workers"))["result"] == golden("workers")["reply"]["result"]
        assert (await stage.ask("incidents", id=2))["result"] == golden("incidents")["reply"]["result"]
        assert (await stage.ask("incidents", id=9))["error"]["data"]["name"] == "not_found"

    on_stage(play)


@pytest.mark.parametrize(
    ("method", "params", "path"),
    [
        ("scale", {}, "params"),
        ("scale", {"to": 1, "by": 1}, "params"),
        ("scale", {"to": 1, "auto": True}, "params"),
        ("scale", {"auto": True, "for": 5}, "params.for"),
        ("scale", {"to": 1, "for": 0}, "params.for"),
        ("scale", {"to": 0}, "params.to"),
        ("scale", {"to": -1}, "params.to"),
        ("scale", {"to": 1.5}, "params.to"),
        ("scale", {"by": 0}, "params.by"),
        ("restart_worker", {}, "params"),
        ("restart_worker", {"worker": 0}, "params.worker"),
        ("restart_worker", {"worker": "first"}, "params.worker"),
        ("reload", {"check": "health"}, "params.check"),
        ("incidents", {"id": 0}, "params.id"),
    ],
)
def test_what_is_asked_wrongly_names_the_field_and_orders_nothing(
    method: str, params: dict[str, Any], path: str
) -> None:
    async def play(stage: Stage) -> None:
        data = (await stage.ask(method, **params))["error"]["data"]

        assert (data["name"], data["path"]) == ("invalid_params", path)
        assert stage.fleet.orders == []

    on_stage(play)


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("reload", {}),
        ("scale", {"to": 2}),
        ("restart_worker", {"worker": 1}),
        ("workers", {}),
        ("incidents", {}),
    ],
)
def test_one_process_has_no_workers_and_says_what_to_do(method: str, params: dict[str, Any]) -> None:
    async def play(stage: Stage) -> None:
        error = (await stage.ask(method, **params))["error"]

        assert error["data"] == {"name": "wrong_state", "hint": "run it with `flaskd run`"}
        assert error["message"].startswith("shop serves in one process, which ")

    on_stage(play, workers=False)


@pytest.mark.parametrize("methods", [["events"], ["logs"], ["events", "logs"]], ids="+".join)
def test_a_caller_has_a_share_of_the_streams_and_the_owner_all_that_are_left(
    monkeypatch: pytest.MonkeyPatch, methods: list[str]
) -> None:
    """However many connections it opens, and whatever they stream; what it may not have keeps nobody else out."""
    turn = itertools.cycle(methods)
    monkeypatch.setattr(streams, "STREAMS", Places(total=5, share=2, kept=2))
    eve, bob = Actor(via="control", uid=54321), Actor(via="control", uid=54322)

    async def play(stage: Stage) -> None:
        granted = tuple(Grant(USER, str(actor.uid), actor.uid or 0) for actor in (eve, bob))
        stage.registry.set_rules(Rules(os.getuid(), {Role.OPERATOR: granted}))

        async def opens(caller: Actor) -> bool:
            stage.peer.caller = caller
            method = next(turn)
            return "result" in await stage.ask(method, **({"follow": True} if method == "logs" else {}))

        assert [await opens(eve) for _ in range(4)] == [True, True, False, False]
        assert [await opens(bob) for _ in range(2)] == [True, False]
        assert [await opens(ME) for _ in range(3)] == [True, True, False]
        stage.tell(ELSEWHERE)
        for work in stage.peer.works:
            work.cancel()
        await asyncio.gather(*stage.peer.works, return_exceptions=True)

    on_stage(play)


@pytest.mark.parametrize(
    ("tracebacks", "allowed"), [(Role.VIEWER, True), (Role.OPERATOR, True), (Role.ADMIN, False)]
)
def test_the_log_needs_the_role_for_tracebacks_too(tracebacks: Role, allowed: bool) -> None:
    """It is full of them; an operator needs no more than that for anything else in it."""

    async def play(stage: Stage) -> None:
        eve = Actor(via="control", uid=54321)
        granted = {Role.OPERATOR: (Grant(USER, "eve", 54321),)}
        stage.registry.set_rules(Rules(os.getuid(), granted, tracebacks=tracebacks))
        stage.peer.caller = eve

        answer = await stage.ask("logs")

        assert ("result" in answer) is allowed
        if not allowed:
            assert answer["error"]["data"] == {"name": "not_permitted", "needed": "admin"}

    on_stage(play)


def test_lines_of_a_worker_that_never_was_are_not_found() -> None:
    """Those of one that has gone are shown as long as they are kept; one that has logged nothing has none."""

    async def play(stage: Stage) -> None:
        stage.daemon.log_ring.append([LogLine(1.0, "info", 7, "bye")])
        known = stage.fleet.workers().workers[0].id

        gone, silent, unknown = [await stage.ask("logs", worker=worker) for worker in (7, known, 9)]

        assert [line["message"] for line in gone["result"]["lines"]] == ["bye"]
        assert silent["result"]["lines"] == []
        assert unknown["error"]["message"] == "there is no worker 9, nor a line of one"

    on_stage(play)


def test_a_stream_ends_with_its_callers_role() -> None:
    """A reload may take it: what comes next is not told, but why; and no more."""

    async def play(stage: Stage) -> None:
        granted = Rules(os.getuid(), {Role.VIEWER: (Grant(USER, "eve", 54321),)})
        stage.registry.set_rules(granted)
        stage.peer.caller = Actor(via="control", uid=54321)
        assert "result" in await stage.ask("events")
        stage.tell(STEP)
        while not stage.peer.heard:
            await asyncio.sleep(0)

        stage.registry.set_rules(Rules(os.getuid()))
        stage.tell(STEP, STEP)
        await asyncio.gather(*stage.peer.works)

        told, refused = stage.peer.heard
        assert told["params"]["event"]["event"] == "worker"
        assert refused["id"] is None  # its call was answered long ago
        assert refused["error"]["data"] == {"name": "not_permitted", "needed": "viewer"}

    on_stage(play)


def test_an_audit_log_that_cannot_be_written_is_not_called_empty(tmp_path: Path) -> None:
    """`history` says why nothing is in it."""

    async def play(stage: Stage) -> None:
        stage.daemon.audit.path = str(tmp_path / "gone" / "log")
        assert (await stage.ask("history"))["result"]["entries"] == []

        stage.daemon.audit.begin("drain", {}, ME)

        told = (await stage.ask("history"))["error"]
        assert told["data"]["name"] == "failed"
        assert "has no entry, because it cannot be written: No such file or directory" in told["message"]

    on_stage(play)
