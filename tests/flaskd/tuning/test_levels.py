"""Levels of loggers are set for a while, and then as they were."""

import logging

import pytest

from flaskd.tuning import levels
from flaskd.tuning.levels import MOST_LISTED, Levels


@pytest.fixture
def logger() -> logging.Logger:
    logger = logging.getLogger("tests.levels.here")
    logger.setLevel(logging.ERROR)
    return logger


def test_a_level_comes_back(logger: logging.Logger) -> None:
    """The one of before the first change, after any number of them."""
    changed = Levels()
    changed.use({logger.name: "DEBUG"})
    changed.use({logger.name: "INFO"})
    assert logger.level == logging.INFO
    changed.use({})
    assert logger.level == logging.ERROR


def test_a_level_that_the_application_sets_meanwhile_stays(logger: logging.Logger) -> None:
    """It has the last word."""
    changed = Levels()
    changed.use({logger.name: "DEBUG"})
    logger.setLevel(logging.CRITICAL)
    changed.use({logger.name: "DEBUG"})
    assert logger.level == logging.CRITICAL
    changed.use({})
    assert logger.level == logging.CRITICAL


def test_a_logger_exists_if_it_or_one_below_it_was_made(logger: logging.Logger) -> None:
    """The root always does; nobody makes one by asking."""
    assert all(map(levels.exists, ("", "tests.levels", logger.name)))
    assert not levels.exists("tests.levels.nowhere")
    assert not levels.exists("tests.levels.nowhere")
    assert levels.near("tests.levels.her")[0] == logger.name


def test_the_list_is_bounded(logger: logging.Logger) -> None:
    """And says how many it leaves out; texts are such that JSON can have them."""
    for number in range(MOST_LISTED + 10):
        logging.getLogger(f"tests.levels.many.\udcff{number}{'x' * 600}").setLevel(1)
    listed, more = levels.own_levels()
    assert len(listed) == MOST_LISTED
    assert more >= 10
    assert "" in listed
    for name, level in listed.items():
        (name + level).encode()
        assert len(name) <= levels.LONGEST_NAME
    for name in list(logging.Logger.manager.loggerDict):
        if name.startswith("tests.levels.many"):
            del logging.Logger.manager.loggerDict[name]
