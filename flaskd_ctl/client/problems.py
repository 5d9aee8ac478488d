"""Errors, slow requests and requests to cancel, for `Client` and `AsyncClient`."""

from flaskd_ctl.client.asking import Asking
from flaskd_ctl.client.session import given
from flaskd_ctl.protocol import CancelResult, ErrorGroup, ErrorsResult, SlowRequest, SlowResult
from flaskd_ctl.transports.backend import run


class ProblemMethods(Asking):
    """The coroutines of `BaseClient` about what goes wrong or takes long."""

    async def errors(self, id: str | None = None) -> list[ErrorGroup]:  # noqa: A002 - the parameter's name on the wire
        """Return the newest errors of the application, newest last; with `id`, one of them in full. Raises NotFound."""
        return (await self._typed("errors", ErrorsResult, given(id=id))).errors

    async def slow(self, limit: int = 20) -> list[SlowRequest]:
        """Return the slowest requests that ended within the last hour, slowest first."""
        return (await self._typed("slow", SlowResult, {"limit": limit})).requests

    async def cancel(self, id: int | str, worker: int | None = None) -> CancelResult:  # noqa: A002 - as above
        """End one request; return when it has ended (see `Client`)."""
        return await self._typed("cancel", CancelResult, given(id=str(id), worker=worker))


class BlockingProblemMethods:
    """The methods of `Client` about what goes wrong or takes long."""

    _client: ProblemMethods

    def errors(self, id: str | None = None) -> list[ErrorGroup]:  # noqa: A002 - the parameter's name on the wire
        """Return the newest errors of the application, newest last; with `id`, one of them in full. Raises NotFound."""
        return run(self._client.errors(id))

    def slow(self, limit: int = 20) -> list[SlowRequest]:
        """Return the slowest requests that ended within the last hour, slowest first."""
        return run(self._client.slow(limit))

    def cancel(self, id: int | str, worker: int | None = None) -> CancelResult:  # noqa: A002 - as above
        """End one request with an exception in the application; return when it has ended.

        `id` is its number in `requests`, or its X-Request-ID; `worker` is needed if several workers have one of that number.
        Raises NotFound if it is not in flight, InvalidParams if several are meant, WrongState if it ended by itself, and
        TimedOut if it has not ended after a second: then the exception may still come.
        """
        return run(self._client.cancel(id, worker))
