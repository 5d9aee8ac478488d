"""What each command does: call the instance from the control loop, without blocking the loop.

Each module has the handlers of one subject. Those that can answer at once are plain functions.
"""

from flaskd.control.handlers.application import Application
from flaskd.control.handlers.code import Code
from flaskd.control.handlers.diagnosis import Diagnosis
from flaskd.control.handlers.logs import Logs
from flaskd.control.handlers.looking import Looking
from flaskd.control.handlers.metrics import Metrics
from flaskd.control.handlers.operating import Operating
from flaskd.control.handlers.problems import Problems
from flaskd.control.handlers.stacks import Stacks
from flaskd.control.handlers.streams import Streams
from flaskd.control.handlers.tuning import Tuning
from flaskd.control.registry import Handler
from flaskd.operable import Operable
from flaskd_ctl.contract.commands import COMMANDS


class Handlers:
    """The handlers of all commands on one instance."""

    def __init__(self, instance: Operable) -> None:
        self.streams = Streams(instance)
        application = Application(instance)
        groups = (
            Looking(instance, application.commands),
            Metrics(instance),
            Problems(instance),
            Logs(instance, self.streams),
            Stacks(instance),
            Diagnosis(instance),
            application,
            Code(instance),
            Tuning(instance),
            Operating(instance),
            self.streams,
        )
        self.by_name: dict[str, Handler] = {
            name: next(getattr(group, name) for group in groups if hasattr(group, name)) for name in COMMANDS
        }
