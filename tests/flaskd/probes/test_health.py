"""The health listener: what it answers, and that nobody can wear it out."""

import asyncio
import http.client
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from flaskd.embedded.server import Server
from flaskd.errors import BindError, ConfigError
from flaskd.probes import listener
from flaskd.probes.health import answer
from flaskd.probes.listener import LONGEST, MAX_CONNECTIONS, ProbeListener
from flaskd.probes.metrics import MetricsPage
from flaskd.probes.rotation import Rotation
from flaskd.shutdown.lifecycle import State
from flaskd_ctl import Client
from tests.flaskd.conftest import WAIT, App
from tests.support.balancers import free_ports, own_address
from tests.support.caller import call
from tests.support.daemons import StartDaemon

SERVING = Rotation(State.RUNNING, serving=2, wanted=2, threads=4, in_flight=1)


def told(request: str, rotation: Rotation = SERVING) -> tuple[int, str]:
    """Return status and body of the answer to a request line."""
    response = answer(f"{request}\r\nHost: x\r\n\r\n".encode(), lambda: rotation)
    assert isinstance(response, bytes)
    head, _, body = response.decode().partition("\r\n\r\n")
    return int(head.split()[1]), body


@pytest.mark.parametrize(
    ("state", "serving", "live", "ready", "body"),
    [
        (State.STARTING, 0, 200, 503, "starting\n"),
        (State.RUNNING, 2, 200, 200, "running\n"),
        (State.RUNNING, 0, 200, 503, "running, no worker serves\n"),
        (State.DEGRADED, 1, 200, 200, "degraded\n"),
        (State.DEGRADED, 0, 200, 503, "degraded, no worker serves\n"),
        (State.DRAINING, 2, 200, 503, "draining\n"),
        (State.STOPPING, 2, 200, 503, "stopping\n"),
    ],
)
def test_ready_is_who_is_in_rotation_and_serves(
    state: State, serving: int, live: int, ready: int, body: str
) -> None:
    """Alive is whoever answers, ready only who is to get new requests; both say how it is."""
    rotation = SERVING._replace(state=state, serving=serving)

    assert told("GET /livez HTTP/1.1", rotation) == (live, body)
    assert told("GET /readyz?verbose HTTP/1.1", rotation) == (ready, body)


def test_head_is_the_same_without_a_body() -> None:
    """A probe by HEAD learns the status, and no body that would be taken for the next response."""
    assert told("HEAD /readyz HTTP/1.0") == (200, "")
    assert told("HEAD /elsewhere HTTP/1.1") == (404, "")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "get"])
@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics"])
def test_only_reading_is_served(method: str, path: str) -> None:
    """Nothing can be changed over HTTP, and whoever tries is told so."""
    assert told(f"{method} {path} HTTP/1.1")[0] == 405


@pytest.mark.parametrize("path", ["/", "/shutdown", "/readyz/", "//livez", "*", "http://x/livez"])
def test_nothing_else_is_served(path: str) -> None:
    """There are three paths."""
    assert told(f"GET {path} HTTP/1.1")[0] == 404


@given(st.binary(max_size=200))
def test_whatever_is_sent_gets_one_well_formed_answer(sent: bytes) -> None:
    """Rubbish is answered 400, or waited for; it never raises."""
    response = answer(sent + b"\r\n\r\n", lambda: SERVING)

    assert isinstance(response, bytes)
    assert response.startswith(b"HTTP/1.1 ")
    assert b"\r\nConnection: close\r\n" in response


@given(st.binary(max_size=200).filter(lambda sent: b"\r\n\r\n" not in sent))
def test_a_head_that_is_not_complete_is_waited_for(sent: bytes) -> None:
    """Half a request is answered by nothing."""
    assert answer(sent, lambda: SERVING) is None


Peer = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Connect = Callable[[], Awaitable[Peer]]


def with_probes(use: Callable[[ProbeListener, Connect], Awaitable[None]]) -> None:
    """Run `use` with a health listener, and what connects to it; closes all that was opened."""

    async def main() -> None:
        there = ProbeListener("127.0.0.1:0", "--health", answer)
        opened: list[asyncio.StreamWriter] = []

        async def connect() -> Peer:
            host, port = there.listener.socket.getsockname()
            reader, writer = await asyncio.open_connection(host, port)
            opened.append(writer)
            return reader, writer

        await there.open(lambda: SERVING, MetricsPage(lambda accept: lambda: (accept, b"numbers")))
        try:
            await asyncio.wait_for(use(there, connect), WAIT)
        finally:
            there.close()
            for writer in opened:
                writer.close()

    asyncio.run(main())


async def ask(peer: Peer) -> bytes:
    """Ask for readiness and return the whole answer."""
    peer[1].write(b"GET /readyz HTTP/1.1\r\n\r\n")
    return await peer[0].read()


async def end_of(reader: asyncio.StreamReader) -> bytes:
    """Return what comes until the connection ends, or is reset."""
    try:
        return await reader.read()
    except ConnectionError:
        return b""


def test_a_crowd_of_silent_connections_keeps_no_probe_out() -> None:
    """The oldest makes room: readiness is told however many connections are held open."""

    async def use(there: ProbeListener, connect: Connect) -> None:
        crowd = [await connect() for _ in range(MAX_CONNECTIONS + 10)]

        assert (await ask(await connect())).startswith(b"HTTP/1.1 200")

        assert len(there.connections) <= MAX_CONNECTIONS
        assert [await end_of(reader) for reader, _ in crowd[:5]] == [b""] * 5

    with_probes(use)


