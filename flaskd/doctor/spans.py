"""Durations as each platform writes them, in seconds; ValueError for what is none."""

import re
from typing import Any, Final

SYSTEMD: Final = {
    "us": 1e-6, "usec": 1e-6, "µs": 1e-6, "ms": 1e-3, "msec": 1e-3, "": 1.0, "s": 1.0, "sec": 1.0, "second": 1.0,
    "seconds": 1.0, "m": 60.0, "min": 60.0, "minute": 60.0, "minutes": 60.0, "h": 3600.0, "hr": 3600.0, "hour": 3600.0,
    "hours": 3600.0, "d": 86400.0, "day": 86400.0, "days": 86400.0, "w": 604800.0, "week": 604800.0, "weeks": 604800.0,
}  # fmt: skip
"""systemd.time(7), without months and years."""

DOCKER: Final = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
"""Go's time.ParseDuration."""

HAPROXY: Final = {"us": 1e-6, "ms": 1e-3, "": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
"""HAProxy's time format: milliseconds, if no unit is given."""

NGINX: Final = {"ms": 1e-3, "": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
"""nginx's configuration file measurement units."""


def seconds(text: Any, units: dict[str, float]) -> float:
    """Add up `1min 30s`, `1m30s`, `90`, whatever `units` allows; a bare number counts as the unit "" says."""
    words = str(text).strip().lower()
    parts = re.findall(r"(\d+(?:\.\d+)?)\s*([a-zµ]*)\s*", words)
    if not parts or "".join(re.split(r"\s+", words)) != "".join(number + unit for number, unit in parts):
        raise ValueError(f"{text!r} is no duration")
    unknown = [unit for _, unit in parts if unit not in units]
    if unknown:
        raise ValueError(f"{text!r} is no duration: there is no unit {unknown[0]!r} here")
    return sum(float(number) * units[unit] for number, unit in parts)


def systemd(text: str) -> float:
    """Read a time span of systemd's; `infinity` is one, and so is 0 for a timeout."""
    if text.strip() == "infinity":
        return float("inf")
    return seconds(text, SYSTEMD)
