"""The lines printed on stderr during an instance's life: a banner at its start, incidents, a summary at its end."""

import os
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from flaskd.console.priority import Priority
from flaskd.console.say import say
from flaskd.version import __version__
from flaskd_ctl.contract.endpoint import client_command
from flaskd_ctl.contract.times import count, span
from flaskd_ctl.protocol import (
    Actor,
    Event,
    Incident,
    IncidentEvent,
    InFlight,
    ProgressEvent,
    ShutdownResult,
    StateEvent,
    StatusResult,
    TemplateEvent,
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


def announcer(server: Instance, *, developing: bool = False) -> Callable[[Event], None]:
    """Return a function that prints the events of the instance's life. `developing`: without those of reloads."""
    stopped_by: list[Actor | None] = []

    def take(event: Event) -> None:
        if isinstance(event, StateEvent) and event.state == "stopping":
            stopped_by[:] = [event.by]
        elif isinstance(event, ProgressEvent) and event.in_flight and stopped_by:
            _print_waiting(server, event, stopped_by.pop())
        if not (developing and _is_of_a_reload(event)):
            announce(server, event)

    return take


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
        case TemplateEvent(state="loading", why=why) if why:
            say(f"flaskd: {why}", Priority.WARNING)
        case IncidentEvent(incident=incident):
            _print_incident(server, incident)
        case StateEvent(state="stopping", was=was, by=by) if was != "starting":
            caller = "" if by is None else f", asked by {f'key {by.key}' if by.key else by.detail or by.via}"
            process = f" (pid {by.pid})" if by is not None and by.pid else ""
            say(f"flaskd: {server.name} is stopping{caller}{process}")


def _print_waiting(server: Instance, event: ProgressEvent, by: Actor | None) -> None:
    """Print, once in a stop, what it waits for, how long at most, and how to cut it."""
    oldest = event.slowest
    which = f" (the oldest: {oldest.method} {oldest.path}, {span(oldest.age)})" if oldest else ""
    them = "it" if event.in_flight == 1 else "them"
    how = _how_to_cut(server, by)
    say(
        f"flaskd: {server.name} waits for {count(event.in_flight, 'request')}{which}, at most {span(event.deadline_left)}"
        + (f"; to cut {them}, {how}" if how else "")
    )


def _how_to_cut(server: Instance, by: Actor | None) -> str:
    """Say how to cut the requests of a stop that `by` has asked for; "" if there is no way."""
    if by is not None and by.via == "signal":
        return "press Ctrl-C again" if by.detail == "SIGINT" else f"send {by.detail} again"
    return f"use `{_client(server)} shutdown --grace 0`" if server.status().endpoints else ""


def _client(server: Instance) -> str:
    """Return the words with which flaskd_ctl finds the instance from a shell."""
    return client_command(server.status().endpoints, os.environ, os.geteuid())


def _in_foreground() -> bool:
    """Tell whether Ctrl-C in our terminal reaches us."""
    try:
        return os.tcgetpgrp(0) == os.getpgrp()
    except OSError:  # no terminal
        return False


def _is_of_a_reload(event: Event) -> bool:
    """Whether `flaskd dev` tells of it itself."""
    match event:
        case WorkerEvent(why="reload") | IncidentEvent(incident=Incident(kind="start failed")):
            return True
        case _:
            return False


def _print_incident(server: Instance, incident: Incident) -> None:
    """Print what happened to a worker. During the start, the error of the start reports it."""
    status = server.status()
    if status.state == "starting":
        return
    who = f"worker {incident.worker}" if incident.worker else "template"
    say(f"flaskd: {who} (pid {incident.pid}), {incident.kind}: {incident.reason}", Priority.WARNING)
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
    """Print what is served, where, by which engine, the other addresses, and how to ask it and to stop it."""
    status = server.status()
    say(f"flaskd {__version__}: serving {status.app} as {server.name!r}, pid {status.pid}")
    workers = _workers(status)
    each = " each" if workers else ""
    say(
        f"  engine   {status.engine} {status.versions.get(status.engine, '')}, {workers}{status.threads} threads{each}"
    )
    say(f"  http     {'  '.join(status.listeners)}")
    for name, address in status.probes.items():
        say(f"  {name:7}  {address}")
    stop = ["Ctrl-C"] if _in_foreground() else []
    if status.endpoints:
        say(f"  control  {'  '.join(status.endpoints)}")
        say(f"  ask      {_client(server)} status")
        stop.insert(0, f"{_client(server)} shutdown")
    if stop:
        say(f"  stop     {', or '.join(stop)}")


def _workers(status: StatusResult) -> str:
    """Write how many workers there are, and where the number comes from; "" for a single one."""
    scaling, wanted = status.scaling, status.wanted_workers
    if scaling is None or scaling.setting.isdecimal():
        return f"{wanted} workers, " if wanted > 1 else ""
    least, most = scaling.minimum, scaling.maximum
    number = f"{least} to {most}" if least != most else str(wanted)
    why = f" ({scaling.setting}: {scaling.why})" if scaling.why else ""
    return f"{number} worker{'s' if number != '1' else ''}{why}, "


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
