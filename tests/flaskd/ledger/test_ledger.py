"""The ledger: in flight from the call of the application to the close of its body, counted once, whatever happens."""

import contextlib
import gc
import os
import weakref
from collections.abc import Iterator
from time import monotonic
from typing import Any

import flask
import pytest
from hypothesis import given, strategies as st
from werkzeug.test import Client

from flaskd.app.extension import watch_flask
from flaskd.http.bodies import SlowBody
from flaskd.http.queue_limit import QueueLimit
from flaskd.http.queue_time import queue_time
from flaskd.ledger.access_log import Line
from flaskd.ledger.middleware import Ledger, current_request_id
from flaskd.ledger.shared_memory import RequestTable
from flaskd_ctl.protocol import InFlight

ENVIRON = {"REQUEST_METHOD": "GET", "PATH_INFO": "/caf\xc3\xa9", "SCRIPT_NAME": "/shop", "REMOTE_ADDR": "::1"}


def answering(status: str, chunks: list[bytes]) -> Any:
    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response(status, [("X", "y"), ("Connection", "keep-alive")])
        yield from chunks

    return app


def serve(ledger: Ledger, read: int | None = None) -> dict[str, Any]:
    """Call the application as an engine does, reading `read` chunks (None: all)."""
    said: dict[str, Any] = {}

    def start_response(status: str, headers: Any, exc_info: Any = None) -> Any:
        said.update(status=status, headers=headers)
        return lambda data: None

    body = ledger(dict(ENVIRON), start_response)
    chunks = iter(body)
    said["chunks"] = []
    try:
        while read is None or len(said["chunks"]) < read:
            said["chunks"].append(next(chunks))
    except StopIteration:
        pass
    finally:
        said["in flight"] = ledger.table.in_flight
        body.close()  # type: ignore[attr-defined]
    return said


def test_a_streaming_response_is_in_flight_until_it_is_closed() -> None:
    """Its last byte counts, not its first."""
    ended: list[int] = []
    ledger = Ledger(answering("200 OK", [b"a", b"b"]), lambda: ended.append(1))
    said = serve(ledger)
    assert (said["chunks"], said["in flight"]) == ([b"a", b"b"], 1)
    assert (ledger.table.in_flight, ended) == (0, [1])
    assert ledger.table.served()["2xx"] == 1


def test_a_thread_knows_the_id_of_its_request_until_the_request_ends() -> None:
    """While the application is called, and while its body is read; for the records that it logs."""
    seen: list[str] = []

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        seen.append(environ["HTTP_X_REQUEST_ID"])
        seen.append(current_request_id())
        start_response("200 OK", [])
        yield b"a"
        seen.append(current_request_id())

    serve(Ledger(app, lambda: None))

    assert seen[0]
    assert seen == [seen[0]] * 3
    assert current_request_id() == ""


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["200 OK", "302 Found", "404 Not Found", "500 Oops", "100 C", "999 ?"]),
            st.integers(0, 3),
        )
    )
)
def test_every_request_is_counted_once_and_none_stays(requests: list[tuple[str, int]]) -> None:
    """By its class when read to the end, as aborted when not."""
    total = 0
    counts: dict[str, int] = {}
    ledger = Ledger(lambda environ, start: answering(*environ["with"])(environ, start), lambda: None)
    for status, read in requests:
        app = answering(status, [b"x", b"y"])
        ledger._app = app
        serve(ledger, read=read)
        total += 1
        kind = f"{status[0]}xx" if read == 3 and status[0] in "12345" else "aborted"
        counts[kind] = counts.get(kind, 0) + 1
    assert (0, total) == (ledger.table.in_flight, ledger.table.finished())
    assert counts == {kind: count for kind, count in ledger.table.served().items() if count}


