"""What the processes that run the application do, for `Client` and `AsyncClient`."""

from flaskd_ctl.client.asking import Asking
from flaskd_ctl.client.session import given
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
from flaskd_ctl.transports.backend import run


class DiagnosisMethods(Asking):
    """The coroutines of `BaseClient` that look into the processes that run the application."""

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
        """Sample for `seconds` what the threads of each worker do, or of one (see `Client`)."""
        params = given(seconds=seconds, rate=rate, endpoint=endpoint, all_threads=all_threads, worker=worker)
        return (await self._patient("profile", ProfileResult, params)).workers

    async def gc(self, worker: int | None = None) -> list[Garbage]:
        """Run the garbage collector in each worker, or in one; return what it did in each."""
        return (await self._patient("gc", GcResult, given(worker=worker))).workers


class BlockingDiagnosisMethods:
    """The methods of `Client` that look into the processes that run the application."""

    _client: DiagnosisMethods

    def requests(
        self,
        *,
        older: float | None = None,
        path: str | None = None,
        endpoint: str | None = None,
        worker: int | None = None,
    ) -> list[InFlight]:
        """Return the requests in flight, oldest first.

        `older`: only those that began at least so many seconds ago. `path`: whose path begins so. Raises NotFound for an
        unknown worker, WrongState if the ledger of requests is off.
        """
        return run(self._client.requests(older=older, path=path, endpoint=endpoint, worker=worker))

    def request_stacks(
        self,
        *,
        older: float | None = None,
        path: str | None = None,
        endpoint: str | None = None,
        worker: int | None = None,
    ) -> RequestsResult:
        """Return the requests in flight, as `requests` does, and what their threads do."""
        return run(self._client.request_stacks(older=older, path=path, endpoint=endpoint, worker=worker))

    def stacks(self, worker: int | None = None) -> list[WorkerStacks]:
        """Return what the threads of each worker do, or of one; requests first, equal stacks together.

        A worker that does not reply within 1 s writes its stacks in a signal handler; `note` says so. `error` is set for one
        that cannot, as it is stopped. Raises NotFound for an unknown worker.
        """
        return run(self._client.stacks(worker))

    def profile(
        self,
        seconds: float = 10.0,
        *,
        rate: float = 100.0,
        endpoint: str | None = None,
        all_threads: bool = False,
        worker: int | None = None,
    ) -> list[WorkerProfile]:
        """Sample for `seconds` (0.1 to 600), `rate` times a second (1 to 1000), what threads do; return what was seen.

        Of those that serve a request; with `endpoint`, a request of this endpoint; with `all_threads`, of all. `error` is set
        for a worker that could not be profiled: another profile is under way, it hangs, or the endpoint is unknown. Raises
        NotFound for an unknown worker.
        """
        return run(
            self._client.profile(
                seconds, rate=rate, endpoint=endpoint, all_threads=all_threads, worker=worker
            )
        )

    def gc(self, worker: int | None = None) -> list[Garbage]:
        """Run the garbage collector in each worker, or in one; return what it did in each."""
        return run(self._client.gc(worker))
