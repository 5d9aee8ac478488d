"""The workers as the control socket and signals see them (see `operable.Workers`)."""

from concurrent.futures import Future

import msgspec

from flaskd.supervisor.changes import Changes
from flaskd.supervisor.fleet import Fleet
from flaskd.supervisor.scaling.scaler import Scaler
from flaskd.supervisor.watching.report import Report
from flaskd.systemd.status import ServiceStatus
from flaskd_ctl.protocol import IncidentsResult, ReloadResult, ScaleResult, WorkersResult


class Workers:
    """Changes and lists the workers of `fleet`; a reload is shown to the service manager."""

    def __init__(
        self, fleet: Fleet, changes: Changes, scaler: Scaler, report: Report, service: ServiceStatus
    ) -> None:
        self._fleet = fleet
        self._changes = changes
        self._scaler = scaler
        self._report = report
        self._service = service
        self.order_restart = changes.order_restart

    def order_reload(self, *, check: str | None) -> "Future[ReloadResult]":
        """See `Changes.order_reload`."""
        return self._service.track_reload(lambda: self._changes.order_reload(check=check))

    def order_scale(self, *, to: int | None, by: int | None, seconds: float | None) -> "Future[ScaleResult]":
        """See `operable.Workers.order_scale`. If the change fails, the number comes from where it came before."""
        scaler = self._scaler
        if to is None and by is None:
            future = self._changes.order_scale(to=scaler.own_number(), by=None)
            before, until = scaler.release(), None
        else:
            future = self._changes.order_scale(to=to, by=by)
            before = scaler.held
            until = scaler.hold(self._fleet.wanted, seconds).until
        answer: Future[ScaleResult] = Future()
        answer.set_running_or_notify_cancel()

        def done(future: "Future[ScaleResult]") -> None:
            if error := future.exception():
                scaler.put_back(before)
                answer.set_exception(error)
            else:
                answer.set_result(msgspec.structs.replace(future.result(), until=until))

        future.add_done_callback(done)
        return answer

    def workers(self) -> WorkersResult:
        """List the workers, oldest first, and the templates."""
        return WorkersResult(workers=self._report.workers(), templates=self._report.templates())

    def incidents(self, ident: int | None) -> IncidentsResult:
        """List the incidents, or show one in full; raises NotFound."""
        return self._fleet.history.incidents.listed(ident)
