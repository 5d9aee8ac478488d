"""A `Server` whose place somebody removes: the control thread makes it anew, where the kernel helps."""

import asyncio
import logging
import os
import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from flaskd import Server
from flaskd.control.upkeep import Upkeep
from flaskd.errors import ClaimError, NameTaken
from flaskd.process.inotify import Inotify
from flaskd_ctl import Client
from flaskd_ctl.contract.endpoint import Place
from flaskd_ctl.transports.backend import BLOCKING, run
from flaskd_ctl.transports.process_exit import ProcessExit
from tests.flaskd.conftest import WAIT
from tests.support.keyed import Keyring, url_among

Serve = Callable[..., Server]


class Said(logging.Handler):
    """The lines of the control plane's log, to be waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self._one_more = threading.Condition()

    def emit(self, record: logging.LogRecord) -> None:
        with self._one_more:
            self.lines.append(record.getMessage())
            self._one_more.notify_all()

    def wait(self, words: str, *, times: int = 1) -> None:
        with self._one_more:
            assert self._one_more.wait_for(lambda: sum(words in line for line in self.lines) >= times, WAIT)


@pytest.fixture
def said() -> "Said":
    handler = Said()
    logging.getLogger("flaskd.control").addHandler(handler)
    return handler


@pytest.fixture
def place(runtime_dir: str) -> Place:
    return Place(f"{runtime_dir}/shop")


def test_a_server_comes_back_and_is_gone_only_when_it_has_stopped(
    serve: Serve, place: Place, said: Said
) -> None:
    """Its process goes on, so a client that waits for the end sees its sockets; another file there is not another instance."""
    server = serve(name="shop")
    watcher = ProcessExit(BLOCKING, place.sock, os.getpid())
    with ThreadPoolExecutor() as pool, watcher, Client("shop") as shop:
        assert shop.status().state == "running"
        gone = pool.submit(run, watcher.wait(process_exits=False, deadline=time.monotonic() + WAIT))
        shutil.rmtree(place.directory)
        said.wait("; created again")

        with Client("shop") as anew:
            assert anew.status().pid == os.getpid()
        assert shop.status().state == "running"
        assert not gone.done()
        with pytest.raises(NameTaken):
            serve(name="shop")
        server.shutdown().result(WAIT)
        assert gone.result(WAIT)
    assert not os.path.exists(place.directory)


def test_a_second_server_of_the_name_is_refused_while_the_place_is_gone(
    serve: Serve, place: Place, said: Said
) -> None:
    """The record refuses it: there is no lock that could."""
    serve(name="shop")
    runtime = os.path.dirname(place.directory)
    shutil.rmtree(runtime)
    Path(runtime).touch()
    said.wait("cannot be created again")

    with pytest.raises(NameTaken, match=f"process {os.getpid()}"):
        serve(name="shop")
    os.unlink(runtime)
    said.wait("; created again")


def test_endpoints_for_other_hosts_come_back(serve: Serve, place: Place, said: Said, tmp_path: Path) -> None:
    """They go through a socket in the same directory."""
    keys = Keyring(tmp_path)
    keys.let_in("alice")
    server = serve(name="shop", admins=("key:alice",), **keys.settings)
    given = keys.given("alice", url_among(server.endpoints))
    with Client(timeout=WAIT, **given) as before:
        before.status()
        shutil.rmtree(place.directory)
        said.wait("; created again")

        with Client(timeout=WAIT, **given) as alice:
            assert alice.status().state == "running"
        assert before.status().state == "running"


def test_a_stranger_file_in_the_way_is_left_and_said_once(serve: Serve, place: Place, said: Said) -> None:
    """Then it is moved away."""
    serve(name="shop")
    os.unlink(place.sock)
    Path(place.sock).write_text("precious")
    said.wait("a file that is not a socket is there")
    assert Path(place.sock).read_text() == "precious"

    os.rename(place.sock, f"{place.directory}.away")
    said.wait("; created again")
    with Client("shop") as shop:
        assert shop.status().state == "running"


@pytest.mark.parametrize("step", ["__init__", "watch"])
def test_a_kernel_without_inotify_costs_a_line(
    serve: Serve, place: Place, said: Said, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """The instance serves and stops; it does not notice, and clients still know by the record."""

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Inotify, step, refuse)
    server = serve(name="shop")
    said.wait("is not watched (No space left on device)")
    with Client("shop") as shop:
        assert shop.status().state == "running"
    server.shutdown().result(WAIT)


def test_what_was_removed_before_we_watched_is_made_anew(tmp_path: Path) -> None:
    """Also what is removed while it is created again."""
    there = tmp_path / "there"

    async def play() -> int:
        made = 0
        second = asyncio.Event()

        async def renew() -> None:
            nonlocal made
            made += 1
            if made == 2:
                there.touch()
                second.set()

        upkeep = Upkeep(str(tmp_path), lambda: [] if there.exists() else ["there"], renew)
        upkeep.open()
        await asyncio.wait_for(second.wait(), WAIT)
        await upkeep.close()
        return made

    assert asyncio.run(play()) == 2


def test_a_failure_is_said_once(tmp_path: Path, said: Said) -> None:
    """However often something else in the directory changes."""

    async def play() -> None:
        tries = asyncio.Queue[None]()

        async def renew() -> None:
            tries.put_nowait(None)
            raise ClaimError("no", hint="do")

        upkeep = Upkeep(str(tmp_path), lambda: ["sock"], renew)
        upkeep.open()
        for number in range(3):
            await asyncio.wait_for(tries.get(), WAIT)
            await asyncio.sleep(0)
            (tmp_path / str(number)).touch()
        await upkeep.close()

    asyncio.run(play())
    assert len([line for line in said.lines if "cannot be created again" in line]) == 1
