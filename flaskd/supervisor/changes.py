"""What an operator asked the fleet for and waits for: a reload, another number of workers, one worker anew.

Each knows when it is done, from what the plan sees; the fleet carries it out and answers. A worker that cannot start while a
change is under way is the change's failure: what served before serves on.
"""

import abc
import time
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any, Final

from flaskd.settings.schema import Settings
from flaskd.supervisor.plan import Worker, WorkerState
from flaskd_ctl.protocol import ReloadResult, RestartResult, ScaleResult

PRESENT: Final = {WorkerState.STARTING, WorkerState.SERVING}


class Change(abc.ABC):
    """One change under way: `old` are the workers that have to be replaced, `replies` go to those who wait.

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

    def done(self, workers: Sequence[Worker], wanted: int) -> bool:
        """No old worker serves any more, and as many as wanted do."""
        replaced = not any(each.id in self.old and each.state in PRESENT for each in workers)
        return replaced and len(serving(workers)) == wanted

    @abc.abstractmethod
    def result(self, workers: Sequence[Worker]) -> Any:
        """Say how it went."""


class Reload(Change):
    """Every worker is replaced. `changed` and `needs_restart` name settings read anew, `before` is what held till then."""

    def __init__(
        self,
        old: frozenset[int],
        *,
        was: int | None,
        before: Settings,
        generation: int,
        changed: list[str],
        needs_restart: list[str],
    ) -> None:
        super().__init__(old, was)
        self.before = before
        self._generation = generation
        self._changed = changed
        self._needs_restart = needs_restart

    def result(self, workers: Sequence[Worker]) -> ReloadResult:
        """Say what was replaced."""
        return ReloadResult(
            generation=self._generation,
            replaced=len(self.old),
            workers=len(serving(workers)),
            took=self.took,
            joined=False,
            changed=self._changed,
            needs_restart=self._needs_restart,
        )


class Scale(Change):
    """There are to be more workers, or fewer."""

    def __init__(self, was: int) -> None:
        super().__init__(was=was)
        self._was = was

    def result(self, workers: Sequence[Worker]) -> ScaleResult:
        """Say how many there are."""
        return ScaleResult(workers=len(serving(workers)), was=self._was, took=self.took)


class Restart(Change):
    """One worker is replaced."""

    def __init__(self, worker: int) -> None:
        super().__init__(frozenset({worker}))
        self._worker = worker

    def result(self, workers: Sequence[Worker]) -> RestartResult:
        """Say which worker is new."""
        newest = max(each.id for each in serving(workers))
        return RestartResult(worker=newest, replaced=self._worker, took=self.took)


def serving(workers: Sequence[Worker]) -> list[Worker]:
    """Return those that serve."""
    return [each for each in workers if each.state is WorkerState.SERVING]
