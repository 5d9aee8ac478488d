"""The code that a process has loaded."""

from typing import Annotated

import msgspec

from flaskd.tasks.base import Reply, Task

Path = Annotated[str, msgspec.Meta(max_length=4096)]
Short = Annotated[str, msgspec.Meta(max_length=256)]
Packages = Annotated[dict[Short, Short], msgspec.Meta(max_length=500)]


class DescribeCode(Task, frozen=True, tag="describe_code"):
    """Describe the code that was loaded."""


class CodeDescribed(Reply, frozen=True, tag="code_described"):
    """The interpreter, the directory with its git revision as they were then, and the packages.

    `dirty`: files in the directory differ from the commit now; None if that is not known. `more` packages are left out.
    `changed` are packages that have another version on disk now ("" if they are gone).
    """

    python: Short
    executable: Path
    directory: Path
    commit: Short
    branch: Short
    modified: float | None
    dirty: bool | None
    packages: Packages
    more: int
    changed: Packages
