"""Whether an instance is in rotation, and how much capacity is free. Pure."""

from typing import NamedTuple

from flaskd.shutdown.lifecycle import State

IN_ROTATION = frozenset({State.RUNNING, State.DEGRADED})


class Rotation(NamedTuple):
    """The state of an instance, the number of workers that serve and that are wanted, and the threads of each.

    `in_flight` is the number of requests in all workers, 0 without a ledger. `saturated`: many requests waited too long
    and are answered 503; `unready`: readiness is off meanwhile.
    """

    state: State
    serving: int
    wanted: int
    threads: int
    in_flight: int
    saturated: bool = False
    unready: bool = False

    @property
    def ready(self) -> bool:
        """Whether readiness probes are told to send requests here."""
        return self.in_rotation and not (self.saturated and self.unready)

    @property
    def in_rotation(self) -> bool:
        """Whether the instance is in rotation and a worker serves."""
        return self.state in IN_ROTATION and self.serving > 0

    @property
    def free_share(self) -> float:
        """The share of all wanted threads that are free, from 0 to 1."""
        free = self.serving * self.threads - self.in_flight
        return min(1.0, max(0, free) / (self.wanted * self.threads))

    @property
    def text(self) -> str:
        """The state in words, as probes see it."""
        if self.state not in IN_ROTATION:
            return self.state.value
        also = ", no worker serves" if not self.serving else ", saturated" if self.saturated else ""
        return f"{self.state.value}{also}"
