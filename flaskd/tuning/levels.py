"""The levels of this process's loggers: set for a while, and then as they were."""

import difflib
import logging
import threading
from collections.abc import Iterable, Mapping
from typing import Final

NAMES: Final = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")

ROOT: Final = "root"
"""What people call the root logger; its own name is empty here."""

MOST_LISTED: Final = 200
LONGEST_NAME: Final = 512
MOST_NEAR: Final = 3


class Levels:
    """Changes levels, and remembers those that were there before. For any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # protects what follows
        self._before: dict[str, int] = {}
        self._set: dict[str, int] = {}

    def use(self, wanted: Mapping[str, str]) -> None:
        """Give each logger in `wanted` its level. One that was in it before, and is no longer, gets its former level back.

        It keeps one that the application has given it meanwhile.
        """
        with self._lock:
            for name in self._set.keys() - wanted.keys():
                logger, before = logging.getLogger(name), self._before.pop(name)
                if logger.level == self._set.pop(name):
                    logger.setLevel(before)
            for name, level in wanted.items():
                logger, number = logging.getLogger(name), getattr(logging, level)
                if self._set.get(name) != number:
                    self._before.setdefault(name, logger.level)
                    self._set[name] = number
                    logger.setLevel(number)

    def use_own(self, level: str) -> None:
        """Give the root logger the level that the settings say; what is set in its place stays, until that is over."""
        number = getattr(logging, level.upper())
        with self._lock:
            if "" in self._set:
                self._before[""] = number
            else:
                logging.getLogger().setLevel(number)


LEVELS: Final = Levels()
"""Of this process: its loggers are the process's, too."""


def level_named(text: str) -> str | None:
    """Return the name of a level, in capitals; None if there is none of that name."""
    return text.upper() if text.upper() in NAMES else None


def logger_named(text: str) -> str:
    """Return a logger's own name: "" for the root."""
    return "" if text == ROOT else text


def exists(name: str) -> bool:
    """Tell whether a logger of this name, or one below it, has been made in this process."""
    return not name or name in logging.Logger.manager.loggerDict


def near(name: str) -> list[str]:
    """Return the names of loggers that are similar to this one."""
    return closest(name, map(_sendable, list(logging.Logger.manager.loggerDict)))


def closest(name: str, known: Iterable[str]) -> list[str]:
    """Return the names that are most similar to this one."""
    names = sorted(set(known))
    same_begin = [each for each in names if each.lower().startswith(name.lower())]
    return list(dict.fromkeys([*difflib.get_close_matches(name, names), *same_begin]))[:MOST_NEAR]


def own_levels() -> tuple[dict[str, str], int]:
    """Return the level of each logger that has one of its own, the root's first, and how many were left out."""
    found = {"": logging.getLevelName(logging.getLogger().level)}
    for name, logger in sorted(logging.Logger.manager.loggerDict.copy().items()):
        if isinstance(logger, logging.Logger) and logger.level:
            found[_sendable(name)] = _sendable(str(logging.getLevelName(logger.level)))
    kept = dict(list(found.items())[:MOST_LISTED])
    return kept, len(found) - len(kept)


def _sendable(name: str) -> str:
    """Return a name as JSON can have it: without half surrogates, and not too long."""
    return name.encode("utf-8", "backslashreplace").decode()[:LONGEST_NAME]
