"""Whether an instance is in rotation, and how much it can take: what probes are told. Pure."""

from typing import NamedTuple

from flaskd.shutdown.lifecycle import State

IN_ROTATION = frozenset({State.RUNNING, State.DEGRADED})


class Rotation(NamedTuple):
    """An instance as balancers see it: its state, how many workers serve and are wanted, and their threads (each).

    `in_flight` counts requests in all workers; 0 where no ledger counts them.
    """

    state: State
    serving: int
    wanted: int
    threads: int
    in_flight: int

    @property
    def ready(self) -> bool:
        """Whether new requests should be sent here: it is in rotation, and somebody serves."""
        return self.state in IN_ROTATION and self.serving > 0

    @property
    def free_share(self) -> float:
        """The share of all threads that are wanted and would take a request at once, from 0 to 1."""
        free = self.serving * self.threads - self.in_flight
        return min(1.0, max(0, free) / (self.wanted * self.threads))

    @property
    def text(self) -> str:
        """The state in words."""
        lacks = "" if self.serving or self.state not in IN_ROTATION else ", no worker serves"
        return f"{self.state.value}{lacks}"
