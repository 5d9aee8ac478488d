"""A process uses everything that is set now, whatever it was told before."""

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from flaskd.in_process.tuning import find_logger, list_levels, tune
from flaskd.settings.schema import Settings
from flaskd.tasks import FindLogger, Level, ListLevels, LoggerFound, Tune
from flaskd.tuning.levels import LEVELS

BASE = Settings(threads=4, grace=20.0)


class Core:
    """What a task changes in a process: it notes each change."""

    def __init__(self, *, worker: int = 3) -> None:
        self.base = self.settings = BASE
        self.tuned = 0
        self.worker = worker
        self.used: list[Settings] = []

    def use_settings(self, settings: Settings) -> None:
        self.settings = settings
        self.used.append(settings)


@pytest.fixture
def core() -> Any:
    return Core()


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    logger = logging.getLogger("tests.in_process")
    logger.setLevel(logging.ERROR)
    yield logger
    LEVELS.use({})


def told(core: Any, serial: int, levels: list[Level] | None = None, **settings: float) -> None:
    tune(core, Tune(serial=serial, settings=settings, levels=levels or []))


def test_what_is_not_set_any_more_is_as_at_the_start(core: Any) -> None:
    """Each task has everything, not only what has changed."""
    told(core, 1, threads=8, grace=5.0)
    assert (core.settings.threads, core.settings.grace) == (8, 5.0)
    told(core, 2, grace=6.0)
    assert (core.settings.threads, core.settings.grace) == (4, 6.0)


def test_an_older_task_that_comes_later_is_ignored(core: Any, logger: logging.Logger) -> None:
    """Each task has a thread of its own, so two may overtake each other; one that comes twice is harmless."""
    told(core, 2, [Level(logger.name, "INFO")], threads=8)
    told(core, 1, [Level(logger.name, "DEBUG")], threads=2)
    told(core, 2, threads=3)
    assert [each.threads for each in core.used] == [8]
    assert logger.level == logging.INFO


def test_an_engine_is_not_bothered_if_only_levels_change(core: Any, logger: logging.Logger) -> None:
    told(core, 1, [Level(logger.name, "INFO")])
    assert not core.used


def test_a_level_of_this_worker_comes_before_that_of_all(core: Any, logger: logging.Logger) -> None:
    """In either order; another worker's is none of ours."""
    for levels in (
        [Level(logger.name, "INFO", 3), Level(logger.name, "DEBUG"), Level(logger.name, "CRITICAL", 4)],
        [Level(logger.name, "DEBUG"), Level(logger.name, "CRITICAL", 4), Level(logger.name, "INFO", 3)],
    ):
        told(core, core.tuned + 1, levels)
        assert logger.level == logging.INFO
    told(core, core.tuned + 1)
    assert logger.level == logging.ERROR


def test_a_logger_is_found_or_similar_ones_are(core: Any, logger: logging.Logger) -> None:
    assert find_logger(core, FindLogger(logger=logger.name)) == LoggerFound(exists=True, near=[])
    assert logger.name in find_logger(core, FindLogger(logger="tests.in_proces")).near
    assert list_levels(core, ListLevels()).levels[logger.name] == "ERROR"
