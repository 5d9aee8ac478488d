"""What can be operated, and orders that do not come over a control socket.

`Operable` is all that the control server and signals know of an instance: `flaskd.supervisor.daemon` implements it with
workers, `flaskd.embedded.running` in one process. `order_` methods return at once; their futures complete when it is done.
What cannot be done is a ControlError, raised or set on the future: WrongState, NotFound, InvalidParams, TimedOut, or Failed
(with `data["traceback"]` where the application raised).
"""

import contextlib
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any, Protocol

import msgspec

from flaskd.audit.entry import params_for_log
from flaskd.audit.log import Audit
from flaskd.events import Bus
from flaskd.logs.ring import Ring
from flaskd.tasks import Choice, Note, Ordered, StacksTaken, Task
from flaskd_ctl.errors import WrongState
from flaskd_ctl.protocol import (
    Actor,
    ConfigResult,
    EndpointStats,
    ErrorsResult,
    IncidentsResult,
    LogLevelResult,
    PingResult,
    ReloadResult,
    RequestsResult,
    RestartResult,
    ScaleResult,
    SetResult,
    ShutdownParams,
    ShutdownResult,
    SlowResult,
    StateResult,
    StatsParams,
    StatsResult,
    StatusResult,
    WorkersResult,
)


class Workers(Protocol):
    """The workers of an instance."""

    def order_reload(self, *, check: str | None) -> Future[ReloadResult]:
        """Replace every worker; completes when no old one accepts connections."""

    def order_scale(self, *, to: int | None, by: int | None, seconds: float | None) -> Future[ScaleResult]:
        """Run `to` workers, or `by` more, for some seconds, or for as long as is usual; completes when exactly that many serve.

        With neither, run as many as the setting `workers` says.
        """

    def order_restart(self, worker: int) -> Future[RestartResult]:
        """Replace one worker; completes when the new one serves and the old one accepts no connections."""

    def workers(self) -> WorkersResult:
        """List the workers."""

    def incidents(self, ident: int | None) -> IncidentsResult:
        """List the incidents, or show one in full."""


class Tuning(Protocol):
    """What an operator changes while an instance runs: `flaskd.tuning.tuner`. Call it on the loop of the control server."""

    def read_files(self) -> Any:
        """Read the settings again, on any thread, for `config`. Raises FlaskdError."""

    def config(self, files: Any, *, error: str = "") -> ConfigResult:
        """Describe each setting; `files` is what `read_files` returned, or `error` says why it did not."""

    def set(self, key: str, value: object, *, seconds: float | None, by: Actor) -> SetResult:
        """Set a setting in this process."""

    def unset(self, key: str) -> SetResult:
        """Let a setting be as it was read, in this process."""

    def tells_workers(self, key: str) -> bool:
        """Tell whether the processes that run the application have to be told of this setting."""

    def tune(self) -> Task | None:
        """Return the task that tells a process everything that is set; None if nothing was ever set."""

    def level(self, text: str) -> str:
        """Return the name of a level. Raises InvalidParams."""

    def knows(self, logger: str, worker: int | None) -> bool:
        """Tell whether a logger needs not be looked for in other processes."""

    def set_level(
        self, logger: str, level: str, *, worker: int | None, seconds: float | None, by: Actor
    ) -> LogLevelResult:
        """Give a logger a level in this process, if it is one of its own."""

    def level_set(self, logger: str, worker: int) -> tuple[str, float | None] | None:
        """Return the level that is set for a logger in a worker, and until when."""


