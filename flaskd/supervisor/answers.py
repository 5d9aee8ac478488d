"""What an instance with workers says of itself: from shared memory and from the kernel, so that no worker is needed for it."""

import functools
import os
from collections.abc import Callable

from flaskd.engines.choice import Choice
from flaskd.instance import Operated
from flaskd.metrics import openmetrics
from flaskd.release.code import Code, on_disk
from flaskd.supervisor.fleet import Fleet
from flaskd.supervisor.launcher import Launcher
from flaskd.supervisor.watching.report import Report
from flaskd_ctl.protocol import (
    EndpointStats,
    ErrorsResult,
    RequestsResult,
    SlowResult,
    StatsParams,
    StatsResult,
    StatusResult,
)


class Answers(Operated):
    """The part of a `Daemon` that only looks."""

    _report: Report
    _fleet: Fleet
    _launcher: Launcher
    _engine: Choice

    def status(self) -> StatusResult:
        """See `Operable.status`."""
        return self._report.status(self._engine)

    def requests(self) -> RequestsResult:
        """See `Operable.requests`."""
        self.check_ledger("`flaskd_ctl status` shows the connections")
        return self._report.requests()

    def stats(self, asked: StatsParams) -> StatsResult:
        """See `Operable.stats`."""
        self.check_ledger()
        return self._report.stats(asked)

    def endpoint_stats(self) -> list[EndpointStats]:
        """See `Operable.endpoint_stats`."""
        self.check_ledger()
        return self._report.endpoint_stats()

    def metrics(self, accept: str) -> Callable[[], tuple[str, bytes]]:
        """See `Operable.metrics`."""
        self.check_ledger()
        return functools.partial(openmetrics.write, self._report.exposed(), accept)

    def errors(self, ident: str | None) -> ErrorsResult:
        """See `Operable.errors`."""
        self.check_ledger("see the application's log")
        return self._report.errors(ident)

    def slow(self, limit: int) -> SlowResult:
        """See `Operable.slow`."""
        self.check_ledger("see the access log")
        return self._report.slow(limit)

    def code_on_disk(self) -> Code:
        """See `Operable.code_on_disk`."""
        return on_disk(self._fleet.settings.app, self._launcher.directory or os.getcwd())

    def counts_requests(self) -> bool:
        """See `Operated.counts_requests`."""
        return self._fleet.settings.ledger
