"""Whether an instance is in rotation, and how much capacity is free. Pure."""

from typing import NamedTuple

from flaskd.shutdown.lifecycle import State

IN_ROTATION = frozenset({State.RUNNING, State.DEGRADED})


class Rotation(NamedTuple):
    """The state of an instance, the number of workers that serve and that are wanted, and the threads of each.

    `in_flight` is the number of requests in all workers, 0 without a ledger.
    """

    state: State
    serving: int
    wanted: int
    threads: int
    in_flight: int

    @property
    def ready(self) -> bool:
        """Whether new requests should be sent here: the instance is in rotation and a worker serves."""
        return self.state in IN_ROTATION and self.serving > 0

    @property
    def free_share(self) -> float:
        """The share of all wanted threads that are free, from 0 to 1."""
        free = self.serving * self.threads - self.in_flight
        return min(1.0, max(0, free) / (self.wanted * self.threads))

    @property
    def text(self) -> str:
        """The state in words, as probes see it."""
        lacks = "" if self.serving or self.state not in IN_ROTATION else ", no worker serves"
        return f"{self.state.value}{lacks}"
