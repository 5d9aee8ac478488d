"""The line to the service manager, and its watchdog: whom it is for, and that no child inherits it."""

import asyncio
import contextlib
import os
import socket
import threading
from pathlib import Path

import pytest

from flaskd.systemd.notify import ServiceManager
from flaskd.systemd.watchdog import Watchdog
from tests.flaskd.systemd.manual import Clock, Told

ME = 4711


@pytest.mark.parametrize("abstract", [False, True])
def test_lines_are_one_datagram_to_the_address_that_was_given(tmp_path: Path, *, abstract: bool) -> None:
    """As sd_notify(3) sends them; "@" stands for the abstract namespace of unix(7)."""
    name = f"@flaskd-{os.getpid()}" if abstract else f"{tmp_path}/notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as news:
        news.bind("\0" + name[1:] if abstract else name)
        news.settimeout(10)

        ServiceManager.from_environment({"NOTIFY_SOCKET": name}, ME).notify("READY=1", "STATUS=läuft")

        assert news.recv(4096).decode() == "READY=1\nSTATUS=läuft"


def test_manager_that_is_gone_is_no_error(tmp_path: Path) -> None:
    """What it is told is for its good, not for ours."""
    ServiceManager.from_environment({"NOTIFY_SOCKET": f"{tmp_path}/nobody"}, ME).notify("READY=1")


def test_manager_that_does_not_read_is_not_waited_for(tmp_path: Path) -> None:
    """The loop that would wait is the one that answers operators."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as news:
        news.bind(f"{tmp_path}/full")
        manager = ServiceManager.from_environment({"NOTIFY_SOCKET": f"{tmp_path}/full"}, ME)

        for _ in range(5_000):  # net.unix.max_dgram_qlen is 10 to 512
            manager.notify("STATUS=x")


def test_message_that_a_manager_waits_for_waits_for_the_manager(tmp_path: Path) -> None:
    """READY=1 that is dropped would have a service that serves be killed for not starting."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as news:
        news.bind(f"{tmp_path}/full")
        manager = ServiceManager.from_environment({"NOTIFY_SOCKET": f"{tmp_path}/full"}, ME)
        for _ in range(5_000):
            manager.notify("STATUS=x")
        news.setblocking(False)
        heard = []

        def read() -> None:
            with contextlib.suppress(BlockingIOError):
                while True:
                    heard.append(news.recv(4096))

        thread = threading.Thread(target=read)
        thread.start()
        manager.notify("READY=1")
        thread.join()
        read()

    assert heard[-1] == b"READY=1"


def test_variables_are_taken_out_of_the_environment() -> None:
    """A library in the application that speaks sd_notify would speak for the daemon."""
    environ = {"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "1", "WATCHDOG_PID": str(ME), "PATH": "/bin"}

    ServiceManager.from_environment(environ, ME)

    assert environ == {"PATH": "/bin"}


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(ME)}, 3.0),
        ({"WATCHDOG_USEC": "3000000"}, 3.0),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}, 0.0),
        ({"WATCHDOG_USEC": "soon", "WATCHDOG_PID": str(ME)}, 0.0),
        ({}, 0.0),
    ],
)
def test_watchdog_is_wanted_of_us_only_where_it_names_us(environ: dict[str, str], seconds: float) -> None:
    """sd_watchdog_enabled(3): the variables may be meant for another process."""
    assert ServiceManager.from_environment({"NOTIFY_SOCKET": "@x", **environ}, ME).watchdog == seconds


def test_sign_of_life_comes_twice_in_the_time_that_it_has() -> None:
    """Half of WATCHDOG_USEC, as sd_watchdog_enabled(3) recommends; the first at once."""
    clock, manager = Clock(), Told(watchdog=4.0)
    watchdog = Watchdog(manager, lambda: True, clock)

    watchdog.start()
    clock.advance(10.0)

    assert manager.take() == [{"WATCHDOG": "1"}] * 6
    watchdog.stop()
    assert clock.pending == 0


def test_no_watchdog_no_timer() -> None:
    """An idle daemon makes no wake-ups of its own."""
    clock = Clock()

    Watchdog(Told(), lambda: True, clock).start()

    assert clock.pending == 0


def test_who_takes_no_commands_gives_no_sign() -> None:
    """The loop turns, but nobody could operate the instance."""
    clock, manager, serving = Clock(), Told(watchdog=4.0), [True]
    Watchdog(manager, lambda: serving[0], clock).start()
    manager.take()

    serving[0] = False
    clock.advance(10.0)
    assert manager.take() == []
    serving[0] = True
    clock.advance(2.0)

    assert manager.take() == [{"WATCHDOG": "1"}]


def test_loop_that_hangs_gives_no_sign() -> None:
    """Other threads of the process go on, and must not speak for it."""
    manager = Told(watchdog=0.02)
    hanging, go_on, waited = threading.Event(), threading.Event(), []

    def elsewhere() -> None:
        assert hanging.wait(20)
        manager.take()
        threading.Event().wait(0.1)  # five times what it has
        waited.append(manager.take())
        go_on.set()

    def hang() -> None:
        hanging.set()
        assert go_on.wait(20)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        Watchdog(manager, lambda: True, loop).start()
        await loop.run_in_executor(None, lambda: None)
        hang()

    thread = threading.Thread(target=elsewhere)
    thread.start()
    asyncio.run(main())
    thread.join()

    assert waited == [[]]
