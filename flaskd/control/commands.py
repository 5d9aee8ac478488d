"""What each command does: a call on the instance, on the control loop, without blocking it."""

import asyncio
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import closing, suppress
from typing import Any, Final, TypeVar, cast

import msgspec

from flaskd.control.access.shares import Holder, Places, holder_of
from flaskd.control.describe import encoded
from flaskd.control.registry import Call, Registry, failure
from flaskd.control.transports.subscription import Subscription
from flaskd.operable import Operable, Workers
from flaskd.version import __version__
from flaskd_ctl import errors
from flaskd_ctl.contract.commands import COMMANDS, PROTOCOL_VERSION, Role
from flaskd_ctl.protocol import (
    Actor,
    Event,
    EventsResult,
    HistoryParams,
    HistoryResult,
    IncidentsParams,
    IncidentsResult,
    KillResult,
    PingResult,
    ProgressEvent,
    ReloadParams,
    ReloadResult,
    RequestsResult,
    RestartParams,
    RestartResult,
    ScaleParams,
    ScaleResult,
    ShutdownParams,
    ShutdownResult,
    StateResult,
    StatusResult,
    WorkerEvent,
    WorkersResult,
)

T = TypeVar("T")

STREAMS: Final = Places(total=64, share=16, kept=16)
"""Callers that stream events."""
TURNS = 8  # of the loop, in which a subscriber's task sends one event


