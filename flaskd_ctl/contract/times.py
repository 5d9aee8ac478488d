"""Times and numbers as people read them: a time of day, a length of time, how many."""

from __future__ import annotations

import time

DAY = 86_400


def clock(at: float, *, now: float | None = None) -> str:
    """Write Unix time `at` as local time, with the date when it is not within a day of `now`."""
    far = abs((time.time() if now is None else now) - at) >= DAY
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S" if far else "%H:%M:%S", time.localtime(at))
    except (OverflowError, OSError, ValueError):
        return "at an unknown time"


def count(number: int, thing: str) -> str:
    """Write how many: 0 requests, 1 request, 2 requests."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def span(seconds: float) -> str:
    """Write a length of time with the two units that matter: 0.42 s, 12 s, 3 min 20 s, 5 h 2 min, 2 d 3 h."""
    if seconds < 0.0995:
        return f"{max(seconds, 0.0) * 1000:.0f} ms"
    if seconds < 10:
        return f"{seconds:.2g} s"
    whole = round(seconds)
    if whole < 120:
        return f"{whole} s"
    for size, unit, smaller, less in ((60, "min", 1, "s"), (3600, "h", 60, "min"), (DAY, "d", 3600, "h")):
        if whole < size * (60 if unit == "min" else 24) or unit == "d":
            rest = whole % size // smaller
            return f"{whole // size} {unit}" + (f" {rest} {less}" if rest else "")
    raise AssertionError("unreachable")