def test_a_slow_client_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who takes too long over a head loses the connection, not we a descriptor."""
    monkeypatch.setattr(listener, "TIMEOUT", 0.05)

    async def use(there: ProbeListener, connect: Connect) -> None:
        reader, writer = await connect()
        writer.write(b"GET /readyz")

        assert await end_of(reader) == b""
        assert not there.connections

    with_probes(use)


def test_an_endless_head_is_cut() -> None:
    """Memory is bounded, too."""

    async def use(there: ProbeListener, connect: Connect) -> None:
        reader, writer = await connect()
        writer.write(b"GET /readyz HTTP/1.1\r\nX: " + b"x" * 2 * LONGEST)

        assert await end_of(reader) == b""

    with_probes(use)


def test_who_sends_more_than_was_asked_for_still_reads_the_answer() -> None:
    """A body nobody wants is read and forgotten: a reset could overtake the answer."""

    async def use(there: ProbeListener, connect: Connect) -> None:
        reader, writer = await connect()
        writer.write(b"POST /livez HTTP/1.1\r\nContent-Length: 100000\r\n\r\n")
        writer.write(b"x" * 100_000)
        await writer.drain()

        assert (await reader.read()).startswith(b"HTTP/1.1 405")

    with_probes(use)


def test_a_taken_port_is_told_by_its_option() -> None:
    """The sentence names what to change."""
    first = ProbeListener("127.0.0.1:0", "--health", lambda asked: None)
    try:
        with pytest.raises(BindError, match=r"^--health: cannot listen on .* in use") as refused:
            ProbeListener(first.address, "--health", lambda asked: None)
    finally:
        first.close()
    assert "--health" in refused.value.hint
    assert "--bind" not in refused.value.hint


def test_one_process_without_a_supervisor_refuses_it(app: App) -> None:
    """A `Server` shares its process with the application: it could not answer for it."""
    with pytest.raises(ConfigError, match="health"):
        Server(app, health="127.0.0.1:0")


@pytest.mark.parametrize("address", ["8081", "unix:/run/probe", "127.0.0.1:", "http://x:80"])
def test_what_is_no_address_is_refused(address: str, app: App) -> None:
    """HOST:PORT is what it takes; the sentence shows one."""
    with pytest.raises(ConfigError, match=r"expected HOST:PORT, such as 127\.0\.0\.1:8081"):
        Server(app, health=address)


def get(address: str, path: str) -> tuple[int, str]:
    """Ask a real health listener."""
    connection = http.client.HTTPConnection(address, timeout=WAIT)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


@pytest.mark.live
def test_a_daemon_tells_whether_it_is_in_rotation(start_daemon: StartDaemon, tmp_path: Path) -> None:
    """Through the whole of its life, at an address of its own that instance.json names; the public port knows no such path."""
    (tmp_path / "shop.py").write_text("from flask import Flask\napp = Flask('shop')\n")
    daemon = start_daemon("shop:app", "--health", "127.0.0.1:0")
    address = daemon.instance["health"]

    assert get(address, "/livez") == get(address, "/readyz") == (200, "running\n")
    assert get(daemon.url.removeprefix("http://"), "/livez")[0] == 404

    with Client(daemon.name) as shop:
        shop.drain()
        assert get(address, "/livez") == (200, "draining\n")
        assert get(address, "/readyz") == (503, "draining\n")
        shop.resume()
        assert get(address, "/readyz") == (200, "running\n")
        shop.shutdown(lame_duck=60, wait=False)
        assert get(address, "/livez") == (200, "stopping\n")
        assert get(address, "/readyz") == (503, "stopping\n")
        shop.shutdown()

    assert daemon.wait() == 0
    with pytest.raises(ConnectionRefusedError):
        get(address, "/livez")


STARTS = """
import http.client, os
from flask import Flask

def ask(path):
    connection = http.client.HTTPConnection(os.environ["FLASKD_HEALTH"], timeout=20)
    connection.request("GET", path)
    response = connection.getresponse()
    return f"{response.status} {response.read().decode()}"

seen = ask("/livez") + ask("/readyz")
app = Flask("shop")
app.add_url_rule("/", view_func=lambda: seen)
"""


@pytest.mark.live
def test_while_the_application_loads_the_daemon_lives_and_is_not_ready(
    start_daemon: StartDaemon, tmp_path: Path
) -> None:
    """A container engine must not take a slow start for a death; the application that loads here looks itself."""
    (tmp_path / "shop.py").write_text(STARTS)
    host = own_address(1)
    health = f"{host}:{free_ports(host, 1)[0]}"
    daemon = start_daemon("shop:app", environ={"FLASKD_HEALTH": health})

    assert call(daemon.url, "/") == "200 starting\n503 starting\n"
    assert get(health, "/readyz") == (200, "running\n")


def test_metrics_are_written_once_for_all_who_ask_at_a_time() -> None:
    """In each format: anybody may ask, and it takes milliseconds."""
    taken: list[str] = []

    def take(accept: str) -> Callable[[], tuple[str, bytes]]:
        taken.append(accept)
        return lambda: (accept, b"numbers")

    async def main() -> list[tuple[int, str, bytes]]:
        page = MetricsPage(take)
        accepted = ["*/*", "text/html", "application/openmetrics-text; version=1.0.0", "*/*"] * 5
        return await asyncio.gather(*map(page.get, accepted))

    answers = asyncio.run(main())

    assert len(taken) == 2
    assert set(answers) == {(200, each, b"numbers") for each in taken}


def test_the_metrics_have_a_path_of_the_health_port() -> None:
    """GET has the page, HEAD its head."""

    async def use(there: ProbeListener, connect: Connect) -> None:
        for method, body in ((b"GET", b"numbers"), (b"HEAD", b"")):
            reader, writer = await connect()
            writer.write(method + b" /metrics HTTP/1.1\r\nAccept: text/plain\r\n\r\n")
            head, _, content = (await reader.read()).partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 7")
            assert content == body

    with_probes(use)
