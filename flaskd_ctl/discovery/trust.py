"""Whose instances are trusted.

In a shared directory such as /tmp anybody could create a socket that looks like ours. So a runtime directory is trusted only if
it belongs to us or to root, or if it was given (--runtime-dir) and only its owner can write to it. In a directory that only its
owner can write to, all instances are trusted, whoever owns them: systemd gives `/run/flaskd/shop` to the unit's User=. In any
other, each instance must belong to us or to root.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from typing import Final

from flaskd_ctl.errors import BadPlace

SHARED: Final = stat.S_IWGRP | stat.S_IWOTH


class Trust:
    """The trust of the user `uid`; `given` is the --runtime-dir."""

    def __init__(self, uid: int, given: str | None) -> None:
        self._uid = uid
        self._given = given

    def runtime_dirs(self, directories: Iterable[str]) -> list[str]:
        """Return the directories that are trusted."""
        return [directory for directory in directories if self._owner(directory)]

    def check(self, directories: Iterable[str]) -> None:
        """Raise BadPlace if directories exist and all of them belong to somebody else."""
        existing = [directory for directory in directories if os.path.isdir(directory)]
        if existing and not self.runtime_dirs(existing):
            raise BadPlace(
                f"{existing[0]} belongs to uid {os.stat(existing[0]).st_uid}: its instances are not trusted",
                hint=f"if you trust the owner and nobody else may write to it, give --runtime-dir {existing[0]}",
            )

    def instance(self, directory: str, *, within: str) -> bool:
        """Tell whether the instance in `directory`, in the runtime directory `within`, is trusted."""
        try:
            shared = os.stat(within).st_mode & SHARED
        except OSError as error:
            return isinstance(error, PermissionError)  # connect(2) will raise it too, as NotPermitted
        return not shared or self._owner(directory)

    def _owner(self, directory: str) -> bool:
        try:
            there = os.stat(directory)
        except OSError as error:
            return isinstance(error, PermissionError)
        return there.st_uid in {self._uid, 0} or (directory == self._given and not there.st_mode & SHARED)
