"""Waiting: the same laws in the calling thread and in asyncio's event loop."""

import asyncio
import os
import socket
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from typing import Any

import pytest

from flaskd_ctl.client.session import ask
from flaskd_ctl.contract.endpoint import Endpoint, Place, Target
from flaskd_ctl.errors import TimedOut
from flaskd_ctl.transports.asyncio_backend import Asyncio
from flaskd_ctl.transports.backend import BLOCKING, Backend, iterate, run

HOLD = 0.2


@pytest.fixture(params=[(BLOCKING, run), (Asyncio(), asyncio.run)], ids=["blocking", "asyncio"])
def way(request: pytest.FixtureRequest) -> tuple[Backend, Callable[[Coroutine[Any, Any, Any]], Any]]:
    """A backend, and how its coroutines are run."""
    return request.param  # type: ignore[no-any-return]


Way = tuple[Backend, Callable[[Coroutine[Any, Any, Any]], Any]]


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def test_a_readable_descriptor_ends_the_wait(way: Way, pair: tuple[socket.socket, socket.socket]) -> None:
    backend, runner = way
    ours, theirs = pair
    theirs.send(b"!")

    assert runner(backend.wait(ours.fileno(), deadline=float("inf")))
    assert runner(backend.wait(writable=[ours.fileno()], deadline=float("inf")))


def test_the_deadline_ends_the_wait(way: Way, pair: tuple[socket.socket, socket.socket]) -> None:
    backend, runner = way
    began = time.monotonic()

    assert not runner(backend.wait(pair[0].fileno(), deadline=began + HOLD))
    assert not runner(backend.wait(deadline=time.monotonic() + HOLD))

    assert time.monotonic() - began >= 2 * HOLD * 0.95


def test_a_call_returns_and_raises_what_the_function_does(way: Way) -> None:
    backend, runner = way

    def fail() -> None:
        raise OSError("no")

    assert runner(backend.call(lambda: 7)) == 7
    with pytest.raises(OSError, match="no"):
        runner(backend.call(fail))


def test_a_peer_that_reads_nothing_cannot_hold_up_a_long_message(way: Way, place: Place) -> None:
    """More than the socket's buffer takes: sending waits, and the deadline ends it."""
    backend, runner = way
    os.mkdir(place.directory)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(place.sock)
        listener.listen()
        target = Target("shop", Endpoint("unix", place.sock))

        with pytest.raises(TimedOut, match="did not answer `reload`"):
            runner(ask(backend, target, "reload", {"check": "/" * 900_000}, whole=HOLD))


def test_blocking_refuses_a_coroutine_that_needs_an_event_loop() -> None:
    with pytest.raises(RuntimeError, match="suspended"):
        run(asyncio.sleep(0))


def test_iteration_closes_the_generator_when_it_is_left_early() -> None:
    closed: list[bool] = []

    async def count() -> AsyncGenerator[int, None]:
        try:
            for number in range(3):
                yield number
        finally:
            closed.append(True)

    assert list(iterate(count())) == [0, 1, 2]
    numbers = iterate(count())
    assert next(numbers) == 0
    numbers.close()  # type: ignore[attr-defined]

    assert closed == [True, True]
