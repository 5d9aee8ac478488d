"""Commands of the application's own, and those that show it, for `Client` and `AsyncClient`."""

from collections.abc import Callable, Mapping
from typing import Any

from flaskd_ctl.client.asking import Asking
from flaskd_ctl.client.following import REPLY_TIME
from flaskd_ctl.client.session import given
from flaskd_ctl.client.shapes import typed, typed_progress
from flaskd_ctl.protocol import AppConfigResult, CallProgressEvent, CallResult, RoutesResult
from flaskd_ctl.transports.backend import run


class ApplicationMethods(Asking):
    """The coroutines of `BaseClient` about the application."""

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
        result = await self._follow(
            "call",
            given(name=name, params=dict(params or {}), worker=worker, timeout=timeout),
            on_progress=typed_progress(on_progress, CallProgressEvent),
            timeout=None if timeout is None else timeout + REPLY_TIME,
        )
        return typed("call", result, CallResult)

    async def routes(self, worker: int | None = None) -> RoutesResult:
        """Return the routes of the Flask application, as one worker has them."""
        return await self._typed("routes", RoutesResult, given(worker=worker))

    async def app_config(self, worker: int | None = None) -> AppConfigResult:
        """Return the configuration of the Flask application without secrets, as one worker has it."""
        return await self._typed("app_config", AppConfigResult, given(worker=worker))


class BlockingApplicationMethods:
    """The methods of `Client` about the application."""

    _client: ApplicationMethods

    def call(
        self,
        name: str,
        params: Mapping[str, Any] | None = None,
        *,
        worker: int | None = None,
        timeout: float | None = None,
        on_progress: Callable[[CallProgressEvent], None] | None = None,
    ) -> CallResult:
        """Run a command of the application (`@flaskd.command`); return what it did in each worker that ran it.

        `worker` runs it in that one. `timeout` is what the command may take, in seconds; None is what it declares itself.
        `on_progress` is called for what it yields. Raises NotFound for an unknown command or worker, InvalidParams,
        NotPermitted, TimedOut (the command continues), and Failed (`data["traceback"]`: the application's). If it ran in
        several workers and failed in some, or in each in its own way, the results have the `error`.
        """
        return run(self._client.call(name, params, worker=worker, timeout=timeout, on_progress=on_progress))

    def routes(self, worker: int | None = None) -> RoutesResult:
        """Return the routes of the Flask application, as one worker has them."""
        return run(self._client.routes(worker))

    def app_config(self, worker: int | None = None) -> AppConfigResult:
        """Return the configuration of the Flask application without secrets, as one worker has it."""
        return run(self._client.app_config(worker))
