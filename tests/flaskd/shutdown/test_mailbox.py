"""The mailbox: nothing is lost, whoever writes, and a signal wakes the reader."""

import signal
import threading

from flaskd.process import signals
from flaskd.shutdown.mailbox import Mailbox
from tests.flaskd.conftest import WAIT


def test_letters_of_many_writers_all_arrive_in_each_writers_order() -> None:
    """Threads race; none of their letters is lost or overtaken by a later one of the same thread."""
    with Mailbox[tuple[int, int]]() as mailbox:

        def write(writer: int) -> None:
            for number in range(500):
                mailbox.put((writer, number))

        threads = [threading.Thread(target=write, args=(writer,)) for writer in range(4)]
        for thread in threads:
            thread.start()
        read: list[tuple[int, int]] = []
        while len(read) < 2000:
            letter = mailbox.get(WAIT)
            if letter is not None:
                read.append(letter)
        for thread in threads:
            thread.join(WAIT)
    for writer in range(4):
        assert [(writer, number) for number in range(500)] == [
            letter for letter in read if letter[0] == writer
        ]


def test_waiting_ends_with_the_time() -> None:
    """None says that none came."""
    with Mailbox[int]() as mailbox:
        assert mailbox.get(0) is None
        assert mailbox.get(0.01) is None


def test_a_signal_is_read_at_once_however_the_reader_waits() -> None:
    """Also one that the kernel gave to another thread, so that no system call of the reader is interrupted."""
    with (
        Mailbox[str]() as mailbox,
        signals.stop_on_signals(lambda name, again: mailbox.put(name)),
        signals.wakeup_fd(mailbox.wake_descriptor()),
    ):
        for _ in range(50):
            # A moment later, when the reader most likely waits; it has to hold whenever.
            thread = threading.Timer(
                0.005, lambda: signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
            )
            thread.start()
            letter = None
            while letter is None:
                letter = mailbox.get(WAIT)
            assert letter == "SIGTERM"
            thread.join(WAIT)
