"""What `flaskd doctor` finds: rules, the problems that they see, and how bad these are."""

import enum
import inspect
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import msgspec


class Severity(enum.Enum):
    """How bad a finding is; a note loses no requests."""

    WILL = "will lose requests"
    MAY = "may lose requests"
    NOTE = "note"


class Problem(NamedTuple):
    """A problem in a sentence with its numbers, and the next step."""

    sentence: str
    next: str


class Finding(msgspec.Struct, frozen=True):
    """A problem that a rule found, and where."""

    rule: str
    severity: Severity
    where: str
    sentence: str
    next: str


class Rule(NamedTuple):
    """A kind of problem; `check` yields those of the subjects that it is `about`, one of each type."""

    id: str
    severity: Severity
    about: tuple[type, ...]
    check: Callable[..., Iterator[Problem]]

    @property
    def meaning(self) -> str:
        """What it looks for, in the docs' words."""
        return inspect.getdoc(self.check) or ""

    def apply(self, *subjects: Any) -> Iterator[Finding]:
        """Check `subjects`."""
        where = " and ".join(subject.where for subject in subjects)
        for problem in self.check(*subjects):
            yield Finding(self.id, self.severity, where, *problem)
