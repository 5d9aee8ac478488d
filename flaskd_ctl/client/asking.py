"""What the methods of `BaseClient` ask with: the connection that is kept, and one for what takes longer."""

from typing import Any, ClassVar, TypeVar

from flaskd_ctl.client.following import follow
from flaskd_ctl.client.session import RESPONSE_TIMEOUT, KeptSession, OnProgress
from flaskd_ctl.client.shapes import typed
from flaskd_ctl.contract.endpoint import Target
from flaskd_ctl.discovery.instances import Instances
from flaskd_ctl.transports.backend import BLOCKING, Backend

T = TypeVar("T")


class Asking:
    """Asks one instance; the modules of this package that are named as those of `contract.commands` add the commands.

    Each has a class of coroutines for `BaseClient`, and a class of the same methods for `Client`, which explain them.
    """

    _backend: ClassVar[Backend] = BLOCKING

    def __init__(
        self,
        name: str | None = None,
        *,
        endpoint: str | None = None,
        runtime_dir: str | None = None,
        key: str | None = None,
        server_key: str | None = None,
        timeout: float = RESPONSE_TIMEOUT,
    ) -> None:
        self._name = name
        self._endpoint = endpoint
        self._runtime_dir = runtime_dir
        self._key = key
        self._server_key = server_key
        self._timeout = timeout
        self._session = KeptSession(self._backend, self._target, timeout=timeout)

    async def _follow(
        self,
        method: str,
        params: dict[str, Any],
        *,
        wait: bool = True,
        on_progress: OnProgress | None = None,
        timeout: float | None = None,
    ) -> dict[str, Any] | None:
        """Ask for what may take longer than the client's `timeout`; a daemon that falls silent is pinged."""
        return await follow(
            self._backend,
            self._target(),
            method,
            params,
            first=self._timeout,
            whole=timeout,
            wait=wait,
            on_progress=on_progress,
        )

    async def _patient(self, method: str, shape: type[T], params: dict[str, Any] | None = None) -> T:
        return typed(method, await self._follow(method, params or {}), shape)

    async def _typed(self, method: str, shape: type[T], params: dict[str, Any] | None = None) -> T:
        return typed(method, await self._session.call(method, params), shape)

    def _target(self) -> Target:
        return Instances(self._runtime_dir).target(
            self._name, endpoint=self._endpoint, key=self._key, server_key=self._server_key
        )
