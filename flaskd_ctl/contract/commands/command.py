"""What a command is: its role, its parameters, its help."""

import enum
from typing import Final, NamedTuple


class Role(enum.Enum):
    """The roles of callers; each includes the ones before it."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"

    def __init__(self, word: str) -> None:
        self.rank = len(type(self).__members__)

    def includes(self, other: "Role") -> bool:
        """Tell whether a caller with this role may run a command that needs `other`."""
        return self.rank >= other.rank


class Param(NamedTuple):
    """One parameter in help and docs; its type, bounds and default are in the struct in `protocol`."""

    name: str
    kind: str  # how it is written: see `cli.arguments`
    help: str
    secret: bool = False  # hidden in the audit log; the query of a "path" always is
    argument: bool = False  # on the command line: an argument, not an option
    required: bool = False


class Command(NamedTuple):
    """One command: what it does, what it waits for, and the role that it needs by default.

    `role` is for help and `describe`; the daemon's access policy decides. Commands with `changes` are written to the audit log,
    even if they are refused. `tracebacks`: its result quotes tracebacks of the application throughout, so it needs the role for
    those too.
    """

    name: str
    role: Role
    summary: str
    waits: str
    example: str
    params: tuple[Param, ...] = ()
    changes: bool = False
    tracebacks: bool = False


PROGRESS: Final = Param("progress", "flag", "Send `progress` notifications until the reply (not over REQ).")

AUTO: Final = Param("auto", "flag", "Let the setting `workers` decide again.")

WORKER: Final = Param("worker", "worker", "Only this worker, by its id. Default: all.")
