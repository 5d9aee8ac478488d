"""Changes of the fleet that somebody waits for: a reload, another number of workers, a restart of one.

A change knows when it is done, from what the plan sees. A worker that cannot start while a change is under way makes the
change fail: the workers that served before serve on.
"""

import abc
import time
from collections.abc import Collection, Sequence
from concurrent.futures import Future
from typing import Any, Final, Protocol

import msgspec

from flaskd.errors import FlaskdError
from flaskd.guard import log_failure
from flaskd.installed import check_installed
from flaskd.settings.checks import check_together
from flaskd.settings.reload import take_over
from flaskd.settings.schema import Settings
from flaskd.settings.sources import ReadSettings
from flaskd.settings.workers import MOST_WORKERS
from flaskd.supervisor.fleet import Fleet
from flaskd.supervisor.plan import Failures, WorkerState, WorkerView
from flaskd_ctl.errors import ControlError, Failed, NotFound, WrongState
from flaskd_ctl.protocol import ReloadResult, RestartResult, ScaleResult

PRESENT: Final = {WorkerState.STARTING, WorkerState.SERVING}


class Change(abc.ABC):
    """One change under way: `old` are the workers that have to be replaced, `replies` complete when it is done.

    `was` is how many workers were wanted before, where that was changed: it is undone where the change fails.
    """

    def __init__(self, old: frozenset[int] = frozenset(), was: int | None = None) -> None:
        self.replies: list[Future[Any]] = []
        self.old = old
        self.was = was
        self._began = time.monotonic()

    @property
    def took(self) -> float:
        """Seconds since it was asked for."""
        return round(time.monotonic() - self._began, 3)

    def reply(self) -> Future[Any]:
        """Return a future for one more who waits."""
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()  # from here on nobody can cancel it
        self.replies.append(future)
        return future

    def done(self, workers: Sequence[WorkerView], wanted: int) -> bool:
        """No old worker serves any more, and as many as wanted do."""
        replaced = not any(each.id in self.old and each.state in PRESENT for each in workers)
        return replaced and len(serving(workers)) == wanted

    @abc.abstractmethod
    def result(self, workers: Sequence[WorkerView]) -> Any:
        """Say how it went."""


class Reload(Change):
    """Every worker is replaced. `changed` and `needs_restart` name settings read anew, `before` is what held till then.

    `overridden` are those that changed and have no effect, because an operator has set another value.
    """

    def __init__(
        self,
        old: frozenset[int],
        *,
        was: int | None,
        before: ReadSettings,
        generation: int,
        changed: list[str],
        needs_restart: list[str],
        overridden: list[str],
    ) -> None:
        super().__init__(old, was)
        self.before = before
        self._generation = generation
        self._changed = changed
        self._needs_restart = needs_restart
        self._overridden = overridden

    def result(self, workers: Sequence[WorkerView]) -> ReloadResult:
        """Say what was replaced."""
        return ReloadResult(
            generation=self._generation,
            replaced=len(self.old),
            workers=len(serving(workers)),
            took=self.took,
            joined=False,
            changed=self._changed,
            needs_restart=self._needs_restart,
            overridden=self._overridden,
        )


class Scale(Change):
    """There are to be more workers, or fewer."""

    def __init__(self, was: int) -> None:
        super().__init__(was=was)
        self._was = was

    def result(self, workers: Sequence[WorkerView]) -> ScaleResult:
        """Say how many there are."""
        return ScaleResult(workers=len(serving(workers)), was=self._was, took=self.took)


class Restart(Change):
    """One worker is replaced."""

    def __init__(self, worker: int) -> None:
        super().__init__(frozenset({worker}))
        self._worker = worker

    def result(self, workers: Sequence[WorkerView]) -> RestartResult:
        """Say which worker is new."""
        newest = max(each.id for each in serving(workers))
        return RestartResult(worker=newest, replaced=self._worker, took=self.took)


def serving(workers: Sequence[WorkerView]) -> list[WorkerView]:
    """Return those that serve."""
    return [each for each in workers if each.state is WorkerState.SERVING]


