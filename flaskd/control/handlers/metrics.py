"""Commands that show numbers."""

from typing import Any

from flaskd.control.registry import Call
from flaskd.metrics.openmetrics import OPENMETRICS
from flaskd.operable import Operable
from flaskd.process.threads import in_thread
from flaskd_ctl.protocol import MetricsResult, StatsParams, StatsResult


class Metrics:
    """Handles the commands that show numbers."""

    def __init__(self, instance: Operable) -> None:
        self._instance = instance

    def stats(self, call: Call[StatsParams]) -> StatsResult:
        """Return the numbers of finished requests."""
        return self._instance.stats(call.params)

    async def metrics(self, call: Call[Any]) -> MetricsResult:
        """Return the numbers as OpenMetrics."""
        media_type, page = await in_thread(self._instance.metrics(OPENMETRICS))
        return MetricsResult(media_type=media_type, text=page.decode())
