"""The acceptor and its waker: connections are accepted while they are wanted and it is its turn, not once it has stopped."""

import resource
import selectors
import socket
import threading
from collections.abc import Iterator

import pytest

from flaskd.engines.shared import acceptor as acceptor_module
from flaskd.engines.shared.acceptor import MAX_CONNECTIONS, Acceptor, max_connections
from flaskd.engines.shared.even_load import PATIENCE, row
from flaskd.engines.shared.load_share import LoadShare
from flaskd.engines.shared.waker import Waker
from flaskd.process.descriptors import RESERVE
from flaskd.process.load_table import LoadTable
from tests.flaskd.conftest import WAIT


class Accepting:
    """An acceptor with one listener, in a selector of its own; `row` is another worker's, in the same load table."""

    def __init__(self, listener: socket.socket, selector: selectors.BaseSelector, waker: Waker) -> None:
        self.listener = listener
        self.selector = selector
        self.waker = waker
        self.table = LoadTable.private()
        self.load_share = LoadShare(self.table, self.table.take())
        self.row = self.table.take()
        self.acceptor = Acceptor(selector, waker, self.load_share)
        self.acceptor.add(listener, "data")
        selector.register(waker, selectors.EVENT_READ)

    def ready(self, timeout: float = 0) -> list[object]:
        """Return the data of what is readable, and let the acceptor know."""
        found = self.selector.select(timeout)
        for key, _ in found:
            if key.data is self.acceptor:
                self.acceptor.ring(key.fileobj)
        return [key.data for key, _ in found]

    def accept(self) -> bool:
        """Accept the next one, and close it."""
        accepted = self.acceptor.accept_next()
        if accepted is not None:
            assert accepted[2] == "data"
            accepted[0].close()
        return accepted is not None

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
        assert accepting.acceptor.listen(wanted=True) == 0
        accepting.acceptor.listen(wanted=False)
        assert not accepting.accept()
        assert accepting.ready() == []
        accepting.acceptor.listen(wanted=True)
        assert accepting.accept()
        assert not accepting.accept()
        assert accepting.acceptor.listen(wanted=True) is None


def test_it_waits_without_a_timeout_for_the_next_connection(accepting: Accepting) -> None:
    """One that comes wakes it, another one does so again, and nothing else does."""
    accepting.acceptor.listen(wanted=True)
    assert not accepting.accept()
    for _ in range(2):
        assert accepting.acceptor.listen(wanted=True) is None
        assert accepting.ready() == []
        with accepting.connect():
            assert accepting.ready(WAIT) == [accepting.acceptor]
            assert accepting.accept()
            assert not accepting.accept()


def test_a_connection_is_left_to_a_worker_with_a_lower_load(accepting: Accepting) -> None:
    """It is not looked at all the time meanwhile; who hangs does not keep it."""
    accepting.table.write(accepting.row, row(0, 1, 0))
    accepting.load_share.loaded(3, 0)
    accepting.acceptor.listen(wanted=True)
    assert not accepting.accept()
    with accepting.connect():
        assert accepting.ready(WAIT) == [accepting.acceptor]
        assert not accepting.accept()
        again = accepting.acceptor.listen(wanted=True)
        assert again is not None
        assert 0 < again < 2 * PATIENCE
        assert accepting.ready(again / 2) == []
        threading.Event().wait(2 * PATIENCE)
        assert accepting.acceptor.listen(wanted=True) == 0
        assert accepting.accept()


def test_whether_a_connection_waits_is_asked_of_the_kernel(accepting: Accepting) -> None:
    """One that was accepted does not, though its listener has rung."""
    assert not accepting.acceptor.waits()
    with accepting.connect():
        assert not accepting.acceptor.waits()
        accepting.acceptor.listen(wanted=True)
        assert accepting.acceptor.waits()
        assert accepting.accept()
        assert not accepting.acceptor.waits()


def test_who_leaves_a_connection_to_another_worker_hears_that_it_was_taken(accepting: Accepting) -> None:
    """Then nothing wakes it any more."""
    accepting.table.write(accepting.row, row(0, 1, 0))
    accepting.load_share.loaded(3, 0)
    accepting.acceptor.listen(wanted=True)
    with accepting.connect():
        assert accepting.ready(WAIT) == [accepting.acceptor]
        assert not accepting.accept()
        accepting.listener.accept()[0].close()
        threading.Event().wait(2 * PATIENCE)
        assert not accepting.accept()
        assert accepting.acceptor.listen(wanted=True) is None


def test_others_leave_nothing_to_who_accepts_nothing(accepting: Accepting) -> None:
    """Its row is empty before it accepts, when it wants nothing, and at the end."""
    assert accepting.table.others(accepting.row) == {}
    accepting.acceptor.listen(wanted=True)
    assert accepting.table.others(accepting.row) == {0: row(0, 0, 0)}
    accepting.acceptor.listen(wanted=False)
    assert accepting.table.others(accepting.row) == {}
    accepting.acceptor.listen(wanted=True)
    accepting.acceptor.stopping = True
    accepting.acceptor.listen(wanted=True)
    assert accepting.table.others(accepting.row) == {}


def test_without_edges_every_connection_is_taken(accepting: Accepting) -> None:
    """Where the kernel has no epoll, or refuses it: to leave one to others would keep the thread awake."""
    accepting.table.write(accepting.row, row(0, 0, 0))
    accepting.load_share.loaded(3, 0)
    with selectors.SelectSelector() as accepting.selector:
        accepting.acceptor = Acceptor(accepting.selector, accepting.waker, accepting.load_share)
        accepting.acceptor.add(accepting.listener, "data")
        accepting.acceptor.listen(wanted=True)
        assert not accepting.accept()
        with accepting.connect():
            assert accepting.ready(WAIT) == [accepting.acceptor]
            assert accepting.accept()


def test_a_pause_is_over_by_itself(accepting: Accepting, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until then nothing is accepted; `listen` says when to come back."""
    monkeypatch.setattr(acceptor_module, "RETRY_AFTER", 0.05)
    with accepting.connect():
        accepting.acceptor.pause()
        again = accepting.acceptor.listen(wanted=True)
        assert again is not None
        assert 0 < again <= 0.05
        assert not accepting.accept()
        threading.Event().wait(0.05)
        assert accepting.acceptor.listen(wanted=True) == 0
        assert accepting.accept()


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
