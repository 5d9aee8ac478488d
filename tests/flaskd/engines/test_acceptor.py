"""The acceptor and its waker: connections are accepted while they are wanted, and not once it has stopped."""

import resource
import selectors
import socket
import threading
from collections.abc import Iterator

import pytest

from flaskd.engines.shared import acceptor as acceptor_module
from flaskd.engines.shared.acceptor import MAX_CONNECTIONS, Acceptor, max_connections
from flaskd.engines.shared.waker import Waker
from flaskd.process.descriptors import RESERVE
from tests.flaskd.conftest import WAIT


class Accepting:
    """An acceptor with one listener, in a selector of its own."""

    def __init__(self, listener: socket.socket, selector: selectors.BaseSelector, waker: Waker) -> None:
        self.listener = listener
        self.selector = selector
        self.waker = waker
        self.acceptor = Acceptor(selector, waker)
        self.acceptor.add(listener, "data")
        selector.register(waker, selectors.EVENT_READ)

    def ready(self, timeout: float = 0) -> list[object]:
        return [key.data for key, _ in self.selector.select(timeout)]

    def connect(self) -> socket.socket:
        return socket.create_connection(self.listener.getsockname())


@pytest.fixture
def accepting() -> Iterator[Accepting]:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        selectors.DefaultSelector() as selector,
        Waker() as waker,
    ):
        listener.setblocking(False)
        yield Accepting(listener, selector, waker)


def test_it_waits_for_connections_only_while_they_are_wanted(accepting: Accepting) -> None:
    """What comes meanwhile waits in the kernel's queue."""
    with accepting.connect():
        assert accepting.ready() == []
        assert accepting.acceptor.listen(wanted=True) is None
        assert accepting.ready(WAIT) == ["data"]
        accepting.acceptor.listen(wanted=False)
        assert accepting.ready() == []
        accepting.acceptor.listen(wanted=True)
        accepted = accepting.acceptor.accept(accepting.listener)
        assert accepted is not None
        accepted[0].close()
        assert accepting.acceptor.accept(accepting.listener) is None


def test_a_pause_is_over_by_itself(accepting: Accepting, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until then nothing is accepted; `listen` says when to come back."""
    monkeypatch.setattr(acceptor_module, "RETRY_AFTER", 0.05)
    with accepting.connect():
        accepting.acceptor.pause()
        again = accepting.acceptor.listen(wanted=True)
        assert again is not None
        assert 0 < again <= 0.05
        assert accepting.ready() == []
        threading.Event().wait(0.05)
        assert accepting.acceptor.listen(wanted=True) is None
        assert accepting.ready(WAIT) == ["data"]


def test_a_stop_wakes_the_thread_and_waits_for_it(accepting: Accepting) -> None:
    """Once it has returned, nothing is accepted any more."""
    accepting.acceptor.listen(wanted=True)
    stopped = threading.Event()

    def stop() -> None:
        accepting.acceptor.stop()
        accepting.acceptor.wait()
        stopped.set()

    stopping = threading.Thread(target=stop)
    stopping.start()
    assert accepting.ready(WAIT) == [None]
    assert not stopped.is_set()
    accepting.acceptor.listen(wanted=True)
    stopping.join(WAIT)
    assert stopped.is_set()
    with accepting.connect():
        accepting.waker.clear()
        assert accepting.ready() == []


def test_a_stop_before_anything_is_served_does_not_wait(accepting: Accepting) -> None:
    """No thread would end the wait."""
    idle = Acceptor(accepting.selector, accepting.waker)
    idle.stop()
    idle.wait()


def test_a_waker_is_readable_from_a_wake_to_the_next_clear(accepting: Accepting) -> None:
    """However often it was woken, and again after that."""
    for _ in range(2):
        assert accepting.ready() == []
        accepting.waker.wake()
        accepting.waker.wake()
        assert accepting.ready(WAIT) == [None]
        accepting.waker.clear()


def test_a_waker_that_is_closed_wakes_nobody() -> None:
    """Its thread has ended."""
    with Waker() as waker:
        pass
    waker.wake()


@pytest.mark.parametrize(
    ("descriptors", "threads", "expected"),
    [
        (resource.RLIM_INFINITY, 4, MAX_CONNECTIONS),
        (100_000, 4, MAX_CONNECTIONS),
        (RESERVE + 200, 4, 200),
        (RESERVE + 2, 4, 4),
    ],
)
def test_connections_leave_descriptors_for_others(
    descriptors: int, threads: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But there is one for each thread."""
    monkeypatch.setattr(resource, "getrlimit", lambda _: (descriptors, descriptors))
    assert max_connections(threads) == expected