class Commands:
    """The handlers of all commands, for one instance: plain functions where the answer is at hand."""

    def __init__(self, instance: Operable) -> None:
        self._instance = instance
        self._described: dict[Role, msgspec.Raw] = {}
        self._subscribers: dict[Subscription, Holder] = {}

    def register(self, registry: Registry) -> None:
        """Serve every command; the handler of each is the method of its name."""
        self._registry = registry
        for name in COMMANDS:
            registry.add(name, getattr(self, name))

    def end_streams(self) -> None:
        """Let each `events` stream end when it has sent what is queued."""
        for subscription in self._subscribers:
            subscription.end()

    def _is_full(self, newcomer: Holder) -> bool:
        """Return whether there is no stream left for a caller: nobody gives one up."""
        return STREAMS.asked_to_leave(Counter(self._subscribers.values()), newcomer) is not None

    async def _notice_who_left(self) -> None:
        """Send each subscriber that nothing was lost: of a ZeroMQ peer that left one hears only by sending to it."""
        for subscription in self._subscribers:
            subscription.probe()
        for _ in range(TURNS):
            await asyncio.sleep(0)

    def ping(self, call: Call) -> PingResult:
        """Say that we are here."""
        status = self._instance.status()
        return PingResult(name=status.name, pid=status.pid, state=status.state, protocol=PROTOCOL_VERSION)

    def status(self, call: Call) -> StatusResult:
        """Return what an operator wants to know at a glance."""
        return self._instance.status()

    def describe(self, call: Call) -> msgspec.Raw:
        """Return what can be asked; it is made once for each role."""
        role = self._registry.role_of(call.caller) or Role.VIEWER  # some role it has, or it would not be here
        if role not in self._described:
            self._described[role] = encoded(self._registry.served(), version=__version__, role=role)
        return self._described[role]

    async def drain(self, call: Call) -> StateResult:
        """Go out of rotation."""
        return await asyncio.wrap_future(call.follow(self._instance.order_drain(call.peer.caller)))

    async def resume(self, call: Call) -> StateResult:
        """Go back into rotation."""
        return await asyncio.wrap_future(call.follow(self._instance.order_resume(call.peer.caller)))

    async def reload(self, call: Call) -> ReloadResult:
        """Replace every worker, telling each step if asked to."""
        params = cast(ReloadParams, call.params)
        workers = self._workers("cannot be reloaded")
        return await self._follow(
            call,
            lambda by: workers.order_reload(check=params.check),
            progress=WorkerEvent if params.progress else None,
        )

    async def scale(self, call: Call) -> ScaleResult:
        """Change the number of workers, telling each step if asked to."""
        params = cast(ScaleParams, call.params)
        workers = self._workers("cannot be scaled")
        if (params.to is None) == (params.by is None):
            raise errors.InvalidParams("scale takes exactly one of `to` and `by`", data={"path": "params"})
        if params.by == 0:
            raise errors.InvalidParams("scale by 0 would change nothing", data={"path": "params.by"})
        return await self._follow(
            call,
            lambda by: workers.order_scale(to=params.to, by=params.by),
            progress=WorkerEvent if params.progress else None,
        )

    async def restart_worker(self, call: Call) -> RestartResult:
        """Replace one worker, telling each step if asked to."""
        params = cast(RestartParams, call.params)
        workers = self._workers("has no worker to restart")
        return await self._follow(
            call,
            lambda by: workers.order_restart(params.worker),
            progress=WorkerEvent if params.progress else None,
        )

    async def shutdown(self, call: Call) -> ShutdownResult:
        """Stop, telling the progress if asked to, and reply when nothing is left."""
        params = cast(ShutdownParams, call.params)
        return await self._follow(
            call,
            lambda by: self._instance.order_shutdown(by, params),
            progress=ProgressEvent if params.progress else None,
        )

    async def _follow(self, call: Call, order: Callable[[Actor], Future[T]], *, progress: type | None) -> T:
        """Give an order and wait until it is done, sending the events of the kind `progress` meanwhile."""

        def ordered() -> asyncio.Future[T]:
            # Shielded: a caller that leaves takes nothing back.
            doing = asyncio.wrap_future(call.follow(order(call.peer.caller)))
            waited = asyncio.shield(doing)
            for each in (doing, waited):
                each.add_done_callback(_look_at)
            return waited

        if progress is None:
            return await ordered()
        call.check_streams()

        async def tell(event: Event) -> bool:
            return await call.note("progress", event)

        with closing(Subscription(self._instance.bus, progress)) as told:
            doing = ordered()
            telling = asyncio.create_task(told.pump(tell))
            try:
                await asyncio.wait([doing])  # a failure, too, is told after the steps that led to it
                told.end()
                await telling
                return doing.result()
            finally:
                telling.cancel()
                doing.cancel()

    def _workers(self, lacks: str) -> Workers:
        """Return the workers; raises WrongState, saying what one process `lacks`, where there are none."""
        workers = self._instance.fleet
        if workers is None:
            name = self._instance.status().name
            raise errors.WrongState(
                f"{name} serves in one process, which {lacks}", hint="run it with `flaskd run`"
            )
        return workers

    def kill(self, call: Call) -> KillResult:
        """Reply, then end."""
        status = self._instance.status()
        self._instance.order_kill(call.peer.caller)
        return KillResult(pid=status.pid, process_exits=status.process_exits)

    def workers(self, call: Call) -> WorkersResult:
        """List the workers."""
        return self._workers("has no workers").workers()

    def requests(self, call: Call) -> RequestsResult:
        """List what is in flight."""
        return self._instance.requests()

    def incidents(self, call: Call) -> IncidentsResult:
        """List what went wrong with workers, or show one of these in full."""
        params = cast(IncidentsParams, call.params)
        return self._workers("keeps no incidents of workers").incidents(params.id)

    def history(self, call: Call) -> HistoryResult:
        """Show the newest orders of the audit log."""
        params = cast(HistoryParams, call.params)
        audit = self._instance.audit
        if not audit.path:
            raise errors.WrongState(
                "no audit log is kept", hint="give --audit-log PATH, or leave out --audit-log off"
            )
        try:
            return HistoryResult(entries=audit.newest(params.limit))
        except OSError as error:
            raise errors.Failed(
                f"cannot read the audit log {audit.path}: {error.strerror}", hint="see who may read it"
            ) from None

    async def events(self, call: Call) -> EventsResult:
        """Begin a stream; its first event comes after the reply (a new task starts when this one has sent it)."""
        call.check_streams()
        holder = holder_of(call.peer.caller, owner=self._registry.rules.owner)
        if self._is_full(holder):
            await self._notice_who_left()
        if self._is_full(holder):
            mine = Counter(self._subscribers.values())[holder]
            raise errors.Failed(
                f"{len(self._subscribers)} callers stream events already, {mine} of them under your name",
                hint="end one of them",
            )
        subscription = Subscription(self._instance.bus)
        self._subscribers[subscription] = holder

        async def tell(event: Event) -> bool:
            self._registry.check(call.caller, COMMANDS["events"])  # a reload may have taken its role
            return await call.note("event", event)

        async def stream() -> None:
            try:
                with closing(subscription):
                    await subscription.pump(tell)
            except ConnectionError:
                pass  # the caller left: that is how a stream ends
            except errors.NotPermitted as error:
                with suppress(ConnectionError):
                    await call.peer.send(failure(None, error))
            finally:
                self._subscribers.pop(subscription, None)

        call.peer.spawn(stream())
        status = self._instance.status()
        return EventsResult(state=status.state, since=status.since)


def _look_at(done: asyncio.Future[Any]) -> None:
    """Look at its exception: asyncio logs one that nobody was left to be told, and the audit has it."""
    if not done.cancelled():
        done.exception()
