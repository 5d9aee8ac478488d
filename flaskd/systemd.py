"""What systemd is told: sd_notify(3) datagrams for Type=notify, sent where NOTIFY_SOCKET says, nothing elsewhere."""

import contextlib
import os
import socket
from collections.abc import Sequence

from flaskd_ctl.protocol import Event, ProgressEvent, StateEvent


def notify(*lines: str) -> None:
    """Send `lines` (READY=1, STATUS=…) to the service manager, if there is one. A manager that does not listen is no error."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]  # abstract namespace, unix(7)
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.sendto("\n".join(lines).encode(), address)


def tell(event: Event, listeners: Sequence[str]) -> None:
    """Pass an event on: state changes with what is served where, and how far a stop is."""
    where = ", ".join(listeners)
    match event:
        case StateEvent(state="running", was="starting"):
            notify("READY=1", f"STATUS=running at {where}")
        case StateEvent(state="stopping"):
            notify("STOPPING=1", "STATUS=stopping")
        case StateEvent(state="stopped"):
            notify("STATUS=stopped")
        case StateEvent(state=state):
            notify(f"STATUS={state} at {where}")
        case ProgressEvent(phase=phase, in_flight=in_flight, deadline_left=left):
            notify(f"STATUS=stopping ({phase}), {in_flight} in flight, {left:.0f} s left")
