"""One worker: what starting it takes is given back where it fails, and its life follows the table."""

import asyncio
import contextlib
import errno
import gc
import os
import sys
from typing import Any, cast

import pytest
from hypothesis import given, strategies as st

from flaskd.errors import IllegalMove
from flaskd.process.load_table import LoadTable
from flaskd.settings.schema import Settings
from flaskd.supervisor import launcher, process
from flaskd.supervisor.launcher import Launcher
from flaskd.supervisor.member import Member
from flaskd.supervisor.output import WorkerOutput
from flaskd.supervisor.output_thread import Origin
from flaskd.supervisor.plan import MOVES, Move, WorkerState

WAIT = 20.0


class Watcher:
    """Notes each state that its member is told to have."""

    def __init__(self) -> None:
        self.states: list[WorkerState] = []

    def member_changed(self, member: Member) -> None:
        self.states.append(member.state)

    def member_stopped_accepting(self, member: Member) -> None:
        pass

    def member_reported(self, member: Member, event: object) -> None:
        pass

    def member_lost(self, member: Member) -> None:
        pass


def make(watcher: Watcher | None = None) -> Member:
    return Member(1, generation=1, why="start", watcher=watcher or Watcher())


def descriptors() -> set[str]:
    gc.collect()  # what earlier tests have left is closed now, not in the middle of this one
    return set(os.listdir("/proc/self/fd"))


class PipelessOutput:
    """Gives so many pipes, then the process has no descriptor left."""

    def __init__(self, pipes: int) -> None:
        self._pipes = pipes

    def pipe(self, origin: Origin, descriptor: int) -> int:
        if not self._pipes:
            raise OSError(errno.EMFILE, "Too many open files")
        self._pipes -= 1
        return os.open(os.devnull, os.O_WRONLY)

    def has_access_log_file(self) -> bool:
        return False


def start(worker: Member, output: object) -> None:
    async def begin(loads: LoadTable) -> None:
        starter = Launcher(
            name="shop",
            engine="waitress",
            listeners=[],
            loads=loads,
            log=2,
            output=cast(WorkerOutput, output),
        )
        starter.launch(worker, Settings(app="shop"), check="")

    with contextlib.closing(LoadTable.create()) as loads:
        try:
            asyncio.run(begin(loads))
        finally:
            assert loads.take() == 0, "it has kept its row"


@pytest.mark.parametrize("pipes", [0, 1])
def test_a_worker_that_gets_no_descriptors_leaves_none_open(pipes: int) -> None:
    """At the limit each one that leaks would make the next start fail too."""
    before = descriptors()

    with pytest.raises(OSError, match="Too many open files"):
        start(make(), PipelessOutput(pipes))

    assert descriptors() == before


def test_a_command_that_cannot_be_run_leaves_nothing_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """As when the interpreter was uninstalled under us."""
    monkeypatch.setattr(launcher.sys, "executable", "/nonexistent/python")  # type: ignore[attr-defined]
    before = descriptors()

    with pytest.raises(FileNotFoundError):
        start(make(), PipelessOutput(3))

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
        start(make(), PipelessOutput(3))

    with pytest.raises(ProcessLookupError):
        os.kill(made[-1], 0)  # before it, asyncio may have tried pidfd_open on this process
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
            [sys.executable, "-c", program],
            descriptors=[],
            stdout=2,
            stderr=2,
            directory=None,
            on_end=on_end,
        )
        await asyncio.wait_for(ended.wait(), WAIT)
        await asyncio.sleep(0)
        assert ends == [1]
        child.kill()  # it is gone: nobody else with that pid is meant
        return child.how_it_ended

    assert asyncio.run(run()) == told


@given(st.lists(st.sampled_from(Move)))
def test_any_sequence_of_moves_follows_the_table(moves: list[Move]) -> None:
    """A legal move is made and told, an illegal one raises and changes nothing."""
    watcher = Watcher()
    worker, told = make(watcher), watcher.states
    for move in moves:
        was, to = worker.state, MOVES.get((worker.state, move))
        told.clear()
        if to is None:
            with pytest.raises(IllegalMove, match=f"cannot {move.value} a worker that is {was.value}"):
                worker.move(move)
            assert (worker.state, told) == (was, [])
        else:
            worker.move(move)
            assert worker.state is to
            assert told == ([to] if to is not was else [])
