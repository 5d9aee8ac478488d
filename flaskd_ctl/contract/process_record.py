"""The record of a running instance: which process it is, in a place that outlives the instance's own directory.

That nothing listens at an instance's socket does not prove that the instance has stopped: somebody may have removed the socket
(a cleaner of /tmp, the end of a login session). So an instance writes a record into the state directory, after its sockets
listen and until they close. Such an instance still runs if the process of its record lives.

A pid alone does not say which process it is, since the kernel uses pids again. The boot id and the start time in clock ticks
since the boot do (proc_pid_stat(5)). Where there is no /proc, no record counts.
"""

from __future__ import annotations

import contextlib
import os
from binascii import crc32
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from flaskd_ctl.contract.endpoint import state_dirs
from flaskd_ctl.contract.files import read_object

SUFFIX: Final = ".run"


def identify(pid: int) -> dict[str, Any]:
    """Return what a record says to identify a process; a process that has ended has no start time."""
    return {"pid": pid, "start_ticks": _start_ticks(pid), "boot_id": _boot_id()}


def of_process(path: str) -> dict[str, Any]:
    """Read a record, or instance.json, whose process runs; {} for any other.

    The file must belong to the user of the process: clients name the process, as one to be stopped.
    """
    record = read_object(path)
    try:
        own = is_alive(record) and os.stat(path).st_uid == _user(record["pid"])
    except OSError:
        own = False
    return record if own else {}


def is_alive(record: Mapping[str, Any]) -> bool:
    """Tell whether the process of a record runs."""
    pid, ticks = record.get("pid"), record.get("start_ticks")
    if not isinstance(pid, int) or not isinstance(ticks, int):
        return False
    return record.get("boot_id") == _boot_id() and ticks == _start_ticks(pid)


def file_name(directory: str) -> str:
    """Return the name of the record of the instance in `directory`: two of one name may run in different directories.

    A checksum is enough to tell a user's directories apart, and hashlib would load OpenSSL into each `shutdown`.
    """
    path = os.fsencode(os.path.realpath(directory))
    return f"{os.path.basename(directory)}.{crc32(path):08x}{crc32(path[::-1]):08x}{SUFFIX}"


def running(environ: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """Yield the records of processes that run, from all state directories."""
    return _of_running(record_paths(environ))


def running_at(directory: str, environ: Mapping[str, str]) -> dict[str, Any] | None:
    """Return the record of the process whose instance is in `directory`; None if no such process runs."""
    wanted, name = os.path.realpath(directory), file_name(directory)
    paths = (path for path in record_paths(environ) if os.path.basename(path) == name)
    same = (record for record in _of_running(paths) if os.path.realpath(record["directory"]) == wanted)
    return next(same, None)


def record_paths(environ: Mapping[str, str]) -> Iterator[str]:
    """Yield the files that may be records, in a state directory or in the one that systemd made for a unit in it."""
    for directory in state_dirs(environ):
        for path in _entries(directory):
            if path.endswith(SUFFIX):
                yield path
            elif os.path.isdir(path):
                own = f"{os.path.basename(path)}."
                yield from (each for each in _entries(path) if os.path.basename(each).startswith(own))


def _of_running(paths: Iterable[str]) -> Iterator[dict[str, Any]]:
    for path in paths:
        record = of_process(path)
        directory = record.get("directory")
        if isinstance(directory, str) and os.path.basename(path) == file_name(directory):
            yield record


def _entries(directory: str) -> list[str]:
    try:
        return sorted(os.path.join(directory, name) for name in os.listdir(directory))
    except OSError:
        return []


def _start_ticks(pid: int) -> int | None:
    """Return when a process was started; None if it has ended, reaped or not, or cannot be seen."""
    with contextlib.suppress(OSError, ValueError, IndexError), open(f"/proc/{pid}/stat", "rb") as file:
        fields = file.read().rpartition(b")")[2].split()  # its name may hold anything, also brackets
        if fields[0] not in {b"Z", b"X"}:
            return int(fields[19])
    return None


def _user(pid: int) -> int:
    """Return the effective user of a process. Raises OSError if it has ended."""
    with open(f"/proc/{pid}/status", "rb") as file:
        return next(int(line.split()[2]) for line in file if line.startswith(b"Uid:"))


def _boot_id() -> str:
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""
