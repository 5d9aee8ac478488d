"""How one request ended, and what that means for the question whether a server loses any.

What counts is what an honest HTTP client would see:

- *lost*: the connection was established, on a fresh connection, and no complete and correct response came;
  or a connection that was neither established nor refused (a connect that hangs); or a response cut off
  after its first byte.
- *race*: a connection that had already carried a response was closed before the first byte of the next one.
  This is HTTP/1.1's own (RFC 9112, section 9.3.1); counted apart.
- *refused*: the connect was refused. Nothing was lost: the client knows that the server never saw the
  request. A dropped SYN is retried by the kernel about a second later, so some are refused late.
- *excused*: would be lost, or a race, but the client itself sent its request later than it had promised, since
  the machine was busy; shown so that nobody has to wonder.
"""

import collections
import dataclasses
import enum
from typing import Any


class Outcome(enum.Enum):
    """How one request ended."""

    OK = "ok"
    REFUSED = "refused"
    RESET = "reset"
    TRUNCATED = "truncated"
    TIMED_OUT = "timed_out"
    WRONG = "wrong"  # complete, but not the status or body that was asked for


@dataclasses.dataclass(frozen=True, slots=True)
class Record:
    """One request: what became of it, and what is needed to judge it. Times are seconds."""

    outcome: Outcome
    path: str
    reused: bool
    established: bool
    received: int
    connected_in: float
    sent_after: float
    took: float
    detail: str
    late: bool

    @property
    def race(self) -> bool:
        """A kept connection was closed before the response began."""
        cut = self.outcome in {Outcome.RESET, Outcome.TRUNCATED}
        return self.reused and not self.received and cut and not self.late

    @property
    def excused(self) -> bool:
        """No response began, and the client was late itself."""
        return self.late and not self.received and not self.race

    @property
    def lost(self) -> bool:
        """The request reached a server, or may have, and was not answered in full."""
        return self.outcome not in {Outcome.OK, Outcome.REFUSED} and not self.race and not self.excused


class Report:
    """What became of all requests: counts, and the records of those that were not answered."""

    def __init__(self) -> None:
        self.counts: collections.Counter[Outcome] = collections.Counter()
        self.reused = 0
        self.refused_late = 0
        self.idle_closed = 0
        self.slowest = 0.0
        self.unanswered: list[Record] = []

    def add(self, record: Record) -> None:
        """Count one request."""
        self.counts[record.outcome] += 1
        self.reused += record.reused
        if record.outcome is Outcome.OK:
            self.slowest = max(self.slowest, record.took)
        elif record.outcome is Outcome.REFUSED:
            self.refused_late += record.connected_in > 0.9
        else:
            self.unanswered.append(record)

    @property
    def ok(self) -> int:
        """Requests answered in full."""
        return self.counts[Outcome.OK]

    @property
    def refused(self) -> int:
        """Requests whose connect was refused."""
        return self.counts[Outcome.REFUSED]

    @property
    def lost(self) -> list[Record]:
        """Requests that were lost."""
        return [record for record in self.unanswered if record.lost]

    @property
    def races(self) -> list[Record]:
        """Keep-alive races."""
        return [record for record in self.unanswered if record.race]

    def as_json(self) -> dict[str, Any]:
        """Everything, for a program to read."""
        return {
            "requests": self.counts.total(),
            **{outcome.value: self.counts[outcome] for outcome in Outcome},
            "lost": len(self.lost),
            "races": len(self.races),
            "excused": sum(record.excused for record in self.unanswered),
            "refused_late": self.refused_late,
            "reused": self.reused,
            "idle_closed": self.idle_closed,
            "slowest": round(self.slowest, 3),
            "unanswered": [
                {**dataclasses.asdict(record), "outcome": record.outcome.value}
                for record in self.unanswered[:20]
            ],
        }