class Operable(Protocol):
    """An instance: a `Daemon`, or a `Server`."""

    bus: Bus
    log_ring: Ring

    @property
    def audit(self) -> Audit:
        """The audit log."""

    @property
    def fleet(self) -> Workers | None:
        """The workers; None where one process serves."""

    @property
    def tuning(self) -> Tuning:
        """What is set while it runs."""

    def ping(self) -> PingResult:
        """Return the name, the pid and the state: less work than `status`."""

    def status(self) -> StatusResult:
        """Describe the instance at a glance."""

    def requests(self) -> RequestsResult:
        """List the requests in flight, oldest first; raises WrongState where the ledger is off."""

    def stats(self, asked: StatsParams) -> StatsResult:
        """Return the numbers of finished requests; raises WrongState where the ledger is off, and NotFound."""

    def endpoint_stats(self) -> list[EndpointStats]:
        """Return the numbers of each endpoint that has had a request; raises WrongState where the ledger is off."""

    def metrics(self, accept: str) -> Callable[[], tuple[str, bytes]]:
        """Take the numbers now; the result writes them in a format that the reader accepts (an Accept header), for any thread.

        The result returns the media type and the page. Raises WrongState where the ledger is off; the result raises it where
        what writes the page is not installed.
        """

    def errors(self, ident: str | None) -> ErrorsResult:
        """List the errors, or show one in full; raises WrongState where the ledger is off, and NotFound."""

    def slow(self, limit: int) -> SlowResult:
        """List the slowest requests of the last hour; raises WrongState where the ledger is off."""

    def code_on_disk(self) -> "Any":
        """Return the `flaskd.release.code.Code` that a new process would load; on any thread, since it reads files."""

    def order_task(
        self,
        task: Task,
        worker: int | Choice | None,
        on_note: Callable[[int, Note], None] | None = None,
    ) -> list[Ordered]:
        """Carry out `task` in the process of `worker`, in those of a `Choice`, or in each that has loaded the application.

        `on_note` gets the worker's id and what the task reports before its reply; it is called from any thread.
        Raises NotFound or WrongState for a worker that is not there, or has not loaded, and WrongState if there is none.
        """

    def order_reopen_logs(self) -> Future[list[str]]:
        """Open the log files again; completes with their paths when later lines go there. Raises WrongState without any."""

    def order_stack_dump(self, worker: int) -> Future[StacksTaken]:
        """Have a worker write its stacks in a signal handler.

        Raises NotFound for a worker that is gone, WrongState where there are none. Fails for one that writes nothing.
        """

    def order_drain(self, by: Actor) -> Future[StateResult]:
        """Go out of rotation."""

    def order_resume(self, by: Actor) -> Future[StateResult]:
        """Go back into rotation."""

    def order_shutdown(self, by: Actor, asked: ShutdownParams) -> Future[ShutdownResult]:
        """Stop; completes when nothing is left to answer, while the control socket still answers."""

    def order_kill(self, by: Actor) -> None:
        """End without waiting for any request."""


def workers_of(instance: Operable, lacks: str) -> Workers:
    """Return the workers. Raises WrongState if the instance is one process, which `lacks` them."""
    workers = instance.fleet
    if workers is None:
        name = instance.ping().name
        raise WrongState(f"{name} serves in one process, which {lacks}", hint="run it with `flaskd run`")
    return workers


class Orders:
    """Orders from signals, from the application, and from the program around a `Server`.

    These need no role: the kernel let the signal through, or the application is the owner's own. Each is written to the audit
    log with its outcome, as those that come over the control socket are. They raise what the instance raises.
    """

    def __init__(self, instance: Operable) -> None:
        self._instance = instance

    def drain(self, by: Actor) -> "Future[StateResult]":
        """Go out of rotation."""
        return self._instance.audit.run("drain", {}, by, lambda: self._instance.order_drain(by))

    def resume(self, by: Actor) -> "Future[StateResult]":
        """Go back into rotation."""
        return self._instance.audit.run("resume", {}, by, lambda: self._instance.order_resume(by))

    def shutdown(self, by: Actor, asked: ShutdownParams) -> "Future[ShutdownResult]":
        """Stop as `asked`."""
        return self._instance.audit.run(
            "shutdown",
            params_for_log("shutdown", asked),
            by,
            lambda: self._instance.order_shutdown(by, asked),
        )

    def stop(self, by: Actor, *, again: bool) -> None:
        """Stop on a signal; one that comes `again` cuts the requests in flight."""
        self.shutdown(by, ShutdownParams(grace=0.0 if again else None))

    def reload(self, by: Actor) -> "Future[ReloadResult]":
        """Replace every worker on a signal."""
        workers = self._workers()
        return self._instance.audit.run("reload", {}, by, lambda: workers.order_reload(check=None))

    def scale(self, by: Actor, count: int) -> "Future[ScaleResult]":
        """Run `count` more workers, or fewer, on a signal."""
        workers = self._workers()
        return self._instance.audit.run(
            "scale", {"by": count}, by, lambda: workers.order_scale(to=None, by=count, seconds=None)
        )

    def reopen_logs(self, by: Actor) -> "Future[list[str]]":
        """Open the log files again on a signal."""
        return self._instance.audit.run("reopen_logs", {}, by, self._instance.order_reopen_logs)

    def of_application(self, by: Actor, what: str, params: Mapping[str, Any]) -> "Future[Any] | None":
        """Do what a worker's application asked for; a worker says whatever its application lets it say.

        Returns the reply, or None for an order that is refused, which the audit log has.
        """
        match what:
            case "drain":
                return self.drain(by)
            case "resume":
                return self.resume(by)
            case "shutdown":
                try:
                    asked = msgspec.convert(params, ShutdownParams)
                except msgspec.ValidationError as error:
                    self.refuse(by, what, f"bad parameters: {error}")
                else:
                    with contextlib.suppress(WrongState):  # the audit log has it
                        return self.shutdown(by, asked)
        return None

    def refuse(self, by: Actor, what: str, error: str) -> None:
        """Do nothing of what a worker's application asked for, and log that."""
        self._instance.audit.refuse(what, {}, by, error, role="")

    def _workers(self) -> Workers:
        workers = self._instance.fleet
        assert workers is not None  # only a supervisor takes these signals
        return workers
