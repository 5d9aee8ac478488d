"""What git knows of a directory: the revision from git's own files, without git; local changes from git, if it is there.

The files are those of gitrepository-layout(5). A file is read up to a bound, since anybody may have written it.
"""

import os
import re
import subprocess
from typing import Final, NamedTuple

MOST_PARENTS: Final = 32
LONGEST_FILE: Final = 4096
LONGEST_PACKED: Final = 8 << 20
"""Bytes of `packed-refs`: some 100,000 branches and tags."""

STATUS_TIME: Final = 2.0
"""Seconds that `git status` may take."""

HASH: Final = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")


class Revision(NamedTuple):
    """A commit, and the branch that was checked out ("" if none was). Both "" outside of git."""

    commit: str = ""
    branch: str = ""


def revision_of(directory: str) -> Revision:
    """Return the revision that is checked out in the repository that holds `directory`."""
    found = _repository(directory)
    if not found:
        return Revision()
    head = _read(os.path.join(found, "HEAD"))
    if not head.startswith("ref:"):
        return Revision(_hash(head))
    name = head.removeprefix("ref:").strip()
    if not name.startswith("refs/") or ".." in name:
        return Revision()
    common = _common(found)
    commit = _hash(_read(os.path.join(found, name))) or _hash(_read(os.path.join(common, name)))
    return Revision(commit or _packed(common, name), name.removeprefix("refs/heads/"))


def is_dirty(directory: str) -> bool | None:
    """Tell whether files that git knows differ from the commit. None if git is not there, refuses, or takes too long."""
    if not _repository(directory):
        return None
    environ = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = ["git", "--no-optional-locks", "-c", "core.fsmonitor=false", "status", "--porcelain", "-uno"]
    try:
        ran = subprocess.run(
            command,
            cwd=directory,
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=STATUS_TIME,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return None if ran.returncode else bool(ran.stdout)


def _repository(directory: str) -> str:
    """Return the directory with git's files of the repository that holds `directory`; "" if none does."""
    for _ in range(MOST_PARENTS):
        path = os.path.join(directory, ".git")
        if os.path.isdir(path):
            return path
        if os.path.isfile(path):  # a worktree or a submodule
            elsewhere = _read(path)
            if not elsewhere.startswith("gitdir:"):
                return ""
            return os.path.join(directory, elsewhere.removeprefix("gitdir:").strip())
        parent = os.path.dirname(directory)
        if parent == directory:
            break
        directory = parent
    return ""


def _common(repository: str) -> str:
    """Return the directory with the branches: a worktree's are those of its repository."""
    return os.path.join(repository, _read(os.path.join(repository, "commondir")).strip() or ".")


def _packed(repository: str, name: str) -> str:
    for line in _read(os.path.join(repository, "packed-refs"), LONGEST_PACKED).splitlines():
        commit, _, ref = line.partition(" ")
        if ref.strip() == name:
            return _hash(commit)
    return ""


def _hash(text: str) -> str:
    return text.strip() if HASH.fullmatch(text.strip()) else ""


def _read(path: str, limit: int = LONGEST_FILE) -> str:
    """Return the begin of a file; "" if it cannot be read. A pipe does not block."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        with open(descriptor, "rb") as file:
            return (file.read(limit) or b"").decode("utf-8", "replace")
    except OSError:
        return ""
