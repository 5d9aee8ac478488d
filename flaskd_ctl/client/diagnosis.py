"""What `AsyncClient` and `Client` do to look into the processes that run the application, written once."""

from typing import Any, TypeVar

from flaskd_ctl.client.shapes import given
from flaskd_ctl.protocol import (
    Garbage,
    GcResult,
    InFlight,
    ProfileResult,
    RequestsResult,
    StacksResult,
    WorkerProfile,
    WorkerStacks,
)

T = TypeVar("T")


class Diagnosis:
    """Methods of `BaseClient`."""

    async def requests(
        self,
        *,
        older: float | None = None,
        path: str | None = None,
        endpoint: str | None = None,
        worker: int | None = None,
    ) -> list[InFlight]:
        """Return the requests in flight, oldest first (see `Client`)."""
        params = given(older=older, path=path, endpoint=endpoint, worker=worker)
        return (await self._typed("requests", RequestsResult, params)).requests

    async def request_stacks(
        self,
        *,
        older: float | None = None,
        path: str | None = None,
        endpoint: str | None = None,
        worker: int | None = None,
    ) -> RequestsResult:
        """Return the requests in flight and what their threads do (see `Client`)."""
        params = given(older=older, path=path, endpoint=endpoint, worker=worker, stacks=True)
        return await self._typed("requests", RequestsResult, params)

    async def stacks(self, worker: int | None = None) -> list[WorkerStacks]:
        """Return what the threads of each worker do, or of one (see `Client`)."""
        return (await self._typed("stacks", StacksResult, given(worker=worker))).workers

    async def profile(
        self,
        seconds: float = 10.0,
        *,
        rate: float = 100.0,
        endpoint: str | None = None,
        all_threads: bool = False,
        worker: int | None = None,
    ) -> list[WorkerProfile]:
        """Look for `seconds` at what the threads of each worker do, or of one (see `Client`)."""
        params = given(seconds=seconds, rate=rate, endpoint=endpoint, all_threads=all_threads, worker=worker)
        return (await self._patient("profile", params, ProfileResult)).workers

    async def gc(self, worker: int | None = None) -> list[Garbage]:
        """Run the garbage collector in each worker, or in one; return what it did in each."""
        return (await self._patient("gc", given(worker=worker), GcResult)).workers

    async def _typed(self, method: str, shape: type[T], params: dict[str, Any] | None = None) -> T:
        raise NotImplementedError

    async def _patient(
        self, method: str, params: dict[str, Any], shape: type[T], timeout: float | None = None
    ) -> T:
        raise NotImplementedError