@pytest.mark.parametrize(
    ("when", "counted"), [("call", "5xx"), ("first step", "5xx"), ("iteration", "aborted")]
)
def test_an_exception_passes_through_and_is_the_last_error(when: str, counted: str) -> None:
    """The engine gets it, and answers 500 where nothing was sent; the ledger remembers it with its request."""

    def app(environ: Any, start_response: Any) -> Any:
        if when == "call":
            raise KeyError("k")
        start_response("200 OK", [])

        def body() -> Iterator[bytes]:
            if when == "iteration":
                yield b"x"
            raise KeyError("k")

        return body()

    ledger = Ledger(app, lambda: None)
    with pytest.raises(KeyError):
        serve(ledger)
    assert (ledger.table.in_flight, ledger.table.served()[counted]) == (0, 1)
    assert ledger.table.last_error is not None
    assert (ledger.table.last_error.message, ledger.table.last_error.request) == (
        "KeyError: 'k'",
        "GET /shop/café",
    )


@pytest.mark.parametrize(("written", "status", "counted"), [(b"", 408, "4xx"), (b"begun", 200, "aborted")])
def test_an_exception_with_a_status_counts_as_that_where_nothing_was_sent(
    written: bytes, status: int, counted: str
) -> None:
    """The engine answers with it; what went out by write() is a response that has begun, and its size is known."""

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])(written)
        raise SlowBody

    lines: list[Line] = []
    ledger = Ledger(app, lambda: None, log=lines.append)
    with pytest.raises(SlowBody):
        serve(ledger)
    assert [(line.status, line.size) for line in lines] == [(status, len(written))]
    assert (ledger.table.finished(), ledger.table.served()[counted]) == (1, 1)


def test_closing_twice_counts_once() -> None:
    """Some middleware does."""
    ledger = Ledger(answering("200 OK", []), lambda: None)
    body = ledger(dict(ENVIRON), lambda *args: lambda data: None)
    list(body)
    body.close()  # type: ignore[attr-defined]
    body.close()  # type: ignore[attr-defined]
    assert ledger.table.finished() == 1


def test_requests_are_shown_oldest_first_without_their_query() -> None:
    """The path as people read it, shortened when it is absurd."""
    ledger = Ledger(answering("200 OK", [b"x"]), lambda: None)
    first = ledger({**ENVIRON, "QUERY_STRING": "secret"}, lambda *args: lambda data: None)
    second = ledger({**ENVIRON, "PATH_INFO": "/" + "x" * 2000}, lambda *args: lambda data: None)
    shown = ledger.table.requests()
    assert [request.id for request in shown] == [1, 2]
    assert shown[0].path == "/shop/café"
    assert len(shown[1].path) == 512
    for body in (first, second):
        body.close()  # type: ignore[attr-defined]


def test_a_body_that_is_not_read_to_its_end_is_closed_once() -> None:
    """The application's close callbacks run exactly once, whatever ended the reading."""

    class Body:
        closed = 0

        def __iter__(self) -> Iterator[bytes]:
            return self

        def __next__(self) -> bytes:
            return b"x"

        def close(self) -> None:
            self.closed += 1

    inner = Body()
    ledger = Ledger(lambda environ, start_response: inner, lambda: None)
    body = ledger(dict(ENVIRON), lambda *args: lambda data: None)
    chunks = iter(body)
    next(chunks)
    del chunks
    body.close()  # type: ignore[attr-defined]
    assert inner.closed == 1


def test_more_requests_than_rows_are_all_kept() -> None:
    """Each streaming response holds a row; the next one is served, shown and counted all the same."""
    ledger = Ledger(answering("200 OK", [b"x"]), lambda: None, table=RequestTable.private(1))
    bodies = [ledger(dict(ENVIRON), lambda *args: lambda data: None) for _ in range(3)]
    assert ([request.id for request in ledger.table.requests()], ledger.table.in_flight) == ([1, 2, 3], 3)
    for body in bodies:
        list(body)
        body.close()  # type: ignore[attr-defined]
    assert (ledger.table.in_flight, ledger.table.served()["2xx"]) == (0, 3)


