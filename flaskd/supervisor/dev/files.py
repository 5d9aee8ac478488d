"""Which directories `flaskd dev` watches, and which changes in them count.

Directories are watched one by one, without those in them: a project may hold a virtual environment or `node_modules`, and the
kernel allows a limited number of watches. What an editor writes beside a file does not count.
"""

import fnmatch
import itertools
import os
import re
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Final

import msgspec

MOST_DIRECTORIES: Final = 4096
"""Directories that are watched at most: a project has some hundred, a home directory has more."""

SKIPPED: Final = {"__pycache__", "node_modules", "site-packages"}
"""Directories that are not looked into, with hidden ones and virtual environments (pyvenv.cfg)."""

UNDECODABLE: Final = re.compile("[\ud800-\udfff]")
"""What stands in names that are no UTF-8, which watchfiles does not take (PEP 383)."""

TEMPORARY: Final = re.compile(
    r"""^\.            # hidden: .shop.py.swp (vim), .#shop.py (emacs), .goutputstream-XXXXXX (gedit)
    | ~$               # shop.py~ (vim, emacs, gedit)
    | ^\#.*\#$         # #shop.py# (emacs)
    | ___jb_\w+___$    # shop.py___jb_tmp___ (JetBrains)
    | \.sw[a-z]$       # swap files of vim without a dot in front
    | ^4913$           # vim tries whether it can write
    | ^sed[A-Za-z0-9]{6}$
    | ^flycheck_
    | \.(pyc|pyo|tmp|part|crdownload)$
    """,
    re.VERBOSE,
)
"""Names of files that editors and tools write for a moment."""

SETTINGS: Final = ("flaskd.toml", "pyproject.toml", ".env", ".flaskenv")


class Watched(msgspec.Struct, frozen=True, dict=True):
    """What is watched; paths are absolute, with their links resolved (realpath(3)).

    `roots` are the directories of the application, where every Python file counts. `files` are single files: those of loaded
    modules, settings. In `templates` every file counts. `globs` are the user's patterns, relative to the first root.
    """

    roots: tuple[str, ...]
    files: frozenset[str] = frozenset()
    templates: tuple[str, ...] = ()
    globs: tuple[str, ...] = ()

    def counts(self, path: str) -> bool:
        """Whether a change of this file is a change of the application."""
        if path in self.files or any(_matches(path.split(os.sep), pattern) for pattern in self._patterns):
            return True
        if TEMPORARY.search(os.path.basename(path)):
            return False
        if path.endswith(".py") and any(map(_is_in(path), self.roots)):
            return True
        return any(map(_is_in(path), self.templates))

    def directories(self) -> list[str]:
        """Return the directories to watch that exist and can be read now, at most MOST_DIRECTORIES."""
        found: dict[str, None] = {}
        for file in sorted(self.files):
            found[os.path.dirname(file)] = None
        for root in (*self.roots, *self.templates, *map(_base, self._patterns)):
            for directory in _walk(root):
                found[directory] = None
                if len(found) > MOST_DIRECTORIES:
                    break
        return [directory for directory in found if os.access(directory, os.R_OK)][:MOST_DIRECTORIES]

    @cached_property
    def _patterns(self) -> list[list[str]]:
        """The user's patterns, each in its parts."""
        return [os.path.normpath(os.path.join(self.roots[0], glob)).split(os.sep) for glob in self.globs]


def _base(pattern: Sequence[str]) -> str:
    """Return the directory below which everything is that a pattern can match."""
    plain = itertools.takewhile(lambda part: not any(char in part for char in "*?["), pattern[:-1])
    return os.sep.join(plain) or os.sep


def _is_in(path: str) -> Callable[[str], bool]:
    return lambda directory: path.startswith(os.path.join(directory, ""))


def _walk(root: str) -> Iterator[str]:
    """Yield a directory and those in it, the nearest first, without those that are SKIPPED. Links are not followed."""
    waiting = [root]
    for directory in waiting:
        yield directory
        try:
            entries = sorted(os.scandir(directory), key=lambda entry: entry.name)
        except OSError:  # it is gone, or not for us
            continue
        waiting += [
            entry.path
            for entry in entries
            if entry.is_dir(follow_symlinks=False)
            and not entry.name.startswith(".")
            and not UNDECODABLE.search(entry.name)
            and entry.name not in SKIPPED
            and not os.path.exists(os.path.join(entry.path, "pyvenv.cfg"))
        ]


def _matches(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    """Match a path with a pattern, each in its parts: `*` is a part of a name, `**` any number of directories."""
    if not pattern:
        return not parts
    if pattern[0] == "**":
        return any(_matches(parts[skipped:], pattern[1:]) for skipped in range(len(parts) + 1))
    return bool(parts) and fnmatch.fnmatchcase(parts[0], pattern[0]) and _matches(parts[1:], pattern[1:])
