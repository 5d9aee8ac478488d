"""An instance with more requests than it can serve: what clients, balancers and operators are told."""

import contextlib
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import flask
import pytest

from flaskd import Server
from tests.support.balancers import haproxy, nginx, own_address, seen, wait_until
from tests.support.caller import Caller
from tests.support.daemons import PATIENCE, Daemon, StartDaemon
from tests.support.needs import requires
from tests.support.operating import Watch, client, ctl

pytestmark = [pytest.mark.live, pytest.mark.timeout(120)]

SHOP = """
import threading
from flask import Flask
app = Flask("shop")
go = threading.Event()
app.add_url_rule("/", "front", lambda: "welcome")
app.add_url_rule("/held", "held", lambda: str(go.wait(60)))
app.add_url_rule("/go", "go", lambda: str(go.set()))
"""

LIMIT = "0.3"


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    (tmp_path / "shop.py").write_text(SHOP)
    return tmp_path


def statuses(daemon: Daemon, count: int) -> list[int]:
    """Send requests side by side on connections of their own, and return how each was answered."""
    with contextlib.ExitStack() as stack:
        callers = [stack.enter_context(Caller(daemon.url)).get("/") for _ in range(count)]
        return [caller.read().status for caller in callers]


def ready(daemon: Daemon) -> tuple[int, str]:
    """Ask /readyz."""
    try:
        with urllib.request.urlopen(
            f"http://{daemon.instance['health']}/readyz", timeout=PATIENCE
        ) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def agent(daemon: Daemon) -> str:
    """Ask the agent."""
    host, _, port = daemon.instance["agent"].rpartition(":")
    with socket.create_connection((host, int(port)), timeout=PATIENCE) as connection:
        return connection.makefile().read()


@pytest.mark.parametrize("engine", ["waitress", "granian"])
def test_an_overload_is_counted_and_told_at_its_beginning_and_its_end(
    start_daemon: StartDaemon, shop: Path, engine: str
) -> None:
    """To the log and to events once each; status, stats and metrics have the number; errors have nothing. Set while it runs."""
    daemon = start_daemon(
        "shop:app",
        *("--engine", engine, "--threads", "1"),
        *("--health", "127.0.0.1:0", "--agent", "127.0.0.1:0"),
        cwd=shop,
    )
    with (
        Watch(daemon) as events,
        Caller(daemon.url) as held,
        client(daemon) as running,
    ):
        held.get("/held")
        wait_until(running.requests)
        assert ctl("shop", "set", "max-queue-time", LIMIT).returncode == 0
        assert ctl("shop", "set", "unready-when-saturated", "true").returncode == 0

        assert statuses(daemon, 8) == [503] * 8

        event = events.until(lambda event: event["event"] == "saturation")
        assert event["saturated"]
        assert 1 <= event["rejected"] <= 8
        assert ready(daemon) == (503, "running, saturated\n")
        assert agent(daemon) == "up 1%\n"
        status = running.status()
        assert (status.rejected, status.saturated, status.ready) == (8, True, False)
        assert "8 requests after --max-queue-time, saturated now" in ctl("shop", "status").stdout
        assert ctl("shop", "unset", "unready-when-saturated").returncode == 0
        assert ready(daemon) == (200, "running, saturated\n")

        event = events.until(lambda event: event["event"] == "saturation")
        assert (event["saturated"], event["rejected"]) == (False, 8)
        assert ready(daemon) == (200, "running\n")
        assert not running.status().saturated

        stats = running.stats()
        assert (stats.queue.rejected, stats.queue.start.errors) == (8, 8)
        assert (stats.total.start.requests, stats.total.start.errors) == (0, 0)
        assert running.errors() == []
        page = running.metrics()
        assert "flaskd_requests_rejected_total 8.0" in page
        assert "flaskd_saturated 0.0" in page
        assert "8 rejected after --max-queue-time" in ctl("shop", "stats").stdout
        daemon.process.terminate()
    assert daemon.output().count("answered 503") == 2


def test_the_number_survives_a_reload(start_daemon: StartDaemon, shop: Path) -> None:
    """What a worker has rejected is the instance's."""
    daemon = start_daemon("shop:app", "--max-queue-time", "1", "--trusted-proxies", "1", cwd=shop)
    with client(daemon) as running, Caller(daemon.url) as caller:
        late = f"X-Request-Start: {time.time() - 5}\r\n"
        caller.send(f"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{late}\r\n".encode())
        assert caller.read().status == 503
        wait_until(lambda: running.status().rejected == 1)
        running.reload()
        assert (running.status().rejected, running.stats().queue.rejected) == (1, 1)


