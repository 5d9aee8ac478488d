"""Commands of the application's own, and those that show the application."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, Final, TypeVar

import msgspec

from flaskd.control.describe import read_json
from flaskd.control.handlers.shared import Shared
from flaskd.control.handlers.tasks import ROOM, first_reply, outcomes
from flaskd.control.registry import Call
from flaskd.control.transports.subscription import Subscription
from flaskd.events import Bus
from flaskd.ledger.row import printable
from flaskd.metrics.memory import name_as_read
from flaskd.operable import Operable
from flaskd.tasks import (
    CallCommand,
    Choice,
    CommandCalled,
    CommandProgress,
    CommandsListed,
    ConfigShown,
    ListCommands,
    Listed,
    ListRoutes,
    Note,
    Outcome,
    Reply,
    RoutesListed,
    ShowConfig,
    Task,
)
from flaskd_ctl import errors
from flaskd_ctl.contract.commands import Role
from flaskd_ctl.protocol import (
    AppConfigParams,
    AppConfigResult,
    Called,
    CallParams,
    CallProgressEvent,
    CallResult,
    EndpointStats,
    Event,
    Latency,
    Route,
    RoutesParams,
    RoutesResult,
)

R = TypeVar("R", bound=Reply)

LIST_TIME: Final = 2.0
"""Seconds in which a worker has to list the application's commands; after that, what was listed last counts."""

SHOW_TIME: Final = 5.0
"""Seconds in which a worker has to list its routes, or show its configuration."""

NO_CALL: Final = EndpointStats(
    endpoint="",
    served={},
    seconds=0,
    bytes=0,
    start=Latency(),
    minute=Latency(),
    five_minutes=Latency(),
    hour=Latency(),
)
"""The numbers of an endpoint that has had no request."""

KINDS: Final[dict[str, type[errors.ControlError]]] = {
    "unknown": errors.NotFound,
    "role": errors.NotPermitted,
    "params": errors.InvalidParams,
}
"""What a failure of a call is; all others are Failed."""


class Application:
    """Handles the commands of the application's own, and those that show it."""

    def __init__(self, instance: Operable) -> None:
        self._instance = instance
        self._lists = Shared(self._ask(ListCommands(), CommandsListed, LIST_TIME))
        self._routes = Shared(self._ask(ListRoutes(), RoutesListed, SHOW_TIME))
        self._configs = Shared(self._ask(ShowConfig(), ConfigShown, SHOW_TIME))
        self._listed: list[Listed] = []

    async def commands(self, *, newer_than: float = 0.0) -> list[Listed]:
        """List the application's commands: those that a worker lists now, else those that were listed last."""
        with contextlib.suppress(errors.ControlError):  # no worker serves, or all of them hang
            self._listed = (await self._lists.get(newer_than=newer_than)).commands
        return self._listed

    async def call(self, call: Call[CallParams]) -> CallResult:
        """Run a command in one process, or in each; send what it yields if asked to.

        It goes on if the caller disconnects: the audit log still gets its outcome.
        """
        if call.params.progress:
            call.check_streams()
        outcome: Future[None] = Future()
        call.follow(outcome)
        bus = Bus()
        doing = asyncio.ensure_future(self._call(call, bus))
        doing.add_done_callback(lambda done: _conclude(done, outcome))
        waited = asyncio.shield(doing)
        waited.add_done_callback(lambda done: done.cancelled() or done.exception())  # else asyncio logs it
        if not call.params.progress:
            return await waited

        async def send(event: Event) -> bool:
            return await call.notify("progress", event)

        with contextlib.closing(Subscription(bus, CallProgressEvent)) as subscription:
            sending = asyncio.create_task(subscription.pump(send))
            try:
                await asyncio.wait([waited])  # what it yielded before a failure is sent before it
                subscription.end()
                await sending
                return waited.result()
            finally:
                sending.cancel()

    async def routes(self, call: Call[RoutesParams]) -> RoutesResult:
        """List the application's routes, with the numbers of their endpoints."""
        reply = await self._routes.get(call.params.worker)
        numbers = self._numbers()
        return RoutesResult([_cleaned(route, numbers) for route in reply.routes], reply.missing)

    async def app_config(self, call: Call[AppConfigParams]) -> AppConfigResult:
        """Show the application's configuration."""
        reply = await self._configs.get(call.params.worker)
        config = {printable(key): printable(value) for key, value in reply.config.items()}
        return AppConfigResult(config, reply.missing)

    async def _call(self, call: Call[CallParams], bus: Bus) -> CallResult:
        asked = call.params
        command = await self._find(asked.name)
        needed = call.command._replace(name=f"call {command.name}", role=Role(command.role))
        call.registry.check(call.caller, needed)
        role = call.registry.role_of(call.caller)
        task = CallCommand(
            name=command.name,
            params=msgspec.json.encode(asked.params).decode(),
            role="admin" if role is Role.ADMIN else "operator",
        )
        timeout = asked.timeout or command.timeout

        def report(worker: int, note: Note) -> None:
            if isinstance(note, CommandProgress):
                value = read_json(note.value, printable(note.value))
                bus.publish(
                    CallProgressEvent(at=time.time(), worker=worker, value=value, skipped=note.skipped)
                )

        chosen = Choice.SERVING if command.on == "each" else Choice.LEAST_BUSY
        ordered = self._instance.order_task(task, asked.worker or chosen, report)
        found = [_shown(each, call.traceback) for each in await outcomes(ordered, timeout)]
        return _result(command.name, found, timeout)

    def _numbers(self) -> Callable[[str], EndpointStats | None]:
        """Return what finds the numbers of an endpoint; None for one that is not counted by name, or if nothing is counted."""
        try:
            counted = {each.endpoint: each for each in self._instance.endpoint_stats()}
        except errors.WrongState:
            return lambda endpoint: None
        others = None if None in counted else NO_CALL  # more endpoints than have room: it may be one of them
        return lambda endpoint: counted.get(name_as_read(endpoint), others)

    def _ask(
        self, task: Task, shape: type[R], timeout: float
    ) -> Callable[[int | None], Coroutine[Any, Any, R]]:
        return lambda worker: first_reply(self._instance, task, worker=worker, shape=shape, timeout=timeout)

    async def _find(self, name: str) -> Listed:
        """Return the command; raises NotFound."""
        asked = time.monotonic()
        found = _named(name, await self.commands())
        if found is None:  # a reload may just have brought it
            found = _named(name, await self.commands(newer_than=asked))
        if found is None:
            listed = self._listed
            names = ", ".join(each.name for each in listed)
            raise errors.NotFound(
                f"the application has no command {printable(name)}",
                hint=f"its commands are {names}" if names else "it has none, or no worker replied",
            )
        return found


