"""The clients against the real daemon: both transports, both Python clients, the command line."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from flask import Flask

from flaskd import Server
from flaskd_ctl import AsyncClient, Client
from flaskd_ctl.cli import main
from flaskd_ctl.errors import NotRunning, TimedOut, WrongState
from flaskd_ctl.protocol import ProgressEvent, StateEvent
from tests.support.daemons import PATIENCE, Daemon, StartDaemon
from tests.support.needs import requires

pytestmark = pytest.mark.live

NOBODY = 65_534
COLD = 60.0
"""Seconds for a command line on a busy machine."""


class Shop:
    """An application whose slow request ends when the test says so, served inside this process."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.let_go = threading.Event()
        self.app = Flask("shop")
        self.app.add_url_rule("/", view_func=lambda: "hello", endpoint="front")
        self.app.add_url_rule("/held/<word>", view_func=self._held, endpoint="held")

    def _held(self, word: str) -> str:
        self.begun.set()
        assert self.let_go.wait(PATIENCE)
        return word


@pytest.fixture
def shop() -> Shop:
    return Shop()


@pytest.fixture
def server(shop: Shop) -> Iterator[Server]:
    with Server(shop.app, bind="127.0.0.1:0", name="shop", linger=0.0) as server:
        yield server
        shop.let_go.set()


@pytest.fixture(params=["sock", "zmq"])
def url(request: pytest.FixtureRequest, runtime_dir: str) -> str:
    """The endpoint of shop on each transport in turn."""
    scheme = {"sock": "unix", "zmq": "ipc"}[request.param]
    return f"{scheme}://{runtime_dir}/shop/{request.param}"


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor() as threads:
        yield threads


def get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
        return bytes(answer.read())


def flaskd_ctl(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "flaskd_ctl", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=COLD, check=False)


def test_a_day_in_the_life(server: Server, shop: Shop, url: str, pool: ThreadPoolExecutor) -> None:
    """Each method, on each transport, while a request is in flight; the request is answered."""
    with Client(endpoint=url) as client:
        assert client.ping().name == "shop"
        slow = pool.submit(get, f"{server.listeners[0]}/held/word")
        assert shop.begun.wait(PATIENCE)

        (one,) = client.requests()
        assert (one.method, one.path, one.endpoint, one.rule) == ("GET", "/held/word", "held", "/held/<word>")
        assert client.status().in_flight == 1
        assert {method["name"] for method in client.describe()["methods"]} >= {"ping", "shutdown"}
        assert not client.drain().ready
        assert client.resume().ready

        told: list[ProgressEvent] = []

        def progress(event: ProgressEvent) -> None:
            told.append(event)
            shop.let_go.set()

        result = client.shutdown(on_progress=progress)

    assert (result.clean, result.cut, result.answered, result.process_exits) == (True, [], 1, False)
    assert told[0].in_flight == 1
    assert slow.result(PATIENCE) == b"word"
    with pytest.raises(NotRunning):
        Client(endpoint=url).ping()


def test_a_day_in_the_life_of_asyncio(server: Server, shop: Shop, url: str, pool: ThreadPoolExecutor) -> None:
    async def live() -> Any:
        async with AsyncClient(endpoint=url) as client:
            slow = asyncio.get_running_loop().run_in_executor(pool, get, f"{server.listeners[0]}/held/word")
            await asyncio.to_thread(shop.begun.wait, PATIENCE)
            assert [one.path for one in await client.requests()] == ["/held/word"]
            assert not (await client.drain()).ready
            assert (await client.resume()).ready
            result = await client.shutdown(on_progress=lambda _: shop.let_go.set())
            return result, await slow

    result, answer = asyncio.run(live())

    assert (result.clean, answer) == (True, b"word")


def test_the_name_is_free_when_shutdown_returns(shop: Shop, url: str) -> None:
    """Also where the program goes on: a successor starts at once."""
    for _ in range(5):
        with Server(shop.app, bind="127.0.0.1:0", name="shop"), Client(endpoint=url) as client:
            client.shutdown()
            with Server(shop.app, bind="127.0.0.1:0", name="shop"):
                assert client.ping().name == "shop"


def test_events_tell_the_whole_story(server: Server, url: str) -> None:
    with Client(endpoint=url) as client:
        events = client.events()
        begun = threading.Event()

        def collect() -> list[str]:
            states = []
            for event in events:
                begun.set()
                if isinstance(event, StateEvent):
                    states.append(event.state)
            return states

        with ThreadPoolExecutor() as pool:
            story = pool.submit(collect)
            while not begun.wait(0.05):  # the subscription has no sign of its own: move until it is heard
                client.drain()
                client.resume()
            client.shutdown()
            assert story.result(PATIENCE)[-2:] == ["stopping", "stopped"]


