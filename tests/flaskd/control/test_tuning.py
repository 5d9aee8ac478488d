"""Commands that tune, for processes that reply as they are told: what cannot be done changes nothing."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest

from flaskd.control.handlers.tuning import Tuning
from flaskd.settings.schema import Settings
from flaskd.tasks import (
    FindLogger,
    LevelsListed,
    ListLevels,
    LoggerFound,
    Ordered,
    Reply,
    Task,
    Tune,
    Tuned,
)
from flaskd_ctl.errors import Failed, NotFound
from flaskd_ctl.protocol import LogLevelParams, SetParams
from tests.flaskd.tuning.test_tuner import ME, Instance


class Fleet(Instance):
    """Workers 1 and 2, which reply with what `answer` returns; a worker that replies None hangs."""

    def __init__(self, answer: Callable[[int, Task], Reply | None]) -> None:
        super().__init__(Settings())
        self.answer = answer
        self.told: list[tuple[int, Task]] = []

    @property
    def tuning(self) -> Any:
        return self.tuner

    def order_task(self, task: Task, worker: int | None) -> list[Ordered]:
        if worker not in {None, 1, 2}:
            raise NotFound(f"there is no worker {worker}")
        return [
            Ordered(each, 100 + each, self._reply(each, task)) for each in (1, 2) if worker in {None, each}
        ]

    def _reply(self, worker: int, task: Task) -> "Future[Reply]":
        future: Future[Reply] = Future()
        self.told.append((worker, task))
        if (reply := self.answer(worker, task)) is not None:
            future.set_result(reply)
        return future


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait briefly for workers that hang."""
    monkeypatch.setattr("flaskd.control.handlers.tuning.TELL_TIME", 0.05)


def ask(instance: Fleet, command: str, params: Any) -> Any:
    call: Any = SimpleNamespace(params=params, record=None, peer=SimpleNamespace(caller=ME))
    handlers: Any = Tuning(instance)  # type: ignore[arg-type]
    return asyncio.run(getattr(handlers, command)(call))


def knows(*names: str) -> Callable[[int, Task], Reply | None]:
    def answer(worker: int, task: Task) -> Reply | None:
        match task:
            case FindLogger(logger=logger):
                return LoggerFound(exists=logger in names, near=[f"near{worker}", "near"])
            case ListLevels():
                return LevelsListed(levels={"": "INFO", f"w{worker}": "\x1b[2J"}, more=2)
        return Tuned()

    return answer


def test_each_worker_is_told_and_one_that_hangs_is_named() -> None:
    """It is done nevertheless."""
    instance = Fleet(lambda worker, task: Tuned() if worker == 1 else None)
    told = ask(instance, "set", SetParams(setting="grace", value=7))
    assert [(each.worker, each.error) for each in told.workers] == [
        (1, ""),
        (2, "did not reply within 0.05 s"),
    ]
    assert instance.used[-1].grace == 7.0


def test_a_setting_of_the_supervisor_alone_bothers_no_worker() -> None:
    instance = Fleet(lambda worker, task: None)
    assert ask(instance, "set", SetParams(setting="lame_duck", value=7)).workers == []
    assert not instance.told


@pytest.mark.parametrize(
    ("params", "answer", "error"),
    [
        (LogLevelParams(level="DEBUG", worker=9), knows(), NotFound),
        (LogLevelParams(level="DEBUG", logger="here", worker=9), knows("here"), NotFound),
        (LogLevelParams(level="DEBUG", logger="nowhere"), knows("here"), NotFound),
        (LogLevelParams(level="DEBUG", logger="here"), lambda worker, task: None, Failed),
    ],
)
def test_a_level_that_cannot_be_set_changes_nothing(
    params: LogLevelParams, answer: Callable[[int, Task], Reply | None], error: type[Exception]
) -> None:
    """No such worker, no such logger, or nobody who knows."""
    instance = Fleet(answer)
    with pytest.raises(error):
        ask(instance, "log_level", params)
    assert instance.tuner.tune() is None
    assert not any(isinstance(task, Tune) for _, task in instance.told)


def test_similar_loggers_of_all_workers_are_named() -> None:
    """Each once."""
    with pytest.raises(NotFound) as raised:
        ask(Fleet(knows()), "log_level", LogLevelParams(level="DEBUG", logger="nea"))
    assert raised.value.hint == "similar: near1, near, near2"


def test_one_worker_that_has_the_logger_is_enough() -> None:
    """The others do not have it yet, or hang."""
    instance = Fleet(lambda worker, task: knows("here")(worker, task) if worker == 2 else None)
    told = ask(instance, "log_level", LogLevelParams(level="debug", logger="here"))
    assert (told.level, [bool(each.error) for each in told.workers]) == ("DEBUG", [True, False])


def test_levels_are_listed_with_the_workers_that_have_them() -> None:
    """What an application has chosen as a name cannot steer a terminal."""
    instance = Fleet(knows())
    ask(instance, "log_level", LogLevelParams(level="INFO", worker=2))
    told = ask(instance, "log_levels", None)
    assert [(each.logger, each.level, each.source, each.workers) for each in told.levels] == [
        ("root", "INFO", "application", [1]),
        ("w1", "%1B[2J", "application", [1]),
        ("root", "INFO", "set", [2]),
        ("w2", "%1B[2J", "application", [2]),
    ]
    assert told.more == 4
