"""What a process says of its own threads."""

import os
import sys
import threading
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from flaskd.in_process.stacks import LONGEST_TEXT, take_stacks
from flaskd.ledger.shared_memory import RequestTable
from flaskd.process.stacks import MOST_FRAMES
from flaskd.tasks import TakeStacks
from flaskd_ctl.protocol import Stack
from tests.support.daemons import PATIENCE

ENVIRON = {"REQUEST_METHOD": "GET", "PATH_INFO": "/held"}


@contextmanager
def waiting(*calls: Callable[[Callable[[], object]], object]) -> Iterator[list[threading.Thread]]:
    """Have threads that call each of these with a function that waits until the block is left."""
    over, here = threading.Event(), threading.Semaphore(0)

    def wait() -> None:
        here.release()
        assert over.wait(PATIENCE)

    threads = [threading.Thread(target=call, args=(wait,), name=f"w-{n}") for n, call in enumerate(calls)]
    try:
        for each in threads:
            each.start()
        assert all(here.acquire(timeout=PATIENCE) for _ in threads)
        yield threads
    finally:
        over.set()
        for each in threads:
            each.join(PATIENCE)


def core(table: RequestTable) -> Any:
    return types.SimpleNamespace(ledger=types.SimpleNamespace(table=table))


def of(stacks: list[Stack], thread: threading.Thread) -> Stack:
    (found,) = [each for each in stacks if any(one.id == thread.ident for one in each.threads)]
    return found


def simply(wait: Callable[[], object]) -> None:
    wait()  # this line


def test_each_thread_has_its_calls_with_their_source() -> None:
    """The newest first, down to the one that started it."""
    with waiting(simply, simply) as (first, second):
        taken = take_stacks(None, TakeStacks())
        stack = of(taken.stacks, first)

    assert {one.name for one in stack.threads} == {"w-0", "w-1"}
    assert stack == of(taken.stacks, second)
    (call,) = [frame for frame in stack.frames if frame.function == "simply"]
    assert (call.file, call.source) == (__file__, "wait()  # this line")
    assert stack.frames[0].function == "Condition.wait"
    assert stack.frames[-1].function == "Thread._bootstrap"


def test_the_thread_that_looks_is_not_shown() -> None:
    """It is there only because somebody asked."""
    stacks = take_stacks(None, TakeStacks()).stacks

    assert threading.get_ident() not in {one.id for each in stacks for one in each.threads}


def test_a_thread_has_the_request_that_it_serves() -> None:
    """Whatever its name is; a request beyond the rows of the table too."""
    table = RequestTable.private(1)

    def serve(wait: Callable[[], object]) -> None:
        row = table.begin(next(numbers), "id", ENVIRON)
        row.route("held", "/held")
        wait()
        row.end(1)

    numbers = iter((7, 8))
    with waiting(serve, serve, simply) as (*_, other):
        stacks = take_stacks(core(table), TakeStacks()).stacks

    served = [one for each in stacks if each.kind == "request" for one in each.threads]
    assert sorted(
        (one.request.id, one.request.path, one.request.endpoint) for one in served if one.request
    ) == [
        (7, "/held", "held"),
        (8, "/held", "held"),
    ]
    assert of(stacks, other).kind == "application"


def test_a_deep_stack_is_cut_at_its_old_end() -> None:
    """And says how much is missing."""

    def deep(wait: Callable[[], object], left: int = MOST_FRAMES + 20) -> None:
        deep(wait, left - 1) if left else wait()

    with waiting(deep) as (thread,):
        stack = of(take_stacks(None, TakeStacks()).stacks, thread)

    assert len(stack.frames) == MOST_FRAMES
    assert stack.missing >= 20
    assert stack.frames[0].function == "Condition.wait"


@pytest.mark.parametrize("file", ["<string>", "/nonexistent", "directory", "pipe", "binary", "half-\udc80"])
def test_a_file_that_has_no_source_is_no_failure(tmp_path: Path, file: str) -> None:
    """A pipe would never end, and a name need not be text."""
    (tmp_path / "directory").mkdir()
    (tmp_path / "binary").write_bytes(b"\xff\0" * 100)
    os.mkfifo(tmp_path / "pipe")
    name = file if file[0] in "<" else str(tmp_path / file)
    space: dict[str, Any] = {}
    exec(compile("def call(wait):\n  wait()", name, "exec"), space)

    with waiting(space["call"]) as (thread,):
        stack = of(take_stacks(None, TakeStacks()).stacks, thread)

    (call,) = [frame for frame in stack.frames if frame.function == "call"]
    assert (call.line, call.source) == (2, "")
    assert call.file == name.encode("utf-8", "backslashreplace").decode()


def test_long_texts_are_cut(tmp_path: Path) -> None:
    """A line of source may have any length."""
    source = tmp_path / "long.py"
    source.write_text("def call(wait): wait(), '" + "x" * 5000 + "'")
    space: dict[str, Any] = {}
    exec(compile(source.read_text(), str(source), "exec"), space)

    with waiting(space["call"]) as (thread,):
        stack = of(take_stacks(None, TakeStacks()).stacks, thread)

    (call,) = [frame for frame in stack.frames if frame.function == "call"]
    assert len(call.source) == LONGEST_TEXT
    assert call.source.endswith("…")


def test_looking_keeps_nothing_alive() -> None:
    """What the calls refer to is let go when they are over, not when somebody else looks."""

    class Thing:
        pass

    counts = []

    def hold(wait: Callable[[], object]) -> None:
        thing = Thing()
        before = sys.getrefcount(thing)
        wait()
        counts.append(sys.getrefcount(thing) - before)

    with waiting(hold):
        take_stacks(None, TakeStacks())

    assert counts == [0]
