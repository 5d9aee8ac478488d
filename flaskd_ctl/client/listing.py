"""List the instances of this host: those that run with their state, the others with what their files say."""

from __future__ import annotations

from typing import Any, Final

from flaskd_ctl.client.session import ask
from flaskd_ctl.contract.endpoint import Target
from flaskd_ctl.discovery.instances import Instances
from flaskd_ctl.discovery.look import Found
from flaskd_ctl.errors import ControlError, NotPermitted, TimedOut
from flaskd_ctl.transports.backend import Backend

LIST_PATIENCE: Final = 2.0
"""Seconds that each instance has to tell its state."""

NOTHING_KNOWN: Final[dict[str, Any]] = {
    "ready": None,
    "pid": None,
    "since": None,
    "listeners": [],
    "directory": None,
    "detail": "",
    "last_stop": None,
    "last_failure": None,
}


async def list_instances(backend: Backend, instances: Instances, *, patience: float) -> list[dict[str, Any]]:
    """Return a row for each instance: those with a directory, nearest first, then those that have stopped."""
    rows = []
    for found in instances.all():
        row = {
            **NOTHING_KNOWN,
            "name": found.name,
            "pid": found.info.get("pid"),
            "directory": found.place.directory,
        }
        rows.append(row | await _look_at(backend, found, patience))
    notes = instances.notes()
    for name in sorted(notes.keys() - {row["name"] for row in rows}):
        from flaskd_ctl.discovery.notes import stop_of

        stop = stop_of(notes[name])
        rows.append(
            {**NOTHING_KNOWN, "name": name, "state": "stopped", "since": stop["at"], "last_stop": stop}
        )
    return rows


async def _look_at(backend: Backend, found: Found, patience: float) -> dict[str, Any]:
    if found.condition == "stale":
        return {"state": "stale", "detail": "its process ended without cleaning up"}
    if found.condition == "unreachable":
        return {"state": "unreachable", "detail": "its process runs, but its control sockets were removed"}
    if found.condition == "hidden":
        return {"state": "not permitted", "detail": f"you may not look into {found.place.directory}"}
    try:
        status = await ask(backend, Target(found.name, found.endpoint), "status", whole=patience)
    except TimedOut:
        return {"state": "no answer", "detail": f"no answer in {patience:.3g} s"}
    except NotPermitted:
        return {"state": "not permitted", "detail": "you may not ask it"}
    except ControlError as error:
        return {"state": "unknown", "detail": str(error)}
    return {key: status.get(key) for key in ("state", "ready", "pid", "since")} | {
        "listeners": status.get("listeners") or [],
        "last_failure": status.get("last_failure") if status.get("state") == "degraded" else None,
    }
