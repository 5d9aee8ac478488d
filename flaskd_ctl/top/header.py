"""The lines above the panels: the instance, and its numbers at a glance. Pure."""

from typing import Any, Final

from flaskd_ctl.contract.times import span
from flaskd_ctl.live.seen import Seen
from flaskd_ctl.text.layout import printable
from flaskd_ctl.top.panels import rate

BARS: Final = "▁▂▃▄▅▆▇█"


def instance_line(seen: Seen) -> str:
    """Say which instance it is, and in which state."""
    if seen.away and not seen.status:
        return printable(f"{seen.label}: {seen.away}")
    status = seen.status
    parts = [seen.label, "AWAY" if seen.away else seen.state]
    if not seen.away:
        parts.append("ready" if status.get("ready") else "not ready")
        if status.get("deadline_left") is not None:
            parts.append(f"{status.get('phase')}, {span(float(status['deadline_left']))} left")
    if workers := status.get("workers"):
        serving = sum(one.get("state") == "serving" for one in workers)
        parts.append(f"{serving} of {status.get('wanted_workers')} workers")
    parts.append(str(status.get("engine") or "-"))
    if status.get("uptime") is not None:
        parts.append(f"up {span(float(status['uptime']))}")
    if seen.role:
        parts.append(f"you: {seen.role}")
    return printable(" · ".join(parts))


def numbers_line(seen: Seen) -> str:
    """Write the rates, the load and the latencies of the last minute; or why there are none."""
    if seen.away and seen.status:
        return printable(f"{seen.away}; still trying")
    if seen.away:
        return "still trying"
    if why := seen.refused.get("stats"):
        return printable(f"no numbers: {why}")
    stats = seen.stats
    minute = (stats.get("total") or {}).get("minute") or {}
    now = seen.rates[-1] if seen.rates else None
    busy = f"{_known(stats.get('in_flight'))}/{_known(stats.get('threads'))}"
    queued = (stats.get("queue") or {}).get("waiting")
    latencies = "  ".join(f"{each} {_brief(minute.get(each))}" for each in ("p50", "p95", "p99"))
    errors = rate(seen.errors_per_second)
    return f"{rate(now)} req/s  {errors} err/s  busy {busy}  queued {_known(queued)}  {latencies}"


def rate_line(seen: Seen, *, width: int) -> str:
    """Draw the rate of the last samples as bars, scaled to the largest, which is written at the end."""
    if not seen.rates:
        return ""
    most = max(seen.rates)
    scale = f" {rate(most)} req/s at most"
    drawn = list(seen.rates)[-max(width - len(scale), 1) :]
    return "".join(BARS[round(each / most * (len(BARS) - 1)) if most else 0] for each in drawn) + scale


def _brief(seconds: float | None) -> str:
    """Write a duration in at most 7 characters."""
    if seconds is None:
        return "-"
    return f"{1000 * seconds:.2g} ms" if 0 < seconds < 0.0995 else span(seconds)


def _known(value: Any) -> str:
    return "-" if value is None else str(value)
