"""Requests that have waited too long (`--max-queue-time`), with each engine: a whole 503, and the application sees nothing."""

import json
import socket
import time
from collections.abc import Iterator

import pytest

from tests.http.cases import chunked, get, sized
from tests.http.client import PATIENCE, exchange, get as ask
from tests.http.expected import Case, Expected, faults
from tests.http.servers import ENGINES, Server, start

pytestmark = pytest.mark.live

LIMIT = 30
SOURCE = "RFC 9110, sections 15.6.4 and 10.2.3"
OPTIONS = ("--trusted-proxies=1", f"--max-queue-time={LIMIT}", "--access-log=common")

REJECTED = Expected(
    status=frozenset({503}), calls=frozenset({0}), headers={"Retry-After": str(LIMIT), "X-Request-ID": any}
)
TAKEN = Expected(calls=frozenset({1}))


def since(seconds: float, unit: int = 1, form: str = "t=%d") -> str:
    """A proxy's header that says so."""
    return f"X-Request-Start: {form % int((time.time() - seconds) * unit)}"


def cases() -> Iterator[tuple[str, Case]]:
    """Make the cases, with times of now."""
    late = since(60)
    for name, to, method, *steps in (
        ("seconds", REJECTED, "GET", get("/hello", since(60))),
        ("milliseconds", REJECTED, "GET", get("/hello", since(60, 1_000))),
        ("microseconds", REJECTED, "GET", get("/hello", since(60, 1_000_000))),
        ("without t=", REJECTED, "GET", get("/hello", since(60, 1_000, "%d"))),
        ("HEAD", REJECTED, "HEAD", get("/hello", late, method="HEAD")),
        ("HTTP/1.0", REJECTED, "GET", get("/hello", late, version="1.0")),
        ("a body", REJECTED, "POST", sized("/read", b"hello", late)),
        ("a large body", REJECTED, "POST", sized("/read", b"x" * 300_000, late)),
        ("a chunked body", REJECTED, "POST", chunked("/read", b"5\r\nhello\r\n0\r\n\r\n", late)),
        ("after a client's own", REJECTED, "GET", get("/hello", since(0), late)),
        ("in time", TAKEN, "GET", get("/hello", since(1))),
        ("before a client's own", TAKEN, "GET", get("/hello", late, since(0))),
        ("a clock that is ahead", TAKEN, "GET", get("/hello", since(-3600))),
        ("nonsense", TAKEN, "GET", get("/hello", "X-Request-Start: t=yesterday")),
        ("another name", TAKEN, "GET", get("/hello", late.replace("-", "_"))),
    ):
        yield (
            name,
            Case(
                name=name,
                source=SOURCE,
                steps=tuple(steps),
                expected=to,
                ours=to,
                methods=(method,),
                old=name == "HTTP/1.0",
            ),
        )


CASES = dict(cases())


@pytest.fixture(scope="module", params=ENGINES)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server behind a proxy, with each engine."""
    running = start(request.param, options=OPTIONS)
    yield running
    running.end()


@pytest.mark.parametrize("name", CASES)
def test_a_proxy_says_how_long_a_request_has_waited(name: str, server: Server) -> None:
    """The response is whole and the connection goes on as after any other; or the application answers."""
    case = dict(cases())[name]
    host, port = server.address
    with socket.create_connection((host, port), timeout=PATIENCE) as fresh:
        # Else, after some seconds in which all were late, the header would not be believed.
        fresh.sendall(get("/_forget", since(0), "Connection: close"))
        assert fresh.makefile("rb").read().startswith(b"HTTP/1.1 200")
    printed = len(server.output())

    seen = exchange(server.address, case.steps, expected=1, methods=case.methods, old=case.old)

    calls = json.loads(ask(server.address, "/_calls"))
    assert not faults(case, case.expected, seen, calls), seen
    status = seen.responses[0].status
    deadline = time.monotonic() + PATIENCE
    while f'" {status} ' not in server.output()[printed:]:
        assert time.monotonic() < deadline, "it is not in the access log"
        time.sleep(0.02)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_strangers_header_is_none(engine: str) -> None:
    """Without --trusted-proxies, whatever it says."""
    server = start(engine, options=("--max-queue-time=0.5",))
    try:
        for header in (since(60), since(60, 1_000), since(60, 1_000_000)):
            seen = exchange(server.address, [get("/hello", header)], expected=1, methods=("GET",), old=False)
            assert [each.status for each in seen.responses] == [200]
    finally:
        server.end()


@pytest.mark.parametrize("engine", ENGINES)
def test_a_request_without_a_free_thread_is_answered_in_its_time(engine: str) -> None:
    """With granian and waitress while the thread is still taken; Werkzeug's waits in the kernel, until one is free."""
    in_kernel = engine == "werkzeug"
    server = start(engine, threads=1, options=("--max-queue-time=0.5",))
    try:
        with (
            socket.create_connection(server.address, timeout=PATIENCE) as taken,
            socket.create_connection(server.address, timeout=PATIENCE) as late,
        ):
            taken.sendall(get("/huge" if in_kernel else "/write/now"))
            assert taken.recv(12) == b"HTTP/1.1 200"
            begun = time.monotonic()
            late.sendall(get("/hello", "Connection: close"))
            if in_kernel:
                time.sleep(1)  # nothing else is tested but the time that it waits
                taken.close()  # so the thread need not write the rest
            response = late.makefile("rb").read()
            assert response.startswith(b"HTTP/1.1 503"), response
            assert b"retry-after: 1\r\n" in response.lower()
            assert 0.5 <= time.monotonic() - begun < PATIENCE
    finally:
        server.end()