@requires("haproxy")
def test_haproxy_sends_less_to_a_saturated_instance(
    start_daemon: StartDaemon, shop: Path, listener: socket.socket, tmp_path: Path
) -> None:
    """It lowers the weight to the least there is, and gives it back when the overload is over."""
    ports = {"--health": "127.0.0.1:0", "--agent": "127.0.0.1:0"}
    options = [word for pair in ports.items() for word in pair]
    daemon = start_daemon("shop:app", *options, "--threads", "1", "--max-queue-time", LIMIT, cwd=shop)
    (_, http), (_, health), (_, agent_port) = (
        each.rsplit(":", 1) for each in (daemon.url, daemon.instance["health"], daemon.instance["agent"])
    )
    servers = {f"10.0.0.{number}:8000": f"127.0.0.1:{http}" for number in (1, 2, 3)}
    with haproxy(tmp_path, listener, {**servers, "8081": health, "8082": agent_port}):
        wait_until(lambda: (tmp_path / "admin.sock").exists())
        wait_until(lambda: seen(tmp_path, "shop1")["weight"] == "100")
        with Caller(daemon.url) as held:
            held.get("/held")
            with client(daemon) as running:
                wait_until(running.requests)
            assert statuses(daemon, 4) == [503] * 4
            wait_until(lambda: seen(tmp_path, "shop1")["weight"] == "1")
            assert "UP" in seen(tmp_path, "shop1")["status"]
        with Watch(daemon) as events:
            events.until(lambda event: event["event"] == "saturation" and not event["saturated"])


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """Where clients of a balancer connect."""
    with socket.create_server((own_address(15), 0), backlog=256) as listening:
        yield listening


@pytest.mark.parametrize(
    "balancer", [pytest.param(each, marks=requires(each)) for each in ("haproxy", "nginx")]
)
def test_a_real_proxy_says_when_it_received_a_request(
    start_daemon: StartDaemon, shop: Path, listener: socket.socket, tmp_path: Path, balancer: str
) -> None:
    """With the configuration of the page: whatever a client sends itself, the proxy's own time counts."""
    health = ["--health", "127.0.0.1:0", "--agent", "127.0.0.1:0"]
    daemon = start_daemon("shop:app", *health, "--max-queue-time", "20", "--trusted-proxies", "1", cwd=shop)
    port = daemon.url.rsplit(":", 1)[1]
    addresses = {f"10.0.0.{number}:8000": f"127.0.0.1:{port}" for number in (1, 2, 3)}
    make = nginx
    if balancer == "haproxy":
        make = haproxy
        for option, shown in (("health", "8081"), ("agent", "8082")):
            addresses[shown] = daemon.instance[option].rsplit(":", 1)[1]
    late = f"X-Request-Start: t={time.time() - 600}\r\n".encode()
    request = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n%b\r\n"
    with make(tmp_path, listener, addresses) as proxy, client(daemon) as running:
        for own in (b"", late, b"X-Request-Start: soon\r\n"):
            with Caller(proxy.url) as caller:
                assert caller.send(request % own).read().status == 200
        with Caller(daemon.url) as caller:
            assert caller.send(request % late).read().status == 503
        wait_until(lambda: running.status().rejected == 1)
        assert running.stats().queue.start.p50 is not None
        assert running.stats().queue.waited >= 1


@pytest.mark.parametrize("engine", ["waitress", "granian", "werkzeug"])
def test_a_server_in_a_program_tells_it_too(engine: str) -> None:
    """Without a supervisor: the bus, status, and the number."""
    app, events = flask.Flask("shop"), list[bool]()
    app.add_url_rule("/", "front", lambda: "welcome")
    begun = threading.Event()

    with Server(
        app, bind="127.0.0.1:0", engine=engine, max_queue_time=1, trusted_proxies=1, control=False
    ) as server:

        def note(event: object) -> None:
            if (saturated := getattr(event, "saturated", None)) is not None:
                events.append(saturated)
                begun.set()

        server.bus.subscribe(note)
        with Caller(server.listeners[0]) as caller:
            late = f"X-Request-Start: t={time.time() - 60}\r\n"
            caller.send(f"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{late}\r\n".encode())
            assert caller.read().status == 503
        assert begun.wait(PATIENCE)
        assert events == [True]
        assert (server.status().rejected, server.status().saturated) == (1, True)
