"""Commands that change the instance."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import closing
from typing import Any, Final, TypeVar

from flaskd.control.registry import Call
from flaskd.control.transports.subscription import Subscription
from flaskd.operable import Operable, workers_of
from flaskd_ctl import errors
from flaskd_ctl.protocol import (
    Actor,
    Event,
    KillResult,
    ProgressEvent,
    ReloadParams,
    ReloadResult,
    RestartParams,
    RestartResult,
    ScaleParams,
    ScaleResult,
    ShutdownParams,
    ShutdownResult,
    StateResult,
    TemplateEvent,
    WorkerEvent,
)

T = TypeVar("T")

CHANGES: Final = (WorkerEvent, TemplateEvent)
"""Events that show the progress of a change of the workers."""


class Operating:
    """Handles the commands that change an instance."""

    def __init__(self, instance: Operable) -> None:
        self._instance = instance

    async def drain(self, call: Call[Any]) -> StateResult:
        """Take the instance out of rotation."""
        return await asyncio.wrap_future(call.follow(self._instance.order_drain(call.peer.caller)))

    async def resume(self, call: Call[Any]) -> StateResult:
        """Put the instance back into rotation."""
        return await asyncio.wrap_future(call.follow(self._instance.order_resume(call.peer.caller)))

    async def reload(self, call: Call[ReloadParams]) -> ReloadResult:
        """Replace every worker; send the progress if asked to."""
        workers = workers_of(self._instance, "cannot be reloaded")
        return await self._follow(
            call,
            lambda by: workers.order_reload(check=call.params.check),
            progress=CHANGES if call.params.progress else (),
        )

    async def scale(self, call: Call[ScaleParams]) -> ScaleResult:
        """Change the number of workers; send the progress if asked to."""
        to, by, seconds = call.params.to, call.params.by, call.params.for_
        workers = workers_of(self._instance, "cannot be scaled")
        if [to is not None, by is not None, call.params.auto].count(True) != 1:
            raise errors.InvalidParams(
                "scale takes exactly one of `to`, `by` and `auto`", data={"path": "params"}
            )
        if call.params.auto and seconds is not None:
            raise errors.InvalidParams(
                "`for` goes with a number of workers, not with `auto`", data={"path": "params.for"}
            )
        if by == 0:
            raise errors.InvalidParams("scale by 0 would change nothing", data={"path": "params.by"})
        return await self._follow(
            call,
            lambda _: workers.order_scale(to=to, by=by, seconds=seconds),
            progress=CHANGES if call.params.progress else (),
        )

    async def restart_worker(self, call: Call[RestartParams]) -> RestartResult:
        """Replace one worker; send the progress if asked to."""
        workers = workers_of(self._instance, "has no worker to restart")
        return await self._follow(
            call,
            lambda by: workers.order_restart(call.params.worker),
            progress=CHANGES if call.params.progress else (),
        )

    async def shutdown(self, call: Call[ShutdownParams]) -> ShutdownResult:
        """Stop, and reply when no request is left; send the progress if asked to."""
        return await self._follow(
            call,
            lambda by: self._instance.order_shutdown(by, call.params),
            progress=(ProgressEvent,) if call.params.progress else (),
        )

    def kill(self, call: Call[Any]) -> KillResult:
        """Reply, then end at once."""
        status = self._instance.status()
        self._instance.order_kill(call.peer.caller)
        return KillResult(pid=status.pid, process_exits=status.process_exits)

    async def _follow(
        self,
        call: Call[Any],
        order: Callable[[Actor], Future[T]],
        *,
        progress: Sequence[type],
    ) -> T:
        """Give an order and wait until it is done. Meanwhile send the events of the types `progress`."""

        def ordered() -> asyncio.Future[T]:
            # Shielded: a caller that disconnects cancels only its own wait.
            doing = asyncio.wrap_future(call.follow(order(call.peer.caller)))
            waited = asyncio.shield(doing)
            for each in (doing, waited):
                each.add_done_callback(_retrieve_exception)
            return waited

        if not progress:
            return await ordered()
        call.check_streams()

        async def send(event: Event) -> bool:
            return await call.notify("progress", event)

        with closing(Subscription(self._instance.bus, *progress)) as subscription:
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


def _retrieve_exception(done: asyncio.Future[Any]) -> None:
    """Retrieve the exception: asyncio logs one that nobody retrieved, and the audit log has it already."""
    if not done.cancelled():
        done.exception()