def _named(name: str, listed: list[Listed]) -> Listed | None:
    return next((each for each in listed if each.name == name), None)


def _shown(outcome: Outcome, shown: Callable[[str], str]) -> Outcome:
    """Return the outcome with as much of the traceback as the caller may see."""
    reply = outcome.reply
    if not isinstance(reply, CommandCalled):
        return outcome
    return outcome._replace(reply=msgspec.structs.replace(reply, traceback=shown(reply.traceback)))


def _result(command: str, found: list[Outcome], timeout: float) -> CallResult:
    """Return what each process replied.

    Raises the error instead if there was only one process, or if all failed in one way that is not the application's.
    """
    failures = [failure for each in found if (failure := _failure(command, each, timeout)) is not None]
    same = {type(failure) for failure in failures}
    if len(failures) == len(found) and (len(found) == 1 or (len(same) == 1 and same != {errors.Failed})):
        raise failures[0]
    rows, room = [], ROOM
    for each in found:
        row = _row(command, each, timeout)
        room -= len(each.reply.result) if isinstance(each.reply, CommandCalled) else 0
        room -= len(row.error) + len(row.traceback)
        if room < 0:
            row = Called(
                worker=each.worker,
                pid=each.pid,
                error=f"it has replied, but all results are more than {ROOM} bytes: ask it with --worker",
            )
        rows.append(row)
    return CallResult(command, rows)


def _row(command: str, outcome: Outcome, timeout: float) -> Called:
    failure = _failure(command, outcome, timeout)
    reply = outcome.reply if isinstance(outcome.reply, CommandCalled) else CommandCalled()
    return Called(
        worker=outcome.worker,
        pid=outcome.pid,
        error=str(failure or ""),
        result=None if failure is not None else read_json(reply.result, None),
        took=reply.took,
        traceback=str(failure.data.get("traceback", "")) if failure is not None else "",
    )


def _failure(command: str, outcome: Outcome, timeout: float) -> errors.ControlError | None:
    """Return the error of one process; None if it has a result."""
    who = f"worker {outcome.worker}" if outcome.worker else "the process"
    where = f" --worker {outcome.worker}" if outcome.worker else ""
    reply = outcome.reply
    if outcome.late:
        return errors.TimedOut(
            f"{command}: {who} did not reply within {timeout:g} s: it continues",
            hint=f"give it more time with --timeout, or see where it is: `flaskd_ctl stacks{where}`",
        )
    if not isinstance(reply, CommandCalled):
        return errors.Failed(f"{command}: {who} {outcome.error}", hint="see `flaskd_ctl workers`")
    if not reply.failed:
        return None
    data = {"path": printable(reply.path)} if reply.path else {}
    if reply.traceback:
        data["traceback"] = printable(reply.traceback, keep="\n\t")
    kind = KINDS.get(reply.failed, errors.Failed)
    return kind(printable(reply.message), hint=printable(reply.hint), data=data)


def _conclude(done: "asyncio.Future[CallResult]", outcome: "Future[None]") -> None:
    """Tell the audit log how a call ended; a worker that failed is a failure, although the caller gets the others' results."""
    if done.cancelled():
        outcome.set_exception(errors.Failed("it was given up"))
    elif error := done.exception():
        outcome.set_exception(error)
    elif failed := [each for each in done.result().workers if each.error]:
        all_of_them = len(done.result().workers)
        outcome.set_exception(
            errors.Failed(
                f"{len(failed)} of {all_of_them} workers failed; worker {failed[0].worker}: {failed[0].error}"
            )
        )
    else:
        outcome.set_result(None)


def _cleaned(route: Route, numbers: Callable[[str], EndpointStats | None]) -> Route:
    """Return the route as it can be shown on a terminal, with the numbers of its endpoint."""
    found = numbers(route.endpoint)
    return msgspec.structs.replace(
        route,
        rule=printable(route.rule),
        methods=[printable(method) for method in route.methods],
        endpoint=printable(route.endpoint),
        host=printable(route.host),
        calls=None if found is None else found.start.requests,
        p95=None if found is None else found.start.p95,
    )
