"""Which worker accepts a connection, and which lets kept connections go, so that all are loaded evenly. Pure.

All workers accept from one queue, and the kernel wakes all of them for a connection. Who is quickest would take all that waits,
while the others idle. So a worker first looks at the rows of the others. A row is one number (see `row`): how much the worker
has accepted so far, its open connections, and how many of them are busy, which means that they have a request. Its load is the
sum of the last two: a busy connection counts twice.

- **Accepting.** The connections that wait are dealt out in thought, each to the lowest load. A worker accepts while it would
  get one. The lowest always would, and together they would get all (`level`).
- **A worker that hangs** may have the lowest load, and takes nothing. So the others leave a connection to it for `PATIENCE`
  or a little longer: the lower a worker, the sooner it stops to wait, so that nobody takes one that waits for one that hangs.
  If the row is still the same then, they do without that worker until it changes (`Turn`).
- **Kept connections** stay where they are, also if a worker is new or had fewer from the start. A worker with more than its
  part has the surplus closed after the next responses, and the clients open new ones (`Shedding`). If that does not help, as
  when the worker with fewer hangs, it tries again ever more rarely.
"""

import enum
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final

PATIENCE: Final = 0.005
"""Seconds for which a connection is left to workers with a lower load, at least; less than twice as many at most."""

MOST_WAITS: Final = 3
"""How often in a row a connection is left to others, whatever their rows say: an application may write anything there."""

TOLERANCE: Final = 0.25
"""What a worker may have above the mean, as part of it, before kept connections are closed; one connection in any case."""

PAUSE: Final = 0.05
"""Seconds between two looks at the surplus: clients open new connections meanwhile."""

SHORTEST_PAUSE: Final = 2 * PAUSE
"""Seconds between two attempts to get rid of a surplus: half of the time a worker leaves no connection to others."""

LONGEST_PAUSE: Final = 60.0
"""Seconds between two attempts to get rid of a surplus, once many had no effect."""

_CONNECTIONS, _BUSY, _ACCEPTED = (1 << 24) - 1, (1 << 16) - 1, (1 << 24) - 1
"""The largest values in a row."""

Rows = Mapping[int, int]
"""The rows of the other workers that accept, by number."""


class Decision(enum.Enum):
    """What to do about connections that may wait."""

    ACCEPT = "accept"
    LEAVE = "leave it to others"
    NONE = "none waits"


def row(accepted: int, connections: int, busy: int) -> int:
    """Return the row of a worker that accepts; 0 is that of a worker that does not. `accepted` may begin anew."""
    # Comparisons, because a call of min takes as long as all of this, and waitress writes two rows for each request.
    more = connections + 1 if connections < _CONNECTIONS else _CONNECTIONS
    at_work = busy if busy < _BUSY else _BUSY
    return more | at_work << 24 | (accepted & _ACCEPTED) << 40


def connections_of(row: int) -> int:
    """Return the open connections in a row that is not 0."""
    return max(0, (row & _CONNECTIONS) - 1)


def load_of(row: int) -> int:
    """Return the load in a row that is not 0."""
    return connections_of(row) + (row >> 24 & _BUSY)


def level(loads: Sequence[int], count: int) -> int:
    """Return the load up to which workers get some of `count` connections, if each goes to the lowest load."""
    rising = sorted(loads)
    for width, (lowest, following) in enumerate(itertools.pairwise(rising), 1):
        room = (following - lowest) * width
        if count <= room:
            return lowest - (-count // width)
        count -= room
    return rising[-1] - (-count // len(rising))


class Turn:
    """Whether it is a worker's turn to accept. `ask_again` (monotonic) is when to decide again although nothing came."""

    def __init__(self) -> None:
        self.ask_again: float | None = None
        self._waits = 0
        self._since = 0.0
        self._left_to: dict[int, int] = {}  # the rows that a connection was left to
        self._silent: dict[int, int] = {}  # the rows of workers that did not take it

    def decide(self, mine: int, others: Rows, queued: Callable[[], int], now: float) -> Decision:
        """Decide for a worker with the load `mine`; `queued` tells how many connections wait."""
        due = self.ask_again is not None and now >= self.ask_again
        if due:
            self._silent.update(item for item in self._left_to.items() if others.get(item[0]) == item[1])
        if self._silent:
            self._silent = {
                number: word for number, word in self._silent.items() if others.get(number) == word
            }
        loads = [load_of(word) for number, word in others.items() if number not in self._silent]
        if not loads or mine <= min(loads):
            self._reset()
            return Decision.ACCEPT
        waiting = queued()
        if not waiting:
            self._reset()
            return Decision.NONE
        if mine < level([mine, *loads], waiting) or (due and self._waits >= MOST_WAITS):
            self._reset()
            return Decision.ACCEPT
        lower = {number: word for number, word in others.items() if load_of(word) < mine}
        if due or self.ask_again is None:
            self._waits += 1
            self._left_to, self._since = lower, now
        self.ask_again = self._since + PATIENCE * (1 + len(lower) / (1 + len(others)))
        return Decision.LEAVE

    def none_waits(self) -> None:
        """Note that no connection waits."""
        self._reset()

    def _reset(self) -> None:
        self.ask_again = None
        self._waits = 0


class Shedding:
    """How many connections a worker still has to close after their responses."""

    def __init__(self) -> None:
        self.left = 0
        self.look_at = 0.0
        """When to call `look` again; monotonic seconds."""
        self._attempt_at = 0.0
        self._pause = SHORTEST_PAUSE
        self._before = 0.0  # how uneven it was at the last attempt; 0: even meanwhile

    def look(self, mine: int, others: Sequence[int], now: float) -> bool:
        """Compare the connections of this worker, `mine`, with those of the others.

        Returns whether an attempt begins: for `PAUSE` seconds, clients that open a connection are to come to others.
        """
        self.look_at = now + PAUSE
        mean = (mine + sum(others)) / (1 + len(others))
        above, below = mine - mean, mean - min(others, default=mine)
        tolerated = max(1.0, TOLERANCE * mean)
        if above < 0 or (above < tolerated and below < tolerated):
            self.left, self._before = 0, 0.0
            return False
        if now < self._attempt_at:
            return False
        failed = max(above, below) >= self._before > 0
        self._pause = min(2 * self._pause, LONGEST_PAUSE) if failed else SHORTEST_PAUSE
        self._attempt_at = now + self._pause
        self._before = max(above, below)
        # Half of it: what is let go at a time may all come to the same worker.
        self.left = math.ceil(above / 2)
        return True

    def take(self) -> bool:
        """Tell whether the connection of the response that begins now is one of them."""
        if self.left <= 0:
            return False
        self.left -= 1
        return True
