"""The workers as the control socket and signals see them (see `operable.Workers`)."""

from concurrent.futures import Future

from flaskd.supervisor.changes import Changes
from flaskd.supervisor.fleet import Fleet
from flaskd.supervisor.watching.report import Report
from flaskd.systemd.status import ServiceStatus
from flaskd_ctl.protocol import IncidentsResult, ReloadResult, WorkersResult


class Workers:
    """Changes and lists the workers of `fleet`; a reload is shown to the service manager."""

    def __init__(self, fleet: Fleet, changes: Changes, report: Report, service: ServiceStatus) -> None:
        self._fleet = fleet
        self._changes = changes
        self._report = report
        self._service = service
        self.order_scale = changes.order_scale
        self.order_restart = changes.order_restart

    def order_reload(self, *, check: str | None) -> "Future[ReloadResult]":
        """See `Changes.order_reload`."""
        return self._service.track_reload(lambda: self._changes.order_reload(check=check))

    def workers(self) -> WorkersResult:
        """List the workers, oldest first."""
        return WorkersResult(workers=self._report.workers())

    def incidents(self, ident: int | None) -> IncidentsResult:
        """List the incidents, or show one in full; raises NotFound."""
        return self._fleet.history.incidents.listed(ident)
