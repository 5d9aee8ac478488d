"""A profile of a process's threads."""

from typing import Annotated

import msgspec

from flaskd.tasks.base import Reply, Task
from flaskd_ctl.protocol import ProfiledFunction, ProfiledStack

Count = Annotated[int, msgspec.Meta(ge=0, le=1 << 31)]


class TakeProfile(Task, frozen=True, tag="take_profile"):
    """Look at the threads `rate` times a second, for `seconds`; `profile` is a name for `EndProfile`."""

    profile: str
    seconds: float
    rate: float
    endpoint: str | None = None
    all_threads: bool = False


class ProfileTaken(Reply, frozen=True, tag="profile_taken"):
    """What was seen (see `WorkerProfile`)."""

    seconds: float
    samples: Count
    missed: Count
    longest_gap: float
    functions: list[ProfiledFunction]
    stacks: list[ProfiledStack]
    other: Count


class EndProfile(Task, frozen=True, tag="end_profile"):
    """End a profile: nobody waits for it any more. One that has ended, or another, is left alone."""

    profile: str


class ProfileEnded(Reply, frozen=True, tag="profile_ended"):
    """It ends, or there was none of that name."""
