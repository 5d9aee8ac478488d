"""Many callers that ask the same cost the workers one answer."""

import asyncio
import time

import pytest

from flaskd.control.handlers.shared import Shared
from flaskd_ctl.errors import Failed


class Question:
    """Counts how often it is asked."""

    def __init__(self) -> None:
        self.asked: list[int | None] = []
        self.fails = False

    async def ask(self, worker: int | None) -> int:
        self.asked.append(worker)
        await asyncio.sleep(0)
        if self.fails:
            raise Failed("no")
        return len(self.asked)


def test_callers_at_once_get_one_answer() -> None:
    """Each worker has its own."""

    async def ask() -> list[int]:
        answers = Shared(question.ask)
        return await asyncio.gather(*(answers.get(worker) for worker in (None, None, 1, None, 1)))

    question = Question()
    asyncio.run(ask())

    assert question.asked == [None, 1]


def test_an_answer_counts_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless a newer one is wanted."""

    async def ask() -> None:
        answers = Shared(question.ask)
        assert [await answers.get(), await answers.get()] == [1, 1]
        assert await answers.get(newer_than=time.monotonic()) == 2
        monkeypatch.setattr(answers, "_age", 0.0)
        assert await answers.get() == 3

    question = Question()
    asyncio.run(ask())


def test_a_failure_is_raised_to_each_and_not_kept() -> None:
    """The next caller asks again."""

    async def ask() -> None:
        answers = Shared(question.ask)
        failed = await asyncio.gather(answers.get(), answers.get(), return_exceptions=True)
        assert [str(each) for each in failed] == ["no", "no"]
        question.fails = False
        assert await answers.get() == 2

    question = Question()
    question.fails = True
    asyncio.run(ask())


def test_a_caller_that_leaves_ends_only_its_own_wait() -> None:
    """The others get the answer."""

    async def ask() -> int:
        answers = Shared(question.ask)
        leaver = asyncio.create_task(answers.get())
        other = asyncio.create_task(answers.get())
        await asyncio.sleep(0)
        leaver.cancel()
        return await other

    question = Question()

    assert asyncio.run(ask()) == 1
    assert question.asked == [None]


def test_without_an_age_only_callers_at_once_share_an_answer() -> None:
    """Nothing is kept of it."""

    async def ask() -> None:
        answers = Shared(question.ask, age=0)
        first = await asyncio.gather(answers.get(), answers.get())
        assert [*first] == [1, 1]
        assert not answers._asked
        assert await answers.get() == 2

    question = Question()
    asyncio.run(ask())
