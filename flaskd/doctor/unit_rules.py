"""What can be wrong with a systemd service around us (systemd.service(5), systemd.kill(5))."""

import math

from flaskd.doctor.facts import Unit
from flaskd.doctor.findings import Said

GRACEFUL = ("SIGTERM", "SIGINT")
LEAST_WATCHDOG = 2.0


def killed_while_stopping(unit: Unit) -> Said | None:
    """TimeoutStopSec is shorter than a stop may take, and nobody asks for more."""
    if unit.timeout_stop >= unit.stop.needs or unit.asks_for_time:
        return None
    return Said(
        f"systemd kills everything {unit.timeout_stop:g} s after a stop began (TimeoutStopSec), and a stop may take "
        f"{unit.stop.needs:g} s: {unit.stop.parts()}",
        f"set TimeoutStopSec={math.ceil(unit.stop.needs)} or more, or a shorter grace",
    )


def lives_by_asking(unit: Unit) -> Said | None:
    """TimeoutStopSec is shorter than a stop may take, and is extended as long as systemd hears us."""
    if unit.timeout_stop >= unit.stop.needs or not unit.asks_for_time:
        return None
    return Said(
        f"TimeoutStopSec gives a stop {unit.timeout_stop:g} s, and it may take {unit.stop.needs:g} s: {unit.stop.parts()}; it "
        "rests on flaskd's asking for more while it drains (EXTEND_TIMEOUT_USEC), and all is killed where that is not heard",
        f"set TimeoutStopSec={math.ceil(unit.stop.needs)} or more, or a shorter grace",
    )


def starts_by_asking(unit: Unit) -> Said | None:
    """TimeoutStartSec is shorter than a worker may take to load, and is extended as long as systemd hears us."""
    if not unit.asks_for_time or unit.timeout_start >= unit.start:
        return None
    return Said(
        f"TimeoutStartSec gives a start {unit.timeout_start:g} s, while {unit.said('start_timeout')} and loading may take "
        f"{unit.start:g} s; it rests on flaskd's asking for more (EXTEND_TIMEOUT_USEC), and is killed where that is not heard",
        f"set TimeoutStartSec={math.ceil(unit.start)} or more, or a shorter --start-timeout, which says what it waited for",
    )


def waits_for_an_exit(unit: Unit) -> Said | None:
    """The type makes systemd wait for the start to exit, which does not happen."""
    if unit.kind not in {"forking", "oneshot", "dbus"}:
        return None
    return Said(
        f"Type={unit.kind} never counts as started: flaskd stays in the foreground and says READY=1, so systemd "
        + (
            "waits for ever" if math.isinf(unit.timeout_start) else f"kills it after {unit.timeout_start:g} s"
        ),
        "set Type=notify",
    )


def started_too_early(unit: Unit) -> Said | None:
    """The type makes systemd count it as started before it serves."""
    if unit.kind not in {"simple", "exec", "idle"} or unit.from_socket:
        return None
    return Said(
        f"Type={unit.kind} counts as started before anything is served, so what is ordered after it, and a deployment that "
        "goes on, meets refused connections",
        "set Type=notify",
    )


def killed_beside_the_stop(unit: Unit) -> Said | None:
    """KillMode leaves processes behind, or does not end them."""
    if unit.kill_mode not in {"none", "process"}:
        return None
    return Said(
        f"with KillMode={unit.kill_mode} systemd leaves processes behind that have not ended in time: an old worker may go on "
        "beside the next start",
        "set KillMode=mixed",
    )


def children_get_the_signal(unit: Unit) -> Said | None:
    """SIGTERM goes to what the application has started, too, while requests wait for it."""
    if unit.kill_mode != "control-group" or unit.stopped_by_command:
        return None
    return Said(
        f"with KillMode=control-group a stop sends {unit.kill_signal} to every process at once: workers do not mind, programs "
        "that the application started and waits for do",
        "set KillMode=mixed, or ExecStop=… flaskd_ctl … shutdown",
    )


def stopped_ungracefully(unit: Unit) -> Said | None:
    """KillSignal is one that ends us at once, or does not stop us."""
    if unit.kill_signal in GRACEFUL or unit.stopped_by_command:
        return None
    return Said(
        f"systemd stops it with {unit.kill_signal} (KillSignal), which is no graceful shutdown",
        "leave out KillSignal: SIGTERM is",
    )


def watched_too_closely(unit: Unit) -> Said | None:
    """WatchdogSec is so short that a busy machine looks like a hung daemon."""
    if not 0 < unit.watchdog < LEAST_WATCHDOG:
        return None
    return Said(
        f"systemd kills it when it was silent for {unit.watchdog:g} s (WatchdogSec), which a busy machine may cause",
        "set WatchdogSec=10, say",
    )


def reload_is_not_waited_for(unit: Unit) -> Said | None:
    """ExecReload sends a signal: nobody learns how the reload went."""
    if "kill" not in unit.reload:
        return None
    return Said(
        f"ExecReload={unit.reload} returns before anything has happened, and succeeds where the new version does not load",
        "set ExecReload=… flaskd_ctl … reload",
    )
