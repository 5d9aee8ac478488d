"""Look at one place: whether an instance runs there, and whether it can be reached.

An instance runs if something listens at its socket. If nothing does, it has stopped, unless its process lives: then somebody
has removed its files. The order of looking matters. An instance writes its record when its sockets listen, and removes it
before they close. So an instance whose record is found *after* a connection was refused has just started, or has lost its
socket. Connect once more, and you know which.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple

from flaskd_ctl.contract.endpoint import Endpoint, Place
from flaskd_ctl.contract.files import read_object
from flaskd_ctl.contract.process_record import of_process, running_at
from flaskd_ctl.errors import ControlError, NotPermitted, TimedOut, Unreachable
from flaskd_ctl.transports.unix_socket import connect

PROBE: Final = 0.05
"""Seconds for a connect to tell whether anything listens; a listener with a full queue takes longer."""


class Found(NamedTuple):
    """What is at one place.

    `condition` is "live", "hidden" (you may not look), "stale" (files, but nothing listens) or "unreachable" (nothing listens,
    but its process runs). `info` is instance.json, {} where it cannot be read; of an unreachable one, at least its pid.
    """

    name: str
    condition: Literal["live", "stale", "hidden", "unreachable"]
    place: Place
    endpoint: Endpoint
    info: Mapping[str, Any]

    @property
    def runs(self) -> bool:
        """Whether it runs, also where it cannot be reached."""
        return self.condition in {"live", "unreachable"}


def look(place: Place, environ: Mapping[str, str] = os.environ) -> Found | None:
    """Return what is at `place`; None if it is empty. The plain stream is tried first, then ZeroMQ."""
    found = _look(place)
    if found and found.condition != "stale":
        return found
    process = process_of(place, environ)
    if process is None:
        return found
    found = _look(place)  # see the top of the module
    if found and found.condition != "stale":
        return found
    return lost_at(place, process)


def lost_at(place: Place, process: Mapping[str, Any]) -> Found:
    """Describe an instance that runs and has lost its sockets; `process` is what its record says."""
    return Found(place.name, "unreachable", place, Endpoint("unix", place.sock), process)


def _look(place: Place) -> Found | None:
    info = read_object(place.instance_file)
    seen = False
    ways = (Endpoint("unix", place.sock), Endpoint("ipc", place.zmq))
    for way in ways:
        try:
            connect(way.path, deadline=time.monotonic() + PROBE).close()
        except NotPermitted:
            return Found(place.name, "hidden", place, way, info)
        except TimedOut:
            pass  # its queue is full, so it listens
        except ControlError:
            seen = seen or os.path.lexists(way.path)
            continue
        return Found(place.name, "live", place, way, info)
    return Found(place.name, "stale", place, ways[0], info) if seen or info else None


def process_of(place: Place, environ: Mapping[str, str] = os.environ) -> Mapping[str, Any] | None:
    """Return what is recorded of the process of the instance at `place`, if it runs."""
    return running_at(place.directory, environ) or of_process(place.instance_file) or None


def unreachable(name: str, path: str, pid: object) -> Unreachable:
    """Make the error for an instance that runs without a socket at `path`."""
    return Unreachable(
        f"cannot reach {name}: its process (pid {pid}) runs, but nothing listens at {path}: its files were removed",
        hint=f"it makes them anew if it can: try again, and see its log. To stop it, use `kill {pid}`, which loses no request",
        data={"name": name, "pid": pid},
    )
