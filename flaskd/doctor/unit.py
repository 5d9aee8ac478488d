"""Read systemd's units: a file with its drop-ins (systemd.unit(5)), or the output of `systemctl show` for a loaded one."""

import glob
import os
import re
import subprocess
from typing import Final

from flaskd.doctor.command_lines import find_command, settings_of, stop_of
from flaskd.doctor.facts import NEVER, Unit
from flaskd.doctor.reading import SYSTEMD, Unreadable, cpus, duration, read_text, signal_name, split
from flaskd.settings.sources import Found

Entries = dict[str, list[str]]
"""Values by key, in order; for most keys the last one counts."""

SHOWN: Final = {
    "TimeoutStopUSec": "TimeoutStopSec",
    "TimeoutStartUSec": "TimeoutStartSec",
    "WatchdogUSec": "WatchdogSec",
    "EnvironmentFiles": "EnvironmentFile",
}
"""Keys of the file, by their names in `systemctl show` where these differ."""

COMMANDS: Final = ("ExecStart", "ExecStop", "ExecReload")
ASKED: Final = (
    *SHOWN, *COMMANDS, "LoadState", "ActiveState",
    "Type", "KillMode", "KillSignal", "CPUQuotaPerSecUSec", "Environment", "WorkingDirectory", "TriggeredBy",
)  # fmt: skip


def read_file(path: str, text: str, *, local: Found, unseen: list[str]) -> Unit:
    """Read a service from `text`, and from the drop-ins in the directory PATH.d."""
    entries: Entries = {}
    drop_ins = sorted(glob.glob(os.path.join(glob.escape(path) + ".d", "*.conf")))
    for part in [text, *map(read_text, drop_ins)]:
        _add(entries, part)
    return _unit(entries, where=os.path.basename(path), local=local, unseen=unseen)


def ask(name: str, *, local: Found, unseen: list[str]) -> Unit:
    """Ask systemd for the loaded unit `name`. Raises Unreadable if there is none."""
    command = ["systemctl", "show", name, f"--property={','.join(ASKED)}"]
    try:
        shown = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unreadable(f"cannot ask systemd for {name}: {error}", hint="give the unit's file") from None
    if shown.returncode:
        raise Unreadable(f"systemctl show {name} failed: {shown.stderr.strip()}", hint="give the unit's file")
    return from_shown(name, shown.stdout, local=local, unseen=unseen)


def from_shown(name: str, shown: str, *, local: Found, unseen: list[str]) -> Unit:
    """Read the unit `name` from the output of `systemctl show`."""
    entries: Entries = {}
    for line in shown.splitlines():
        key, _, value = line.partition("=")
        if key in COMMANDS:
            value = "".join(re.findall(r"argv\[\]=(.*?) ;", value))
        if key == "EnvironmentFiles":
            value = value.rpartition(" (")[0]
        if key == "CPUQuotaPerSecUSec":  # the CPU time of each second
            quota = 0.0 if value == "infinity" else duration(value, SYSTEMD, f"{name}: {key}")
            key, value = "CPUQuota", f"{100 * quota:g}%"
        if value:
            entries.setdefault(SHOWN.get(key, key), []).append(value)
    if entries.get("LoadState") != ["loaded"]:
        state = "".join(entries.get("LoadState", ["unknown"]))
        raise Unreadable(f"systemd has no unit {name} loaded ({state})", hint="see `systemctl list-units`")
    if entries.get("ActiveState", [""]) == ["inactive"]:
        unseen.append(f"{name} is not running, and systemd shows the WatchdogSec only of running units")
    return _unit(entries, where=name, local=local, unseen=unseen)


def is_service(text: str) -> bool:
    """Recognise a service's file: it begins with a section, and one section is [Service]."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith(("#", ";"))]
    return "[Service]" in lines and lines[0].startswith("[")


def _unit(entries: Entries, *, where: str, local: Found, unseen: list[str]) -> Unit:
    def last(key: str, default: str) -> str:
        return entries.get(key, [default])[-1]

    def span(key: str, default: str) -> float:
        # systemd.service(5): 0 and infinity mean no timeout
        text = last(key, default)
        return NEVER if text == "infinity" else duration(text, SYSTEMD, f"{where}: {key}") or NEVER

    starts, stops = _argv(last("ExecStart", "")), _argv(last("ExecStop", ""))
    found = settings_of(
        starts,
        environ=_environment(entries, where, unseen),
        local=local,
        where=where,
        directory=_directory(last("WorkingDirectory", ""), where, unseen),
    )
    if find_command(starts) is None:
        unseen.append(f"{where}: ExecStart does not name flaskd, so its settings are those of this directory")
    kill_signal = signal_name(last("KillSignal", "SIGTERM"))
    stop = find_command(stops)
    both = last("TimeoutSec", "90")
    watchdog = span("WatchdogSec", "0")
    return Unit(
        where=where,
        settings=found,
        stop=stop_of(stops, found, where=where, by=kill_signal),
        cpus=cpus(last("CPUQuota", "0"), f"{where}: CPUQuota"),
        kind=last("Type", "simple"),
        timeout_stop=span("TimeoutStopSec", both),
        timeout_start=span("TimeoutStartSec", both),
        watchdog=0.0 if watchdog == NEVER else watchdog,
        kill_mode=last("KillMode", "control-group"),
        kill_signal=kill_signal,
        stopped_by_command=stop is not None and stop.is_shutdown,
        reload=last("ExecReload", ""),
        from_socket=any(
            ".socket" in value
            for key in ("Sockets", "Requires", "TriggeredBy", "BindsTo")
            for value in entries.get(key, [])
        ),
    )


def _add(entries: Entries, text: str) -> None:
    for line in re.sub(r"\\\n\s*", " ", text).splitlines():
        key, equals, value = line.strip().partition("=")
        if not equals or line.lstrip().startswith(("#", ";")):
            continue
        if value.strip():
            entries.setdefault(key.strip(), []).append(value.strip())
        else:
            entries.pop(key.strip(), None)  # an empty assignment resets what was there


def _argv(line: str) -> list[str]:
    return split(line.lstrip("-@:+! "))


def _environment(entries: Entries, where: str, unseen: list[str]) -> dict[str, str]:
    pairs = [pair for value in entries.get("Environment", []) for pair in _argv(value)]
    for value in entries.get("EnvironmentFile", []):
        try:
            lines = read_text(value.removeprefix("-")).splitlines()
        except Unreadable as error:
            unseen.append(f"{where}: {error} (EnvironmentFile)")
        else:
            pairs += [line.strip() for line in lines if not line.lstrip().startswith(("#", ";"))]
    return {
        name: value.strip("\"'") for name, _, value in (pair.partition("=") for pair in pairs if "=" in pair)
    }


def _directory(path: str, where: str, unseen: list[str]) -> str | None:
    path = path.removeprefix("-").removeprefix("!")
    if not path:
        return None
    if not os.path.isdir(path):
        unseen.append(
            f"{where}: its WorkingDirectory {path} is not on this machine, so a flaskd.toml there is not read"
        )
        return None
    return path
