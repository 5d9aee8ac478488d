"""The states of an instance and the legal moves between them. Pure: values in, values out.

A *starting* instance has claimed its name and serves nothing yet. A *draining* one is out of rotation and still serves:
readiness is off and each response says `Connection: close`; `resume` puts it back. A *degraded* one has fewer workers than
wanted because they fail again and again. A *stopping* one answers what has reached it and then ends; that cannot be undone.
docs/states.md draws TRANSITIONS.
"""

import enum
from typing import Final

import msgspec

from flaskd.errors import IllegalMove
from flaskd_ctl.protocol import Actor


class State(enum.Enum):
    """The state of an instance; the values appear in the protocol."""

    STARTING = "starting"
    RUNNING = "running"
    DEGRADED = "degraded"
    DRAINING = "draining"
    STOPPING = "stopping"
    STOPPED = "stopped"


class Event(enum.Enum):
    """An event that moves an instance from state to state."""

    READY = "ready"
    CRASH_LOOP = "crash loop"
    RECOVERED = "recovered"
    DRAIN = "drain"
    RESUME = "resume"
    SHUTDOWN = "shutdown"
    DONE = "done"


TRANSITIONS: Final = {
    (State.STARTING, Event.READY): State.RUNNING,
    (State.STARTING, Event.SHUTDOWN): State.STOPPING,
    (State.RUNNING, Event.CRASH_LOOP): State.DEGRADED,  # fewer workers serve than wanted
    (State.DEGRADED, Event.RECOVERED): State.RUNNING,
    (State.DEGRADED, Event.DRAIN): State.DRAINING,
    (State.DEGRADED, Event.SHUTDOWN): State.STOPPING,
    (State.RUNNING, Event.DRAIN): State.DRAINING,  # out of rotation, still serving
    (State.DRAINING, Event.RESUME): State.RUNNING,
    (State.RUNNING, Event.SHUTDOWN): State.STOPPING,
    (State.DRAINING, Event.SHUTDOWN): State.STOPPING,
    (State.STOPPING, Event.DONE): State.STOPPED,
}
"""Every legal move; any other raises IllegalMove."""


class Lifecycle(msgspec.Struct, frozen=True):
    """A state, since when (Unix time, seconds), and who asked for it (None: nobody)."""

    state: State
    since: float
    by: Actor | None = None

    def after(self, event: Event, now: float, by: Actor | None = None) -> "Lifecycle":
        """Return the lifecycle after `event`; raise IllegalMove, which names both, where the table has no such move."""
        to = TRANSITIONS.get((self.state, event))
        if to is None:
            raise IllegalMove(self.state.value, event.value)
        return Lifecycle(to, now, by)

    @property
    def ready(self) -> bool:
        """Whether a load balancer should send new requests here."""
        return self.state is State.RUNNING