def test_the_request_id_is_the_clients_or_made_here() -> None:
    """Application, client and operator see the same one; what could not stand in a log line is replaced."""
    seen: list[str] = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        seen.append(environ["HTTP_X_REQUEST_ID"])
        seen.append(ledger.table.requests()[0].request_id)
        start_response("200 OK", [("x-request-ID", "the application's own")] if len(seen) > 6 else [])
        return []

    said: list[Any] = []

    def start_response(status: str, headers: Any, exc_info: Any = None, /) -> Any:
        said.append(headers)

    ledger = Ledger(app, lambda: None)
    for given_id in ("a" * 128, "a b", "", "own"):
        body = ledger({**ENVIRON, "HTTP_X_REQUEST_ID": given_id}, start_response)
        body.close()  # type: ignore[attr-defined]
    assert seen[0] == seen[1] == "a" * 128
    assert seen[2] == seen[3] == said[1][0][1] != "a b"
    assert seen[4] == seen[5] == said[2][0][1] not in {"", seen[2]}
    assert said[3] == [("x-request-ID", "the application's own")]


def test_no_request_is_left_to_the_garbage_collector() -> None:
    """What a request held is gone when it ends, also where an engine's start_response knows the environ, and the body, too."""

    class Engine:
        def __init__(self) -> None:
            self.environ = dict(ENVIRON)

        def start_response(self, status: str, headers: Any, exc_info: Any = None) -> Any:
            return None

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        if environ["PATH_INFO"] == "/bad":
            raise KeyError
        return iter([environ])

    ledger = Ledger(app, lambda: None, log=lambda line: None)
    gc.disable()
    try:
        for path in ("/", "/bad"):
            engine = Engine()
            engine.environ["PATH_INFO"] = path
            gone = weakref.ref(engine)
            with contextlib.suppress(KeyError):
                ledger(engine.environ, engine.start_response).close()  # type: ignore[attr-defined]
            del engine
            assert gone() is None
        used = weakref.ref(ledger)
        del ledger
        assert used() is None  # nor does the thread keep it that served the last one
    finally:
        gc.enable()


def test_a_response_cannot_begin_after_the_request() -> None:
    """An application that kept `start_response` is told; nobody else's response is touched."""
    kept: list[Any] = []

    def app(environ: Any, start_response: Any) -> Any:
        kept.append(start_response)
        return []

    ledger = Ledger(app, lambda: None)
    ledger(dict(ENVIRON), lambda *args: lambda data: None).close()  # type: ignore[attr-defined]
    with pytest.raises(AssertionError, match="after the end"):
        kept[0]("200 OK", [])


@pytest.fixture
def shop() -> Iterator[tuple[flask.Flask, Ledger]]:
    """A Flask application behind somebody's middleware, its ledger before it, watched."""
    app = flask.Flask("shop")
    ledger = Ledger(lambda environ, start_response: app(environ, start_response), lambda: None)
    unwatch = watch_flask(ledger)
    yield app, ledger
    unwatch()


def test_the_rule_is_known_once_flask_has_routed(shop: tuple[flask.Flask, Ledger]) -> None:
    """While the view runs, for who reads the memory; what matches no rule has none."""
    app, ledger = shop
    seen: list[InFlight] = []

    def look(number: object) -> str:
        seen.extend(ledger.table.requests())
        return str(number)

    app.add_url_rule("/order/<int:number>", "order", look)
    app.register_error_handler(404, lambda error: (look(error), 404))
    for path, status in (("/order/7", 200), ("/none", 404)):
        with Client(ledger).get(path) as response:
            assert response.status_code == status
    assert [(it.endpoint, it.rule) for it in seen] == [("order", "/order/<int:number>"), (None, None)]
    assert ledger.table.in_flight == 0


