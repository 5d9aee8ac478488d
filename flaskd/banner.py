"""What a person sees of an instance's life: a few lines on stderr at its start, one at its end."""

import contextlib
import sys
from typing import TYPE_CHECKING

from flaskd_ctl.protocol import Event, ShutdownResult, StateEvent

if TYPE_CHECKING:
    from flaskd.server import Server


def announce(server: "Server", event: Event) -> None:
    """Print what a state change means for whoever watches the terminal."""
    match event:
        case StateEvent(state="running", was="starting"):
            greet(server)
        case StateEvent(state="stopping", by=by):
            who = (
                ""
                if by is None
                else f", asked by {by.detail or by.via}" + (f" (pid {by.pid})" if by.pid else "")
            )
            say(f"flaskd: {server.name} is stopping{who}")


def greet(server: "Server") -> None:
    """Tell what is served, where, with which engine, and where it is operated: at most five lines."""
    status = server.status()
    say(f"flaskd {server.version}: serving {status.app} as {server.name!r}, pid {status.pid}")
    say(f"  engine   {status.engine} {status.versions[status.engine]}, {status.threads} threads")
    say(f"  http     {'  '.join(status.listeners)}")
    if status.endpoints:
        say(f"  control  {'  '.join(status.endpoints)}")


def farewell(server: "Server", result: ShutdownResult) -> None:
    """Tell how the stop went, and name what was cut."""
    for request in result.cut:
        say(f"flaskd: cut {request.method} {request.path} after {request.age:g} s (client {request.client})")
    cut = f"{len(result.cut)} request{'s' if len(result.cut) != 1 else ''} cut"
    others = result.connections_cut - len(result.cut)
    more = f", and {others} connection{'s' if others != 1 else ''}" if others > 0 else ""
    queued = f", and {result.queued_cut} that waited" if result.queued_cut else ""
    how = "nothing lost" if result.clean else f"{cut}{more}{queued}"
    say(f"flaskd: {server.name} stopped after {result.took:g} s, {how}")


def say(line: str) -> None:
    """Print one line to stderr, at once. Where nobody reads any more nothing is said: a stop must not fail for that."""
    with contextlib.suppress(OSError, ValueError):
        print(line, file=sys.stderr, flush=True)  # noqa: T201 - this is where the daemon speaks to people
