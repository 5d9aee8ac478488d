"""Turns: what others than the owner want done is done a little at a time, in the order in which it came."""

import asyncio

from flaskd.control.transports.turns import BUDGET, RESUMED, Turns

WAITING = 40


def test_few_of_the_tasks_that_wait_go_on_in_a_round() -> None:
    """However many replies become ready at the same moment: asyncio would run all of them before anything else."""

    async def main() -> list[list[int]]:
        turns, rounds = Turns(), []
        resumed: list[int] = []

        async def one(number: int) -> None:
            await turns.wait()
            resumed.append(number)

        tasks = [asyncio.create_task(one(number)) for number in range(WAITING)]
        while not all(task.done() for task in tasks):
            before = len(resumed)
            await asyncio.sleep(0)
            rounds.append(resumed[before:])
        return rounds

    rounds = asyncio.run(asyncio.wait_for(main(), 30))
    assert [number for each in rounds for number in each] == list(range(WAITING))
    assert max(map(len, rounds)) <= BUDGET / RESUMED + 1


def test_a_task_that_was_cancelled_takes_nobodys_turn() -> None:
    """Its caller has gone while it waited."""

    async def main() -> None:
        turns = Turns()
        gone, next_one = (asyncio.create_task(turns.wait()) for _ in range(2))
        await asyncio.sleep(0)
        gone.cancel()
        await next_one

    asyncio.run(asyncio.wait_for(main(), 30))
