"""What is set now: each value or level, by whom, and until when. It belongs to the loop of the control server."""

import asyncio
import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from flaskd.tasks import Level, Tune
from flaskd_ctl.protocol import Actor

MOST_LEVELS: Final = 100


class Key(NamedTuple):
    """A setting; or a logger ("" is the root), in every process or in one `worker`."""

    name: str
    logger: bool = False
    worker: int = 0


class Override(NamedTuple):
    """What is set. `until` is a time of day, None if it does not revert by itself; `seconds` is how long it holds then."""

    value: Any
    by: Actor
    until: float | None = None
    seconds: float | None = None


class Overrides:
    """Holds what is set. `on_over` is called with what has reverted by itself, when it has been taken out."""

    def __init__(self, on_over: Callable[[Key, Override], None]) -> None:
        self._held: dict[Key, Override] = {}
        self._timers: dict[Key, asyncio.TimerHandle] = {}
        self._serial = 0
        self._on_over = on_over

    def get(self, key: Key) -> Override | None:
        """Return what is set for `key`."""
        return self._held.get(key)

    def put(self, key: Key, value: Any, *, by: Actor, seconds: float | None) -> Override:
        """Set a value for some seconds, or for good, in place of the one before and of its time."""
        self._call_off(key)
        until = None if seconds is None else time.time() + seconds
        override = self._held[key] = Override(value, by, until, seconds)
        self._serial += 1
        if seconds is not None:
            self._timers[key] = asyncio.get_running_loop().call_later(seconds, self._over, key)
        return override

    def drop(self, key: Key) -> Override | None:
        """Let a value be as before; return what was set."""
        self._call_off(key)
        if key in self._held:
            self._serial += 1
        return self._held.pop(key, None)

    def forget_worker(self, worker: int) -> None:
        """Drop what was set for a worker that is gone."""
        for key in [key for key in self._held if key.worker == worker and worker]:
            self.drop(key)

    def settings(self) -> dict[str, Any]:
        """Return the values that are set."""
        return {key.name: each.value for key, each in self._held.items() if not key.logger}

    def levels(self) -> list[Level]:
        """Return the levels that are set."""
        held = self._held.items()
        return [Level(key.name, each.value, key.worker) for key, each in held if key.logger]

    @property
    def changed(self) -> bool:
        """Whether anything was ever set: if not, no process need be told."""
        return self._serial > 0

    def task(self, names: Callable[[str], bool]) -> Tune:
        """Return what tells a process of everything that is set; of settings, of those that `names` are for it."""
        values = {name: value for name, value in self.settings().items() if names(name)}
        return Tune(serial=self._serial, settings=values, levels=self.levels())

    def _call_off(self, key: Key) -> None:
        if timer := self._timers.pop(key, None):
            timer.cancel()

    def _over(self, key: Key) -> None:
        if override := self.drop(key):
            self._on_over(key, override)
