"""What a rule has to say, and how bad it is."""

import enum
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec


class Severity(enum.Enum):
    """How bad a finding is; a note is nothing that loses requests."""

    WILL = "will lose requests"
    MAY = "may lose requests"
    NOTE = "note"


class Finding(msgspec.Struct, frozen=True):
    """What a rule found at `where`: a sentence with the numbers, and the next step."""

    rule: str
    severity: Severity
    where: str
    sentence: str
    next: str


class Said(NamedTuple):
    """What a rule says of what it has looked at."""

    sentence: str
    next: str


class Rule(NamedTuple):
    """One thing to look for: `check` gets what it is `about`, each time that there is one of each."""

    id: str
    severity: Severity
    about: tuple[type, ...]
    check: Callable[..., Said | None]
    meaning: str
    """What it looks for, in the docs' words."""

    def apply(self, *subjects: Any) -> Finding | None:
        """Look at `subjects`; None where nothing is to be said."""
        said = self.check(*subjects)
        where = " and ".join(subject.where for subject in subjects)
        return said and Finding(self.id, self.severity, where, said.sentence, said.next)
