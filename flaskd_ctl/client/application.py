"""Commands of the application's own, and those that show the application: methods of `BaseClient`."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final, TypeVar

from flaskd_ctl.client.following import follow
from flaskd_ctl.client.shapes import given, typed, typed_progress
from flaskd_ctl.contract.endpoint import Target
from flaskd_ctl.protocol import AppConfigResult, CallProgressEvent, CallResult, RoutesResult
from flaskd_ctl.transports.backend import BLOCKING, Backend

T = TypeVar("T")

REPLY_TIME: Final = 2.0
"""Seconds that a daemon has to say that a command has had its time."""


class ApplicationMethods:
    """What a client asks of the application; `Client` explains the parameters."""

    _backend: ClassVar[Backend] = BLOCKING
    _timeout: float

    async def call(
        self,
        name: str,
        params: Mapping[str, Any] | None = None,
        *,
        worker: int | None = None,
        timeout: float | None = None,
        on_progress: Callable[[CallProgressEvent], None] | None = None,
    ) -> CallResult:
        """Run a command of the application; return what it did in each worker that ran it (see `Client`)."""
        result = await follow(
            self._backend,
            self._target(),
            "call",
            given(name=name, params=dict(params or {}), worker=worker, timeout=timeout),
            first=self._timeout,
            whole=None if timeout is None else timeout + REPLY_TIME,
            on_progress=typed_progress(on_progress, CallProgressEvent),
        )
        return typed("call", result, CallResult)

    async def routes(self, worker: int | None = None) -> RoutesResult:
        """Return the routes of the Flask application, as one worker has them."""
        return await self._typed("routes", RoutesResult, given(worker=worker))

    async def app_config(self, worker: int | None = None) -> AppConfigResult:
        """Return the configuration of the Flask application without secrets, as one worker has it."""
        return await self._typed("app_config", AppConfigResult, given(worker=worker))

    def _target(self) -> Target:
        raise NotImplementedError

    async def _typed(self, method: str, shape: type[T], params: dict[str, Any] | None = None) -> T:
        raise NotImplementedError
