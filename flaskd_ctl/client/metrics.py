"""Statistics of requests, for `Client` and `AsyncClient`."""

from flaskd_ctl.client.asking import Asking
from flaskd_ctl.client.session import given
from flaskd_ctl.protocol import MetricsResult, StatsResult
from flaskd_ctl.transports.backend import run


class MetricsMethods(Asking):
    """The coroutines of `BaseClient` about statistics."""

    async def stats(
        self,
        endpoint: str | None = None,
        *,
        worker: int | None = None,
        limit: int | None = None,
        step: int | None = None,
    ) -> StatsResult:
        """Return statistics of finished requests, of all endpoints and workers or of one; raises NotFound (see `Client`)."""
        params = given(endpoint=endpoint, worker=worker, limit=limit, step=step)
        return await self._typed("stats", StatsResult, params)

    async def metrics(self) -> str:
        """Return the statistics in the OpenMetrics format; raises WrongState without the extra `metrics` on the other side."""
        return (await self._typed("metrics", MetricsResult)).text


class BlockingMetricsMethods:
    """The methods of `Client` about statistics."""

    _client: MetricsMethods

    def stats(
        self,
        endpoint: str | None = None,
        *,
        worker: int | None = None,
        limit: int | None = None,
        step: int | None = None,
    ) -> StatsResult:
        """Return statistics of finished requests, of all endpoints and workers or of one.

        `limit` is the number of endpoints, those that took most time; `step` the length of the steps of the history in seconds,
        a multiple of 10 (an instance of an older version refuses it). Raises NotFound for an endpoint without a finished
        request and for a worker that is not there, WrongState if the ledger of requests is off.
        """
        return run(self._client.stats(endpoint, worker=worker, limit=limit, step=step))

    def metrics(self) -> str:
        """Return the statistics in the OpenMetrics format; raises WrongState without the extra `metrics` on the other side."""
        return run(self._client.metrics())
