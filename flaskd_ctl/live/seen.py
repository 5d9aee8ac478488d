"""What is known of one instance. No socket, no screen; the caller gives the time."""

import itertools
from collections import deque
from typing import Any, Final

from flaskd_ctl.errors import ControlError

Row = dict[str, Any]
"""A row of a panel: a worker, a request, an error."""

POLLED: Final[dict[str, dict[str, Any]]] = {
    "status": {},
    "stats": {"limit": 100},
    "requests": {},
    "errors": {},
}
"""The commands that are asked again and again, and their params."""

KEPT: Final = 200
"""Events, and lines of the log, that are kept."""

SAMPLES: Final = 120
"""Samples of the rate that are kept."""

ERRORS: Final = ("5xx", "aborted")
"""The kinds of finished requests that are errors."""


class Seen:
    """What is known of the instance called `label`.

    `answers` has the last result of each polled command. `refused` says, by command, why there is none: the instance does not
    know the command, or the caller may not use it. `away` says why the instance cannot be asked, "" if it can. `may` are the
    commands that the caller may run, as a caller with `role`.
    Events, lines of the log and looks have numbers that only grow: `look` is that of the last one, 0 if there is none.
    """

    def __init__(self, label: str) -> None:
        self.label = label
        self.answers: dict[str, dict[str, Any]] = {}
        self.refused: dict[str, str] = {}
        self.away = "not asked yet"
        self.role = ""
        self.may: frozenset[str] = frozenset()
        self.events: deque[tuple[int, dict[str, Any]]] = deque(maxlen=KEPT)
        self.log: deque[tuple[int, dict[str, Any]]] = deque(maxlen=KEPT)
        self.rates: deque[float] = deque(maxlen=SAMPLES)
        self.errors_per_second: float | None = None
        self.cpu: dict[int, float] = {}
        self.look = 0
        self.log_begins = 0
        self._numbers = itertools.count(1)
        self._last: tuple[float, int, int, dict[int, float]] | None = None

    @property
    def status(self) -> dict[str, Any]:
        """The last status, {} if there is none."""
        return self.answers.get("status") or {}

    @property
    def stats(self) -> dict[str, Any]:
        """The last numbers, {} if there are none."""
        return self.answers.get("stats") or {}

    @property
    def state(self) -> str:
        """The state in one word; "away" if it cannot be asked."""
        return "away" if self.away else str(self.status.get("state") or "unknown")

    def found(self, described: dict[str, Any]) -> None:
        """Take note of what the instance says of itself and of the caller."""
        caller = described.get("x-caller") or {}
        self.role = str(caller.get("role") or "")
        self.may = frozenset(map(str, caller.get("may") or ()))
        self.away = ""

    def lost(self, error: ControlError) -> None:
        """Take note that it cannot be asked any more. What was seen last stays, but its rates do not go on."""
        self.away = str(error)
        self.may = frozenset()
        self._last = None
        self.errors_per_second = None
        self.cpu = {}

    def answered(self, method: str, result: dict[str, Any], now: float) -> None:
        """Take a result; `now` is monotonic seconds."""
        self.answers[method] = result
        self.refused.pop(method, None)
        if method == "stats":
            self._count(result, now)

    def refuses(self, method: str, error: ControlError) -> None:
        """Take note that the instance does not answer this command."""
        self.answers.pop(method, None)
        self.refused[method] = error.with_hint

    def happened(self, event: dict[str, Any]) -> None:
        """Take an event."""
        self.events.append((next(self._numbers), event))

    def logged(self, lines: list[dict[str, Any]], *, anew: bool) -> None:
        """Take lines of the log: later ones, or the newest ones `anew`."""
        if anew:
            self.log.clear()
            self.log_begins = next(self._numbers)
        self.log.extend((next(self._numbers), line) for line in lines)

    def looked(self) -> None:
        """Take note that a look is complete."""
        self.look = next(self._numbers)

    def next_number(self) -> int:
        """Give a number to something else that happens."""
        return next(self._numbers)

    def pause(self) -> None:
        """Take note that nobody looks for a while: what was seen gets old, and looks that are far apart make no rate."""
        self.look = 0
        self._last = None

    def _count(self, stats: dict[str, Any], now: float) -> None:
        served = (stats.get("total") or {}).get("served") or {}
        finished, failed = sum(served.values()), sum(served.get(kind) or 0 for kind in ERRORS)
        cpu = {
            int(one.get("worker") or 0): float(one["cpu"])
            for one in stats.get("workers") or []
            if one.get("cpu") is not None
        }
        last, self._last = self._last, (now, finished, failed, cpu)
        if last is None or finished < last[1] or now <= last[0]:  # the first look, or it was started anew
            return
        seconds = now - last[0]
        self.rates.append((finished - last[1]) / seconds)
        self.errors_per_second = (failed - last[2]) / seconds
        self.cpu = {
            worker: max(0.0, 100 * (used - last[3][worker]) / seconds)
            for worker, used in cpu.items()
            if worker in last[3]
        }
