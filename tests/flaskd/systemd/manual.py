"""A clock moved by hand, and a service manager that writes down what it is told."""

import asyncio
from collections.abc import Callable
from typing import cast

from flaskd.systemd.notify import ServiceManager


class Clock:
    """The timers of a loop; `advance` moves the time, calling what is due."""

    def __init__(self) -> None:
        self.now = 100.0
        self.calls = 0
        self._due: list[_Timer] = []

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, callback: Callable[[], object], /) -> asyncio.TimerHandle:
        timer = _Timer(self.now + delay, callback)
        self._due.append(timer)
        return cast(asyncio.TimerHandle, timer)

    @property
    def pending(self) -> int:
        """How many timers would still wake somebody."""
        return sum(not timer.cancelled for timer in self._due)

    def advance(self, seconds: float) -> None:
        end = self.now + seconds
        while due := [each for each in self._due if each.when <= end and not each.cancelled]:
            timer = min(due, key=lambda each: each.when)
            self._due.remove(timer)
            self.now = max(self.now, timer.when)
            self.calls += 1
            timer.callback()
        self.now = end


class _Timer:
    def __init__(self, when: float, callback: Callable[[], object]) -> None:
        self.when = when
        self.callback = callback
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class Told(ServiceManager):
    """Keeps the messages; `take` returns the new ones."""

    def __init__(self, *, watchdog: float = 0.0) -> None:
        super().__init__("@somebody", watchdog=watchdog)
        self._messages: list[dict[str, str]] = []

    def notify(self, *lines: str) -> None:
        self._messages.append(dict(line.split("=", 1) for line in lines))

    def take(self) -> list[dict[str, str]]:
        messages, self._messages = self._messages, []
        return messages
