"""An event loop whose clock is moved by what waits on it: an hour passes at once, and nothing depends on the machine."""

import asyncio
import selectors
from typing import Any


class Clock:
    """Monotonic seconds and the time of day, for modules that read `time`."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return 1_700_000_000.0 + self.now


class _Selector(selectors.SelectSelector):
    """Moves the clock to the next timer, in place of waiting for it."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> Any:
        found = super().select(0)
        if not found:
            assert timeout is not None, "nothing will ever happen here"
            self._clock.now += max(0.0, timeout)
        return found


class ClockedLoop(asyncio.SelectorEventLoop):
    """See the module."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(_Selector(clock))
        self._clock = clock

    def time(self) -> float:
        return self._clock.now
