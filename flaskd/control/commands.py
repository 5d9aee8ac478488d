"""What each command does: call the instance from the control loop, without blocking the loop."""

import asyncio
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import closing, suppress
from typing import Any, Final, TypeVar

import msgspec

from flaskd.control.access.shares import Holder, Places, holder_of
from flaskd.control.describe import encoded
from flaskd.control.registry import Call, Handler, failure
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
"""Event streams."""

TURNS: Final = 8  # turns of the loop in which a subscriber's task sends one event


class Commands:
    """The handlers of all commands on one instance. Those that can answer at once are plain functions."""

    def __init__(self, instance: Operable) -> None:
        self._instance = instance
        self._descriptions: dict[Role, msgspec.Raw] = {}
        self._subscribers: dict[Subscription, Holder] = {}

    @property
    def handlers(self) -> dict[str, Handler]:
        """The handler of each command: the method of its name."""
        return {name: getattr(self, name) for name in COMMANDS}

    def end_streams(self) -> None:
        """End each `events` stream once it has sent what is queued."""
        for subscription in self._subscribers:
            subscription.end()

    def ping(self, call: Call[Any]) -> PingResult:
        """Return the instance's name, pid and state."""
        status = self._instance.status()
        return PingResult(name=status.name, pid=status.pid, state=status.state, protocol=PROTOCOL_VERSION)

    def status(self, call: Call[Any]) -> StatusResult:
        """Describe the instance at a glance."""
        return self._instance.status()

    def describe(self, call: Call[Any]) -> msgspec.Raw:
        """Describe all commands; the document is made once for each role."""
        role = call.registry.role_of(call.caller) or Role.VIEWER  # it has a role, or the call was refused
        if role not in self._descriptions:
            self._descriptions[role] = encoded(list(COMMANDS.values()), version=__version__, role=role)
        return self._descriptions[role]

    async def drain(self, call: Call[Any]) -> StateResult:
        """Take the instance out of rotation."""
        return await asyncio.wrap_future(call.follow(self._instance.order_drain(call.peer.caller)))

    async def resume(self, call: Call[Any]) -> StateResult:
        """Put the instance back into rotation."""
        return await asyncio.wrap_future(call.follow(self._instance.order_resume(call.peer.caller)))

    async def reload(self, call: Call[ReloadParams]) -> ReloadResult:
        """Replace every worker; send the progress if asked to."""
        workers = self._workers("cannot be reloaded")
        return await self._follow(
            call,
            lambda by: workers.order_reload(check=call.params.check),
            progress=WorkerEvent if call.params.progress else None,
        )

    async def scale(self, call: Call[ScaleParams]) -> ScaleResult:
        """Change the number of workers; send the progress if asked to."""
        to, by = call.params.to, call.params.by
        workers = self._workers("cannot be scaled")
        if (to is None) == (by is None):
            raise errors.InvalidParams("scale takes exactly one of `to` and `by`", data={"path": "params"})
        if by == 0:
            raise errors.InvalidParams("scale by 0 would change nothing", data={"path": "params.by"})
        return await self._follow(
            call,
            lambda _: workers.order_scale(to=to, by=by),
            progress=WorkerEvent if call.params.progress else None,
        )

    async def restart_worker(self, call: Call[RestartParams]) -> RestartResult:
        """Replace one worker; send the progress if asked to."""
        workers = self._workers("has no worker to restart")
        return await self._follow(
            call,
            lambda by: workers.order_restart(call.params.worker),
            progress=WorkerEvent if call.params.progress else None,
        )

    async def shutdown(self, call: Call[ShutdownParams]) -> ShutdownResult:
        """Stop, and reply when no request is left; send the progress if asked to."""
        return await self._follow(
            call,
            lambda by: self._instance.order_shutdown(by, call.params),
            progress=ProgressEvent if call.params.progress else None,
        )

    async def _follow(
        self, call: Call[Any], order: Callable[[Actor], Future[T]], *, progress: type | None
    ) -> T:
        """Give an order and wait until it is done. Meanwhile send the events of the type `progress`."""

        def ordered() -> asyncio.Future[T]:
            # Shielded: a caller that disconnects cancels only its own wait.
            doing = asyncio.wrap_future(call.follow(order(call.peer.caller)))
            waited = asyncio.shield(doing)
            for each in (doing, waited):
                each.add_done_callback(_retrieve_exception)
            return waited

        if progress is None:
            return await ordered()
        call.check_streams()

        async def send(event: Event) -> bool:
            return await call.notify("progress", event)

        with closing(Subscription(self._instance.bus, progress)) as subscription:
            doing = ordered()
            sending = asyncio.create_task(subscription.pump(send))
            try:
                await asyncio.wait([doing])  # the events that led to a failure are sent before it
                subscription.end()
                await sending
                return doing.result()
            finally:
                sending.cancel()
                doing.cancel()

    def _workers(self, lacks: str) -> Workers:
        """Return the workers. Raises WrongState if the instance is one process, which `lacks` them."""
        workers = self._instance.fleet
        if workers is None:
            name = self._instance.status().name
            raise errors.WrongState(
                f"{name} serves in one process, which {lacks}", hint="run it with `flaskd run`"
            )
        return workers

    def kill(self, call: Call[Any]) -> KillResult:
        """Reply, then end at once."""
        status = self._instance.status()
        self._instance.order_kill(call.peer.caller)
        return KillResult(pid=status.pid, process_exits=status.process_exits)

    def workers(self, call: Call[Any]) -> WorkersResult:
        """List the workers."""
        return self._workers("has no workers").workers()

    def requests(self, call: Call[Any]) -> RequestsResult:
        """List the requests in flight."""
        return self._instance.requests()

    def incidents(self, call: Call[IncidentsParams]) -> IncidentsResult:
        """List the failures of workers, or show one of them in full."""
        return self._workers("keeps no incidents of workers").incidents(call.params.id)

    def history(self, call: Call[HistoryParams]) -> HistoryResult:
        """Return the newest entries of the audit log."""
        audit = self._instance.audit
        if not audit.path:
            raise errors.WrongState(
                "no audit log is kept", hint="set --audit-log PATH, or remove --audit-log off"
            )
        try:
            return HistoryResult(entries=audit.newest(call.params.limit))
        except OSError as error:
            raise errors.Failed(
                f"cannot read the audit log {audit.path}: {error.strerror}", hint="check its permissions"
            ) from None

    async def events(self, call: Call[Any]) -> EventsResult:
        """Start a stream. The first event follows the reply: a new task starts when this one has sent it."""
        call.check_streams()
        holder = holder_of(call.peer.caller, owner=call.registry.owner)
        if self._streams_full(holder):
            await self._probe_subscribers()
        if self._streams_full(holder):
            yours = list(self._subscribers.values()).count(holder)
            raise errors.Failed(
                f"{len(self._subscribers)} event streams are open already, {yours} of them yours",
                hint="end one of them",
            )
        subscription = Subscription(self._instance.bus)
        self._subscribers[subscription] = holder

        async def send(event: Event) -> bool:
            call.registry.check(call.caller, call.command)  # a reload may have changed the rules
            return await call.notify("event", event)

        async def stream() -> None:
            try:
                with closing(subscription):
                    await subscription.pump(send)
            except ConnectionError:
                pass  # the caller has disconnected: the usual end of a stream
            except errors.NotPermitted as error:
                with suppress(ConnectionError):
                    await call.peer.send(failure(None, error))
            finally:
                self._subscribers.pop(subscription, None)

        call.peer.spawn(stream())
        status = self._instance.status()
        return EventsResult(state=status.state, since=status.since)

    def _streams_full(self, newcomer: Holder) -> bool:
        return STREAMS.asked_to_leave(Counter(self._subscribers.values()), newcomer) is not None

    async def _probe_subscribers(self) -> None:
        """Send each subscriber an empty `lost` event: only sending shows that a ZeroMQ peer has disconnected."""
        for subscription in self._subscribers:
            subscription.probe()
        for _ in range(TURNS):
            await asyncio.sleep(0)


def _retrieve_exception(done: asyncio.Future[Any]) -> None:
    """Retrieve the exception: asyncio logs one that nobody retrieved, and the audit log has it already."""
    if not done.cancelled():
        done.exception()
