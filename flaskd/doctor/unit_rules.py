"""Problems of a systemd service (systemd.service(5), systemd.kill(5))."""

import math
from collections.abc import Iterator
from typing import Final

from flaskd.doctor.facts import GRACEFUL, Unit
from flaskd.doctor.findings import Problem

SHORTEST_WATCHDOG: Final = 2.0


def stop_timeout(unit: Unit) -> Iterator[Problem]:
    """TimeoutStopSec is shorter than a stop may take."""
    if unit.timeout_stop < unit.stop.needs and not unit.asks_for_time:
        yield Problem(
            f"systemd kills all processes {unit.timeout_stop:g} s after a stop began (TimeoutStopSec), but a stop may take "
            f"{unit.stop.needs:g} s: {unit.stop.parts()}",
            f"set TimeoutStopSec={math.ceil(unit.stop.needs)} or more, or a shorter grace period",
        )


def stop_timeout_extended(unit: Unit) -> Iterator[Problem]:
    """TimeoutStopSec is shorter than a stop may take; flaskd has to ask systemd for more time."""
    if unit.timeout_stop < unit.stop.needs and unit.asks_for_time:
        yield Problem(
            f"TimeoutStopSec gives a stop {unit.timeout_stop:g} s, but it may take {unit.stop.needs:g} s: {unit.stop.parts()}; "
            "flaskd asks for more time while it stops (EXTEND_TIMEOUT_USEC), and systemd kills it if that does not arrive",
            f"set TimeoutStopSec={math.ceil(unit.stop.needs)} or more, or a shorter grace period",
        )


def start_timeout_extended(unit: Unit) -> Iterator[Problem]:
    """TimeoutStartSec is shorter than a worker may take to load; flaskd has to ask systemd for more time."""
    if unit.timeout_start < unit.start and unit.asks_for_time:
        yield Problem(
            f"TimeoutStartSec gives a start {unit.timeout_start:g} s, but {unit.quoted('start_timeout')} and loading may take "
            f"{unit.start:g} s; flaskd asks for more time (EXTEND_TIMEOUT_USEC), and systemd kills it if that does not arrive",
            f"set TimeoutStartSec={math.ceil(unit.start)} or more, or a shorter --start-timeout, which reports what hung",
        )


def type_waits_for_exit(unit: Unit) -> Iterator[Problem]:
    """Type makes systemd wait for a process that exits; flaskd stays in the foreground."""
    if unit.kind in {"forking", "oneshot", "dbus"}:
        end = (
            "waits for ever" if math.isinf(unit.timeout_start) else f"kills it after {unit.timeout_start:g} s"
        )
        yield Problem(
            f"Type={unit.kind} never counts as started: flaskd stays in the foreground and sends READY=1, so systemd {end}",
            "set Type=notify",
        )


def started_early(unit: Unit) -> Iterator[Problem]:
    """Type makes systemd count the service as started before it serves."""
    if unit.kind in {"simple", "exec", "idle"} and not unit.from_socket:
        yield Problem(
            f"Type={unit.kind} counts as started before anything is served: units that are ordered after it, and a deployment "
            "that continues, get refused connections",
            "set Type=notify",
        )


def kill_mode(unit: Unit) -> Iterator[Problem]:
    """KillMode leaves processes running."""
    if unit.kill_mode in {"none", "process"}:
        yield Problem(
            f"with KillMode={unit.kill_mode} systemd does not kill processes that have not ended in time: an old worker may "
            "still run when the service starts again",
            "set KillMode=mixed",
        )


def signal_to_children(unit: Unit) -> Iterator[Problem]:
    """A stop also signals the programs that the application started, while requests wait for them."""
    if unit.kill_mode == "control-group" and not unit.stopped_by_command:
        yield Problem(
            f"with KillMode=control-group a stop sends {unit.kill_signal} to every process at once, also to programs that the "
            "application started and waits for",
            "set KillMode=mixed, or ExecStop=… flaskd_ctl … shutdown",
        )


def kill_signal(unit: Unit) -> Iterator[Problem]:
    """KillSignal does not stop flaskd gracefully."""
    if unit.kill_signal not in GRACEFUL and not unit.stopped_by_command:
        yield Problem(
            f"systemd stops it with {unit.kill_signal} (KillSignal), which is not a graceful shutdown",
            "remove KillSignal: the default, SIGTERM, is graceful",
        )


def watchdog(unit: Unit) -> Iterator[Problem]:
    """WatchdogSec is so short that a busy machine looks like a hung daemon."""
    if 0 < unit.watchdog < SHORTEST_WATCHDOG:
        yield Problem(
            f"systemd kills it when it is silent for {unit.watchdog:g} s (WatchdogSec), which happens on a busy machine",
            "set WatchdogSec=10 or more",
        )


def reload_by_signal(unit: Unit) -> Iterator[Problem]:
    """ExecReload sends a signal, which does not report how the reload went."""
    if "kill" in unit.reload:
        yield Problem(
            f"ExecReload={unit.reload} returns before the reload is done, and succeeds even if the new version does not load",
            "set ExecReload=… flaskd_ctl … reload",
        )
