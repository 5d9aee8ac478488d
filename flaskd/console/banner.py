"""The lines printed on stderr during an instance's life: a banner at its start, incidents, a summary at its end."""

from collections.abc import Sequence
from typing import Final, Protocol

from flaskd.console.priority import Priority
from flaskd.console.say import say
from flaskd.version import __version__
from flaskd_ctl.protocol import (
    Event,
    Incident,
    IncidentEvent,
    InFlight,
    ShutdownResult,
    StateEvent,
    StatusResult,
    WorkerEvent,
)


class Instance(Protocol):
    """The instance to report on: a `Server` or a `Daemon`."""

    @property
    def name(self) -> str:
        """Its name."""

    def status(self) -> StatusResult:
        """Return its status."""


QUEUED: Final = "in the accept queue"


def announce(server: Instance, event: Event) -> None:
    """Print an event of the instance's life."""
    match event:
        case StateEvent(state="running", was="starting"):
            greet(server)
        case StateEvent(state="degraded"):
            say(f"flaskd: {server.name} is degraded: its workers fail again and again", Priority.ERR)
        case StateEvent(state="running", was="degraded"):
            say(f"flaskd: {server.name} has recovered", Priority.NOTICE)
        case WorkerEvent(worker=worker, pid=pid, state="serving", why=why) if why != "start":
            say(f"flaskd: worker {worker} (pid {pid}) serves, started for {why}")
        case IncidentEvent(incident=incident):
            _print_incident(server, incident)
        case StateEvent(state="stopping", was=was, by=by) if was != "starting":
            caller = "" if by is None else f", asked by {f'key {by.key}' if by.key else by.detail or by.via}"
            process = f" (pid {by.pid})" if by is not None and by.pid else ""
            say(f"flaskd: {server.name} is stopping{caller}{process}")


def _print_incident(server: Instance, incident: Incident) -> None:
    """Print what happened to a worker. During the start, the error of the start reports it."""
    status = server.status()
    if status.state == "starting":
        return
    say(
        f"flaskd: worker {incident.worker} (pid {incident.pid}), {incident.kind}: {incident.reason}",
        Priority.WARNING,
    )
    _print_requests("lost", incident.requests)
    failure = status.last_failure
    if failure is not None and failure.worker == incident.worker:
        for line in failure.traceback.splitlines():
            say(f"  {line}", Priority.WARNING)


def _print_requests(what: str, requests: Sequence[InFlight]) -> None:
    for each in requests:
        line = f"flaskd: {what} {each.method} {each.path} after {each.age:g} s (client {each.client})"
        say(line, Priority.ERR)


def greet(server: Instance) -> None:
    """Print what is served, where, by which engine, and the control endpoints: at most five lines."""
    status = server.status()
    say(f"flaskd {__version__}: serving {status.app} as {server.name!r}, pid {status.pid}")
    many = status.wanted_workers > 1
    workers = f"{status.wanted_workers} workers, " if many else ""
    each = " each" if many else ""
    say(
        f"  engine   {status.engine} {status.versions.get(status.engine, '')}, {workers}{status.threads} threads{each}"
    )
    say(f"  http     {'  '.join(status.listeners)}")
    if status.endpoints:
        say(f"  control  {'  '.join(status.endpoints)}")


def farewell(name: str, result: ShutdownResult) -> None:
    """Print how the stop went, and the requests that it cut."""
    _print_requests("cut", result.cut)
    others = result.connections_cut - len(result.cut)
    cut = [
        f"{number} {thing}{'s' if number != 1 and thing != QUEUED else ''}"
        for number, thing in (
            (len(result.cut), "request"),
            (others, "connection"),
            (result.queued_cut, QUEUED),
            (result.workers_lost, "worker"),
        )
        if number > 0
    ]
    how = "nothing lost" if result.clean else f"cut: {', '.join(cut) or 'what was left'}"
    gravity = Priority.INFO if result.clean else Priority.ERR
    say(f"flaskd: {name} stopped after {result.took:g} s, {how}", gravity)
