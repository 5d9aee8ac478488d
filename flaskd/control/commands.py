"""What each command does: a call on the daemon, on the control loop, without blocking it.

`Daemon` is all that the control plane knows of what it controls; `flaskd.embedded.server` implements it in one process,
`flaskd.supervisor.daemon` with a `Fleet` of workers.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import closing, suppress
from typing import Any, Protocol, TypeVar, cast

from flaskd.audit.log import Audit
from flaskd.control.describe import document
from flaskd.control.registry import Call, Registry, failure
from flaskd.control.transports.subscription import Subscription
from flaskd.events import Bus
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

MOST_SUBSCRIBERS = 64
TURNS = 8  # of the loop, in which a subscriber's task sends one event


class Fleet(Protocol):
    """The workers, which can be replaced and counted. `order_` methods return at once, as those of `Daemon` do.

    What cannot be done is a ControlError, raised or set on the future: Failed (with `data["traceback"]` where the application
    had one), WrongState, NotFound, InvalidParams, TimedOut.
    """

    def order_reload(self, by: Actor, *, check: str | None) -> Future[ReloadResult]:
        """Replace every worker; completes when no old one accepts anything."""
        ...

    def order_scale(self, by: Actor, *, to: int | None, by_count: int | None) -> Future[ScaleResult]:
        """Have `to` workers, or `by_count` more; completes when so many serve and no others."""
        ...

    def order_restart(self, by: Actor, worker: int) -> Future[RestartResult]:
        """Replace one worker; completes when the new one serves and the old one accepts nothing."""
        ...

    def workers(self) -> WorkersResult:
        """List the workers."""
        ...

    def incidents(self, ident: int | None) -> IncidentsResult:
        """List the incidents, or show one in full."""
        ...


class Daemon(Protocol):
    """What can be operated. The `order_` methods return at once; their futures complete when the thing has happened.

    `fleet` is None where it serves in one process.
    """

    bus: Bus
    version: str
    audit: Audit

    @property
    def fleet(self) -> Fleet | None:
        """The workers."""
        ...

    def status(self) -> StatusResult:
        """Tell what an operator wants to know at a glance."""
        ...

    def requests(self) -> RequestsResult:
        """List what is in flight."""
        ...

    def order_drain(self, by: Actor) -> Future[StateResult]:
        """Go out of rotation."""
        ...

    def order_resume(self, by: Actor) -> Future[StateResult]:
        """Go back into rotation."""
        ...

    def order_shutdown(
        self,
        by: Actor,
        *,
        grace: float | None,
        lame_duck: float | None = None,
        wait_unrouted: float | None = None,
    ) -> Future[ShutdownResult]:
        """Stop; completes when nothing is left to answer, while the control plane still answers. None: as it is set."""
        ...

    def order_kill(self, by: Actor) -> None:
        """End without waiting for any request."""
        ...


class Commands:
    """The handlers of all commands, for one daemon: plain functions where the answer is at hand."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._subscribers: set[Subscription] = set()

    def register(self, registry: Registry) -> None:
        """Serve every command; the handler of each is the method of its name."""
        self._registry = registry
        for name in COMMANDS:
            registry.add(name, getattr(self, name))

    def end_streams(self) -> None:
        """Let each `events` stream end when it has sent what is queued."""
        for subscription in self._subscribers:
            subscription.end()

    async def _notice_who_left(self) -> None:
        """Send each subscriber that nothing was lost: of a ZeroMQ peer that left one hears only by sending to it."""
        for subscription in self._subscribers:
            subscription.probe()
        for _ in range(TURNS):
            await asyncio.sleep(0)

    def ping(self, call: Call) -> PingResult:
        """Say that we are here."""
        status = self._daemon.status()
        return PingResult(name=status.name, pid=status.pid, state=status.state, protocol=PROTOCOL_VERSION)

    def status(self, call: Call) -> StatusResult:
        """Tell what an operator wants to know at a glance."""
        return self._daemon.status()

    def describe(self, call: Call) -> dict[str, Any]:
        """Tell what can be asked."""
        role = self._registry.role_of(call.caller) or Role.VIEWER  # some role it has, or it would not be here
        return document(self._registry.served(), version=self._daemon.version, role=role)

    async def drain(self, call: Call) -> StateResult:
        """Go out of rotation."""
        return await asyncio.wrap_future(call.ordered(self._daemon.order_drain(call.peer.caller)))

    async def resume(self, call: Call) -> StateResult:
        """Go back into rotation."""
        return await asyncio.wrap_future(call.ordered(self._daemon.order_resume(call.peer.caller)))

    async def reload(self, call: Call) -> ReloadResult:
        """Replace every worker, telling each step if asked to."""
        params = cast(ReloadParams, call.params)
        fleet = self._fleet("cannot be reloaded")
        return await self._follow(
            call,
            lambda by: fleet.order_reload(by, check=params.check),
            progress=WorkerEvent if params.progress else None,
        )

    async def scale(self, call: Call) -> ScaleResult:
        """Change the number of workers, telling each step if asked to."""
        params = cast(ScaleParams, call.params)
        fleet = self._fleet("cannot be scaled")
        if (params.to is None) == (params.by is None):
            raise errors.InvalidParams("scale takes exactly one of `to` and `by`", data={"path": "params"})
        if params.by == 0:
            raise errors.InvalidParams("scale by 0 would change nothing", data={"path": "params.by"})
        return await self._follow(
            call,
            lambda by: fleet.order_scale(by, to=params.to, by_count=params.by),
            progress=WorkerEvent if params.progress else None,
        )

    async def restart_worker(self, call: Call) -> RestartResult:
        """Replace one worker, telling each step if asked to."""
        params = cast(RestartParams, call.params)
        fleet = self._fleet("has no worker to restart")
        return await self._follow(
            call,
            lambda by: fleet.order_restart(by, params.worker),
            progress=WorkerEvent if params.progress else None,
        )

    async def shutdown(self, call: Call) -> ShutdownResult:
        """Stop, telling the progress if asked to, and reply when nothing is left."""
        params = cast(ShutdownParams, call.params)
        return await self._follow(
            call,
            lambda by: self._daemon.order_shutdown(
                by, grace=params.grace, lame_duck=params.lame_duck, wait_unrouted=params.wait_unrouted
            ),
            progress=ProgressEvent if params.progress else None,
        )

    async def _follow(self, call: Call, order: Callable[[Actor], Future[T]], *, progress: type | None) -> T:
        """Give an order and wait until it is done, sending the events of the kind `progress` meanwhile."""

        def ordered() -> asyncio.Future[T]:
            # Shielded: a caller that leaves takes nothing back.
            doing = asyncio.wrap_future(call.ordered(order(call.peer.caller)))
            waited = asyncio.shield(doing)
            for each in (doing, waited):
                each.add_done_callback(_look_at)
            return waited

        if progress is None:
            return await ordered()
        call.check_streams()

        async def tell(event: Event) -> bool:
            return await call.note("progress", event)

        with closing(Subscription(self._daemon.bus, progress)) as told:
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

    def _fleet(self, lacks: str) -> Fleet:
        """Return the workers; raises WrongState, saying what one process `lacks`, where there are none."""
        fleet = self._daemon.fleet
        if fleet is None:
            name = self._daemon.status().name
            raise errors.WrongState(
                f"{name} serves in one process, which {lacks}", hint="run it with `flaskd run`"
            )
        return fleet

    def kill(self, call: Call) -> KillResult:
        """Reply, then end."""
        status = self._daemon.status()
        self._daemon.order_kill(call.peer.caller)
        return KillResult(pid=status.pid, process_exits=status.process_exits)

    def workers(self, call: Call) -> WorkersResult:
        """List the workers."""
        return self._fleet("has no workers").workers()

    def requests(self, call: Call) -> RequestsResult:
        """List what is in flight."""
        return self._daemon.requests()

    def incidents(self, call: Call) -> IncidentsResult:
        """List what went wrong with workers, or show one of these in full."""
        params = cast(IncidentsParams, call.params)
        return self._fleet("keeps no incidents of workers").incidents(params.id)

    def history(self, call: Call) -> HistoryResult:
        """Show the newest orders of the audit log."""
        params = cast(HistoryParams, call.params)
        audit = self._daemon.audit
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
        if len(self._subscribers) >= MOST_SUBSCRIBERS:
            await self._notice_who_left()
        if len(self._subscribers) >= MOST_SUBSCRIBERS:
            raise errors.Failed(f"{MOST_SUBSCRIBERS} callers stream events already", hint="end one of them")
        subscription = Subscription(self._daemon.bus)
        self._subscribers.add(subscription)

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
                self._subscribers.discard(subscription)

        call.peer.spawn(stream())
        status = self._daemon.status()
        return EventsResult(state=status.state, since=status.since)


def _look_at(done: asyncio.Future[Any]) -> None:
    """Look at its exception: asyncio logs one that nobody was left to be told, and the audit has it."""
    if not done.cancelled():
        done.exception()
