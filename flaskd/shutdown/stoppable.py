"""What an owner stops: the engine of its own process, or the workers of a supervisor."""

from typing import NamedTuple, Protocol

from flaskd.shutdown.phases import Action, Snapshot, Stop
from flaskd_ctl.protocol import InFlight


class Losses(NamedTuple):
    """What a stop has cut: requests by name, connections (those of the requests included), and what was still queued.

    `workers_lost` ended by themselves before they had answered everything: their requests are named as far as they are known.
    """

    cut: list[InFlight]
    connections_cut: int
    queued_cut: int
    workers_lost: int = 0


class Stoppable(Protocol):
    """What serves requests, and how it is brought to its end."""

    notifies: bool
    """Whether `Owner.changed` is called when a connection comes or ends."""

    report_time: float
    """Seconds after the deadline until CUT is ordered."""

    def snapshot(self, stop: Stop) -> Snapshot:
        """Look at listeners, connections and requests, for the phase that `stop` is in.

        `half_open` matters only while emptying, `begun` to a lame duck, `queued` to both.
        """

    def carry_out(self, action: Action, stop: Stop) -> None:
        """Do what a step of `stop` orders."""

    def announce_close(self, *, closing: bool) -> None:
        """Send `Connection: close` with each response, or no longer."""

    def requests(self) -> list[InFlight]:
        """List the requests in flight, oldest first."""

    def finished(self) -> int:
        """Count the requests that were finished."""

    def losses(self) -> Losses:
        """Return what has been cut."""
