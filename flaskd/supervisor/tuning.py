"""What an operator sets in an instance with workers."""

import contextlib

from flaskd.audit.log import Audit
from flaskd.errors import ConfigError
from flaskd.instance import stop_times
from flaskd.process import ending, inherited
from flaskd.settings.checks import check_together
from flaskd.settings.schema import Settings
from flaskd.settings.sources import ReadSettings
from flaskd.shutdown.owner import Owner
from flaskd.supervisor.changes import SettingsSource
from flaskd.supervisor.fleet import Fleet
from flaskd.supervisor.launcher import Launcher
from flaskd.supervisor.plan import WorkerState
from flaskd.supervisor.scaling.scaler import Scaler
from flaskd.supervisor.tasks import TaskOrders
from flaskd.supervisor.watching.checks import Checks
from flaskd.tasks import Tune
from flaskd.tuning.overrides import Override
from flaskd.tuning.tuner import Tuner
from flaskd_ctl.errors import ControlError
from flaskd_ctl.protocol import Actor, Event, WorkerEvent


class FleetTuning:
    """Lets the supervisor and its workers use what is set (see `tuner.User`)."""

    def __init__(
        self,
        fleet: Fleet,
        *,
        launcher: Launcher,
        checks: Checks,
        scaler: Scaler,
        tasks: TaskOrders,
        owner: Owner,
        source: SettingsSource,
        audit: Audit,
    ) -> None:
        self._fleet = fleet
        self._launcher = launcher
        self._checks = checks
        self._scaler = scaler
        self._owner = owner
        self._source = source
        self.audit = audit
        self.order_task = tasks.order

    @property
    def engine(self) -> str:
        """The name of the engine of new workers."""
        return self._launcher.engine

    @property
    def wanted_workers(self) -> int:
        """How many workers are to serve."""
        return self._fleet.wanted

    @property
    def scaled_workers(self) -> Override | None:
        """The number of workers that an operator has set with `scale`."""
        hold = self._scaler.held
        return None if hold is None else Override(str(hold.workers), Actor(via="control"), hold.until)

    def read_files(self) -> ReadSettings:
        """Read the settings again; on any thread."""
        return self._source.look()

    def check_live(self, settings: Settings) -> None:
        """Raise FlaskdError if these settings cannot be used now, in the workers that there are."""
        check_together(settings)
        if settings.threads != self._fleet.settings.threads:
            ending.check_descriptors(settings.threads, inherited.raise_descriptor_limit())
            most = min((each.request_table.rows for each in self._fleet.members.values()), default=None)
            if most is not None and settings.threads > most:
                raise ConfigError(
                    f"set: threads cannot be {settings.threads} in a worker that was started with {most // 2}: at most {most}",
                    hint="for more, change it where `flaskd_ctl config` says that it comes from, then `flaskd_ctl reload`",
                )

    def use_live(self, settings: Settings, tune: Tune) -> None:
        """Use these settings, and let new workers have them."""
        self._launcher.tune = tune
        self._fleet.settings = settings
        self._owner.times = stop_times(settings)
        self._checks.check_soon()
        self._scaler.use(settings)

    def follow(self, tuner: Tuner, event: Event) -> None:
        """Tell a worker that has begun to serve what was set while it started; forget what was set for one that is gone."""
        if not isinstance(event, WorkerEvent):
            return
        if event.state == WorkerState.GONE.value:
            tuner.forget_worker(event.worker)
        elif event.state == WorkerState.SERVING.value and (tune := tuner.tune()) is not None:
            with contextlib.suppress(ControlError):
                self.order_task(tune, event.worker)