class SettingsSource(Protocol):
    """Where settings come from."""

    def read(self) -> ReadSettings:
        """Read the settings again; raises FlaskdError."""

    def look(self) -> ReadSettings:
        """Read them only to show them, on any thread; raises FlaskdError."""


class SettingsUser(Protocol):
    """Uses settings that a reload has read: the daemon."""

    def use_settings(self, read: ReadSettings) -> None:
        """Use them, as far as they are the supervisor's."""

    def wanted_by(self, settings: Settings) -> int:
        """Return the number of workers that these settings want now."""

    def with_set(self, settings: Settings) -> Settings:
        """Return settings with what an operator has set in their place."""

    def names_set(self) -> Collection[str]:
        """Return the names of the settings that an operator has set."""


class Changes:
    """Carries out changes of `fleet`. Its futures complete when the change is done, or fail with a ControlError."""

    def __init__(
        self, fleet: Fleet, *, source: SettingsSource, user: SettingsUser, read: ReadSettings
    ) -> None:
        self._fleet = fleet
        self._read = read
        self._source = source
        self._user = user
        self._under_way: list[Change] = []
        self._next_reload: list[tuple[Future[Any], str | None]] = []

    @property
    def under_way(self) -> bool:
        """Whether somebody waits for a change."""
        return bool(self._under_way)

    def order_reload(self, *, check: str | None) -> "Future[ReloadResult]":
        """Replace every worker, one after the other, new before old; completes when no old one accepts connections.

        While one reload is under way the next waits, and all that are asked for meanwhile share that one: what it loads is no
        older than any of them. It fails with what kept a new worker from serving; those not yet replaced serve on.
        """
        self._check_changeable()
        if any(isinstance(change, Reload) for change in self._under_way):
            future: Future[ReloadResult] = Future()
            future.set_running_or_notify_cancel()
            self._next_reload.append((future, check))
            return future
        return self._reload(check)

    def order_newest_reload(self) -> "Future[ReloadResult] | None":
        """Replace every worker, and those that are being loaded too: they load what is out of date.

        None if no worker has served yet: then the first ones are loaded anew.
        """
        if not self._fleet.up.done():
            for member in self._fleet.in_state(WorkerState.STARTING):
                member.due = "reload"
            self._fleet.look_soon()
            return None
        self._check_changeable()
        return self._reload(None)

    def order_scale(self, *, to: int | None, by: int | None) -> "Future[ScaleResult]":
        """Run so many workers; completes when exactly that many serve. If one cannot start, the number is as before."""
        self._check_changeable()
        if self._fleet.settings.dev:
            raise WrongState("`flaskd dev` runs one worker", hint="use `flaskd run`")
        wanted = to if to is not None else self._fleet.wanted + (by or 0)
        if not 1 <= wanted <= MOST_WORKERS:
            raise WrongState(
                f"cannot run {wanted} workers (now: {self._fleet.wanted}): the number must be 1 to {MOST_WORKERS}",
                hint="`flaskd_ctl shutdown` stops the instance",
            )
        change = Scale(self._fleet.wanted)
        self._fleet.wanted = wanted
        self._fleet.why_missing = self._fleet.why_surplus = "scale"
        return self._begin(change)

    def order_restart(self, worker: int) -> "Future[RestartResult]":
        """Replace one worker, new before old."""
        self._check_changeable()
        member = self._fleet.members.get(worker)
        if member is None or member.state is WorkerState.LEAVING:
            known = ", ".join(str(each.id) for each in self._fleet.members.values())
            raise NotFound(f"there is no worker {worker}", hint=f"the workers are {known or 'none'}")
        member.due = "restart"
        return self._begin(Restart(worker))

    def finish(self) -> None:
        """Complete the changes that are done. Called when the plan was carried out."""
        fleet = self._fleet
        if not all(member.reported.stopped_accepting for member in fleet.in_state(WorkerState.LEAVING)):
            return
        workers = fleet.views()
        done = [change for change in self._under_way if change.done(workers, fleet.wanted)]
        for change in done:
            self._under_way.remove(change)
            for number, reply in enumerate(change.replies):
                result = change.result(workers)
                if isinstance(result, ReloadResult) and number:
                    result = msgspec.structs.replace(result, joined=True)
                reply.set_result(result)
        if any(isinstance(change, Reload) for change in done):
            fleet.end_generation(failed=False)
            fleet.check = fleet.settings.check  # the check that a reload asked for was for that reload
            self._reload_next()

    def fail(self, error: ControlError, *, kind: type[Change] = Change) -> None:
        """Undo the changes under way, or those of one kind, and let them fail: what serves, serves on."""
        fleet = self._fleet
        # What is undone last is what was there first; the same holds for what each puts back when it is answered.
        failed = [change for change in reversed(self._under_way) if isinstance(change, kind)]
        self._under_way = [change for change in self._under_way if change not in failed]
        still_due = {ident for change in self._under_way for ident in change.old}
        for change in failed:
            for member in fleet.in_state(WorkerState.SERVING):
                if member.id in change.old - still_due:
                    member.due = ""
            if change.was is not None and not any(isinstance(other, Scale) for other in self._under_way):
                fleet.wanted = change.was
            if isinstance(change, Reload):
                fleet.end_generation(failed=True)
                with log_failure("go back to the settings before"):
                    self._use(change.before)
        count = len(fleet.serving)
        serves_on = f"; {count} worker{'s serve' if count != 1 else ' serves'} on" if not fleet.held else ""
        for change in failed:
            for reply in change.replies:
                reply.set_exception(type(error)(f"{error}{serves_on}", hint=error.hint, data=error.data))
        if any(isinstance(change, Reload) for change in failed):
            self._reload_next()

    def _check_changeable(self) -> None:
        if not self._fleet.up.done() or self._fleet.held:
            state = "stopping" if self._fleet.held else "starting"
            raise WrongState(f"an instance that is {state} cannot be changed", hint="see `flaskd_ctl status`")

    def _begin(self, change: Change) -> "Future[Any]":
        self._fleet.history.failures = Failures()  # whoever asks for a change may have mended what failed
        self._under_way.append(change)
        self._fleet.look_soon()
        return change.reply()

    def _reload(self, check: str | None) -> "Future[ReloadResult]":
        fleet = self._fleet
        try:
            check_installed()
        except FlaskdError as error:
            raise WrongState(f"{error}; nothing was changed", hint=error.hint) from None
        try:
            read = self._source.read()
            before, was = self._read, fleet.wanted
            settings, changed, needs_restart = take_over(before.settings, read.settings)
            places = {**read.places, **{name: before.place(name) for name in needs_restart}}
            check_together(self._user.with_set(settings))
            self._use(ReadSettings(settings, places))
        except FlaskdError as error:
            raise Failed(
                f"the settings cannot be read again: {error}; nothing was changed", hint=error.hint
            ) from None
        overridden = [name for name in changed if name in self._user.names_set()]
        changed = [name for name in changed if name not in overridden]
        if "workers" in changed:
            fleet.wanted = self._user.wanted_by(settings)
        if check is not None:
            fleet.check = check
        fleet.begin_generation()
        old = [member for member in fleet.members.values() if member.state is not WorkerState.LEAVING]
        for member in old:
            member.due = "reload"
        return self._begin(
            Reload(
                frozenset(member.id for member in old),
                was=was if "workers" in changed else None,
                before=before,
                generation=fleet.generation,
                changed=changed,
                needs_restart=needs_restart,
                overridden=overridden,
            )
        )

    def _use(self, read: ReadSettings) -> None:
        self._user.use_settings(read)  # first: if it raises, nothing has changed
        self._read, settings = read, self._user.with_set(read.settings)
        self._fleet.settings = settings
        self._fleet.check = settings.check

    def _reload_next(self) -> None:
        """Begin the reload that was asked for meanwhile; callers that want another check than the first wait once more."""
        waiting, self._next_reload = self._next_reload, []
        if not waiting:
            return
        check = next((check for _, check in waiting if check is not None), None)
        try:
            self._check_changeable()
            self._reload(check)
        except ControlError as error:
            for future, _ in waiting:
                future.set_exception(error)
            return
        self._under_way[-1].replies[:] = [future for future, asked in waiting if asked in {None, check}]
        self._next_reload = [(future, asked) for future, asked in waiting if asked not in {None, check}]
