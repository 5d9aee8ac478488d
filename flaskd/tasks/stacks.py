"""The stacks of a process's threads."""

from typing import Annotated, ClassVar

import msgspec

from flaskd.tasks.base import Reply, Task
from flaskd_ctl.protocol import Stack


class TakeStacks(Task, frozen=True, tag="take_stacks"):
    """Describe what each thread does."""

    early: ClassVar[bool] = True
    shared: ClassVar[bool] = True


class StacksTaken(Reply, frozen=True, tag="stacks_taken"):
    """The stacks, equal ones folded; `left_out` counts threads that did not fit."""

    stacks: list[Stack]
    left_out: Annotated[int, msgspec.Meta(ge=0, le=1 << 31)] = 0
