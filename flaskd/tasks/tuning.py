"""What an operator has set while the instance runs, and the levels of loggers."""

from typing import Annotated

import msgspec

from flaskd.tasks.base import Reply, Task

LoggerName = Annotated[str, msgspec.Meta(max_length=512)]


class Level(msgspec.Struct, frozen=True):
    """The level of a logger ("" is the root) in every process, or only in `worker`."""

    logger: str
    level: str
    worker: int = 0


class Tune(Task, frozen=True, tag="tune"):
    """Everything that is set now: values in place of those that the process was started with, and levels of loggers.

    What is not in it any more is as before. A process that has seen a later `serial` ignores it.
    """

    serial: int
    settings: dict[str, int | float]
    levels: list[Level]


class Tuned(Reply, frozen=True, tag="tuned"):
    """It is in use now."""


class FindLogger(Task, frozen=True, tag="find_logger"):
    """Look whether there is a logger of this name."""

    logger: str


class LoggerFound(Reply, frozen=True, tag="logger_found"):
    """Whether there is one; `near` are names that are similar."""

    exists: bool
    near: Annotated[list[LoggerName], msgspec.Meta(max_length=8)]


class ListLevels(Task, frozen=True, tag="list_levels"):
    """List the loggers that have a level of their own."""


class LevelsListed(Reply, frozen=True, tag="levels_listed"):
    """The level of each such logger ("" is the root); `more` of them are left out."""

    levels: dict[LoggerName, LoggerName]
    more: int
