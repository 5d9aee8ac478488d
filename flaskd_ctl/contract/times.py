"""Times and numbers as text: a time of day, a duration, a count."""

from __future__ import annotations

import time

DAY = 86_400


def clock(at: float, *, now: float | None = None) -> str:
    """Format Unix time `at` as local time, with the date if it is not within a day of `now`."""
    other_day = abs((time.time() if now is None else now) - at) >= DAY
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S" if other_day else "%H:%M:%S", time.localtime(at))
    except (OverflowError, OSError, ValueError):
        return "at an unknown time"


def count(number: int, thing: str) -> str:
    """Format a count: 0 requests, 1 request, 2 requests."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def fine_span(seconds: float | None) -> str:
    """Format a duration with three digits, which rounds it by less than its own error: 0.585 ms, 1.05 s; "-" if not known."""
    if seconds is None:
        return "-"
    if 0 < seconds < 0.9995:
        return f"{1000 * seconds:.3g} ms"
    return f"{seconds:.3g} s" if 0 < seconds < 100 else span(float(seconds))


def span(seconds: float) -> str:
    """Format a duration with its two largest units: 0.42 s, 12 s, 3 min 20 s, 5 h 2 min, 2 d 3 h."""
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
