"""Commands that show numbers."""

from flaskd.control.registry import Call
from flaskd.operable import Operable
from flaskd_ctl.protocol import StatsParams, StatsResult


class Metrics:
    """Handles the commands that show numbers."""

    def __init__(self, instance: Operable) -> None:
        self._instance = instance

    def stats(self, call: Call[StatsParams]) -> StatsResult:
        """Return the numbers of finished requests."""
        return self._instance.stats(call.params)
