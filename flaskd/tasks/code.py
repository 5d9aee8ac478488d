"""The code that a process has loaded."""

from typing import Annotated, Final

import msgspec

from flaskd.tasks.base import Reply, Task

MOST_FILES: Final = 10_000

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


class ListFiles(Task, frozen=True, tag="list_files"):
    """List the files that a change of the application changes."""


class FilesListed(Reply, frozen=True, tag="files_listed"):
    """The Python files of modules that are loaded, without Python's and flaskd's own, and the directories of templates.

    Links in their paths are resolved.
    """

    modules: Annotated[list[Path], msgspec.Meta(max_length=MOST_FILES)]
    templates: Annotated[list[Path], msgspec.Meta(max_length=MOST_FILES)]
