"""What an operator sets in a `Server`."""

import resource
from collections.abc import Callable

from flaskd.audit.log import Audit
from flaskd.instance import Instance, stop_times
from flaskd.process import ending
from flaskd.settings.checks import check_alone
from flaskd.settings.schema import Settings
from flaskd.shutdown.owner import Owner
from flaskd.tasks import Ordered, Task, Tune


class ServerTuning:
    """Lets this process use what is set (see `tuning.tuner.User`)."""

    wanted_workers = None
    scaled_workers = None

    def __init__(
        self,
        instance: Instance,
        owner: Owner,
        *,
        engine: str,
        order_task: Callable[[Task, int | None], list[Ordered]],
    ) -> None:
        self._instance = instance
        self._owner = owner
        self.engine = engine
        self.order_task = order_task

    @property
    def audit(self) -> Audit:
        """The audit log, which is opened later than this is made."""
        return self._instance.audit

    def read_files(self) -> None:
        """Return nothing: a server's settings are given in the program."""

    def check_live(self, settings: Settings) -> None:
        """Raise FlaskdError if these settings cannot be used here."""
        check_alone(settings)
        if settings.threads != self._instance.settings.threads:
            ending.check_descriptors(settings.threads, resource.getrlimit(resource.RLIMIT_NOFILE)[0])

    def use_live(self, settings: Settings, tune: Tune) -> None:
        """Use these settings; the engine is told as in a worker, by a task."""
        self._instance.settings = settings
        self._owner.times = stop_times(settings)