def test_the_signal_of_a_route_reaches_the_application_too() -> None:
    """With what Flask sends, also if it is muted; when nobody watches any more, the signal is as it was."""
    app = flask.Flask("shop")
    app.add_url_rule("/", "home", lambda: "")
    heard: list[object] = []

    def hear(sender: flask.Flask, **extra: object) -> None:
        heard.append((sender, flask.request.endpoint))

    ledgers = [Ledger(app, lambda: None) for _ in range(2)]
    first, second = map(watch_flask, ledgers)
    with flask.request_started.connected_to(hear, app):
        for ledger in ledgers:
            Client(ledger).get("/").close()
        with flask.request_started.muted():
            Client(ledgers[0]).get("/").close()
        first()
        Client(ledgers[1]).get("/").close()
    assert heard == [(app, "home")] * 3
    second()
    assert "send" not in vars(flask.request_started)


def test_a_ledger_notes_only_what_came_through_it(shop: tuple[flask.Flask, Ledger]) -> None:
    """An exception goes with the request that met it: two servers may serve one application, and a program call it itself."""
    app, ledger = shop
    app.add_url_rule("/bad", "bad", lambda: dict[str, str]()["missing"])
    other = Ledger(app, lambda: None)
    with contextlib.ExitStack() as stack:
        stack.callback(watch_flask(other))
        assert app.test_client().get("/bad").status_code == 500
        with Client(other).get("/bad") as response:
            assert response.status_code == 500
    assert ledger.table.last_error is None
    assert other.table.last_error is not None
    assert (other.table.last_error.message, other.table.last_error.request) == (
        "KeyError: 'missing'",
        "GET /bad",
    )


def test_a_request_that_a_view_makes_itself_is_not_mistaken_for_its_own(
    shop: tuple[flask.Flask, Ledger],
) -> None:
    """With Flask's test client, on the same thread: its rule and its exception are not those of the request in flight."""
    app, ledger = shop
    seen: list[InFlight] = []

    def outer() -> str:
        assert app.test_client().get("/bad").status_code == 500
        seen.extend(ledger.table.requests())
        return "done"

    app.add_url_rule("/bad", "bad", lambda: dict[str, str]()["missing"])
    app.add_url_rule("/outer", "outer", outer)
    with Client(ledger).get("/outer") as response:
        assert response.status_code == 200
    assert [it.rule for it in seen] == ["/outer"]
    assert ledger.table.last_error is None


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_child_that_the_application_forks_does_not_end_its_parents_request() -> None:
    """The memory is shared with it; a child that unwinds through the request leaves it as it was."""
    table = RequestTable.create(4)

    def app(environ: Any, start_response: Any) -> list[bytes]:
        child = os.fork()
        if not child:
            raise SystemExit
        os.waitpid(child, 0)
        start_response("200 OK", [])
        return [str(table.in_flight).encode()]

    parent = os.getpid()
    try:
        said = serve(Ledger(app, lambda: None, table=table))
    finally:
        if os.getpid() != parent:
            os._exit(0)
    assert said["chunks"] == [b"1"]
    assert (table.in_flight, table.finished()) == (0, 1)
    table.close()


def test_a_request_that_has_waited_too_long_is_answered_in_the_applications_place() -> None:
    """It is in the access log, counted by its class and as rejected; it is no error, not slow, and has no latency."""
    lines: list[Line] = []
    counted: list[object] = []
    rejected: list[float] = []

    def app(environ: Any, start_response: Any) -> Any:
        raise AssertionError("the application was called")

    ledger = Ledger(
        app,
        lambda: None,
        log=lines.append,
        count=lambda *numbers: counted.append(numbers),
        count_rejected=rejected.append,
    )
    ledger.queue_limit = QueueLimit(1.5, behind_proxies=False)
    ledger.slow.until = 0.0
    queue_time.seconds = 2.0
    try:
        said = serve(ledger)
    finally:
        queue_time.seconds = 0.0

    headers = dict(said["headers"])
    assert (said["status"], headers["Retry-After"]) == ("503 Service Unavailable", "2")
    assert headers["X-Request-ID"] == lines[0].request_id
    assert [line.status for line in lines] == [503]
    assert (counted, rejected) == ([], [2.0])
    assert (ledger.table.served()["5xx"], ledger.table.last_error) == (1, None)
    assert not ledger.errors.recorded()
    assert not ledger.slow.slowest(10, monotonic())
