"""One worker: what starting it takes is given back where it fails, and its life follows the table."""

import asyncio
import errno
import os
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flaskd.errors import IllegalMove
from flaskd.supervisor import member, process
from flaskd.supervisor.member import Member
from flaskd.supervisor.output import Relay
from flaskd.supervisor.plan import MOVES, Move, WorkerState

WAIT = 20.0


def make() -> Member:
    return Member(
        1,
        generation=1,
        why="start",
        on_change=lambda member: None,
        on_event=lambda member, event: None,
        on_lost=lambda member: None,
    )


def descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


class PipelessRelay:
    """Gives so many pipes, then the process has no descriptor left."""

    def __init__(self, pipes: int) -> None:
        self._pipes = pipes

    def pipe(self, prefix: str, target: int) -> int:
        if not self._pipes:
            raise OSError(errno.EMFILE, "Too many open files")
        self._pipes -= 1
        return os.open(os.devnull, os.O_WRONLY)


def start(worker: Member, relay: object) -> None:
    async def begin() -> None:
        worker.start({}, rows=1, inherited=[], relay=cast(Relay, relay), directory=None)

    asyncio.run(begin())


@pytest.mark.parametrize("pipes", [0, 1])
def test_a_worker_that_gets_no_descriptors_leaves_none_open(pipes: int) -> None:
    """At the limit each one that leaks would make the next start fail too."""
    before = descriptors()

    with pytest.raises(OSError, match="Too many open files"):
        start(make(), PipelessRelay(pipes))

    assert descriptors() == before


def test_a_command_that_cannot_be_run_leaves_nothing_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """As when the interpreter was uninstalled under us."""
    monkeypatch.setattr(member.sys, "executable", "/nonexistent/python")  # type: ignore[attr-defined]
    before = descriptors()

    with pytest.raises(FileNotFoundError):
        start(make(), PipelessRelay(2))

    assert descriptors() == before


def test_a_process_that_cannot_be_watched_is_not_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """It runs already when there is no descriptor for its pidfd: nobody would ever end it."""
    made: list[Any] = []

    def refuse(pid: int, flags: int = 0) -> int:
        made.append(pid)
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(process.os, "pidfd_open", refuse)  # type: ignore[attr-defined]
    before = descriptors()

    with pytest.raises(OSError, match="Too many open files"):
        start(make(), PipelessRelay(2))

    with pytest.raises(ProcessLookupError):
        os.kill(made[0], 0)
    assert descriptors() == before


@pytest.mark.parametrize(
    ("program", "told"),
    [
        ("raise SystemExit(3)", "exit code 3"),
        ("import os; os.kill(os.getpid(), 9)", "killed by SIGKILL"),
        ("import os; os.kill(os.getpid(), 40)", "killed by signal 40"),
    ],
)
def test_how_a_process_ended_is_told_once_in_words(program: str, told: str) -> None:
    """Its end wakes the loop by itself."""

    async def run() -> str:
        ended = asyncio.Event()
        ends = []

        def on_end() -> None:
            ends.append(1)
            ended.set()

        child = process.start(
            [member.sys.executable, "-c", program],  # type: ignore[attr-defined]
            descriptors=[],
            stdout=2,
            stderr=2,
            directory=None,
            on_end=on_end,
        )
        await asyncio.wait_for(ended.wait(), WAIT)
        child.channel_ended()
        await asyncio.sleep(0)
        assert ends == [1]
        child.kill()  # it is gone: nobody else with that pid is meant
        return child.how_it_ended

    assert asyncio.run(run()) == told


@given(st.lists(st.sampled_from(Move)))
def test_any_sequence_of_moves_follows_the_table(moves: list[Move]) -> None:
    """A legal move is made and told, an illegal one raises and changes nothing."""
    told: list[WorkerState] = []
    worker = make()
    worker._on_change = lambda member: told.append(member.state)
    for move in moves:
        was, to = worker.state, MOVES.get((worker.state, move))
        told.clear()
        if to is None:
            with pytest.raises(IllegalMove, match=f"cannot {move.value} a worker that is {was.value}"):
                worker._move(move)
            assert (worker.state, told) == (was, [])
        else:
            worker._move(move)
            assert worker.state is to
            assert told == ([to] if to is not was else [])