def test_a_cut_request_is_exit_6_and_named(server: Server, shop: Shop, pool: ThreadPoolExecutor) -> None:
    slow = pool.submit(get, f"{server.listeners[0]}/held/word")
    assert shop.begun.wait(PATIENCE)

    ran = flaskd_ctl("--name", "shop", "shutdown", "--grace", "0", "--json")
    shop.let_go.set()

    assert ran.returncode == 6, ran.stderr
    assert [one["path"] for one in json.loads(ran.stdout)["cut"]] == ["/held/word"]
    assert slow.exception(PATIENCE) is not None


def test_a_program_lists_instances_and_waits_for_their_end(server: Server, pool: ThreadPoolExecutor) -> None:
    async def look() -> tuple[str, bool]:
        async with AsyncClient("shop") as client:
            status = await client.wait("ready", PATIENCE)
            (instance,) = await client.list_instances()
            return instance.state, bool(status and status.ready)

    assert asyncio.run(look()) == ("running", True)
    with Client("shop") as client:
        stopped = pool.submit(client.wait, "stopped", PATIENCE)
        client.shutdown()
        stopped.result(PATIENCE)
        (instance,) = client.list_instances()

    assert instance.state == "stopped"
    assert instance.last_stop is not None
    assert instance.last_stop.clean


def test_a_bad_parameter_is_exit_2_with_the_field(server: Server, runtime_dir: str) -> None:
    from flaskd_ctl.client.session import ask
    from flaskd_ctl.contract.endpoint import Endpoint, Target
    from flaskd_ctl.errors import InvalidParams
    from flaskd_ctl.transports.backend import BLOCKING, run

    target = Target("shop", Endpoint("unix", f"{runtime_dir}/shop/sock"))
    with pytest.raises(InvalidParams) as refused:
        run(ask(BLOCKING, target, "shutdown", {"grace": -1}))

    assert "grace" in refused.value.data["path"]


def test_drain_while_stopping_is_wrong_state(server: Server, shop: Shop, pool: ThreadPoolExecutor) -> None:
    pool.submit(get, f"{server.listeners[0]}/held/word")
    assert shop.begun.wait(PATIENCE)
    with Client("shop") as client:
        assert client.shutdown(wait=False) is None
        with pytest.raises(WrongState):
            client.drain()
        assert client.status().state == "stopping"
        shop.let_go.set()


@pytest.fixture
def daemon(start_daemon: StartDaemon) -> Daemon:
    return start_daemon("tests.support.shop:app", "--linger", "0", environ={"PYTHONPATH": os.getcwd()})


@pytest.mark.parametrize("method", ["shutdown", "kill"])
def test_when_the_command_returns_the_process_is_gone(daemon: Daemon, method: str, url: str) -> None:
    ran = flaskd_ctl("--endpoint", url, method)

    assert ran.returncode == 0, ran.stderr
    assert os.waitid(os.P_PID, daemon.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def test_the_clean_stop_is_told_afterwards(daemon: Daemon) -> None:
    assert flaskd_ctl("shutdown").returncode == 0

    ran = flaskd_ctl("status", "--name", "shop")

    assert ran.returncode == 3
    assert "last stopped " in ran.stderr
    assert ", clean). Try" in ran.stderr


def test_kill_9_is_told_afterwards(daemon: Daemon) -> None:
    os.kill(daemon.pid, signal.SIGKILL)
    daemon.wait()

    ran = flaskd_ctl("status", "--name", "shop")

    assert ran.returncode == 3
    assert f"pid {daemon.pid} ended without a note" in ran.stderr


def test_a_stopped_process_is_exit_5_at_the_timeout(daemon: Daemon, url: str) -> None:
    os.kill(daemon.pid, signal.SIGSTOP)
    try:
        for method in ("status", "shutdown"):
            ran = flaskd_ctl("--endpoint", url, method, "--timeout", "0.3")
            assert (ran.returncode, ran.stdout) == (5, "")
            assert f"pid {daemon.pid} is stopped or stuck" in ran.stderr
        with pytest.raises(TimedOut), Client(endpoint=url, timeout=0.3) as client:
            client.ping()
    finally:
        os.kill(daemon.pid, signal.SIGCONT)


@requires("root")
def test_another_user_is_exit_4_at_once(daemon: Daemon) -> None:
    """A child that drops its privileges; what it needs is imported before."""
    flaskd_ctl_here: Callable[[list[str]], int] = main._run
    assert flaskd_ctl_here(["status"]) == 0
    child = os.fork()
    if child == 0:
        code = 99
        try:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            code = flaskd_ctl_here(["--name", "shop", "shutdown"])
        finally:
            os._exit(code)

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 4
    assert flaskd_ctl_here(["ping"]) == 0


def test_status_and_protocol_versions_agree(daemon: Daemon) -> None:
    with Client() as client:
        assert client.ping().protocol == client.describe()["info"]["version"]
