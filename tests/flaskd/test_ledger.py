"""The ledger: in flight from the call of the application to the close of its body, counted once, whatever happens."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flaskd.ledger import Ledger

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
        said["in flight"] = ledger.in_flight
        body.close()  # type: ignore[attr-defined]
    return said


def test_a_streaming_response_is_in_flight_until_it_is_closed() -> None:
    """Its last byte counts, not its first."""
    ended: list[int] = []
    ledger = Ledger(answering("200 OK", [b"a", b"b"]), lambda: ended.append(1))
    said = serve(ledger)
    assert (said["chunks"], said["in flight"]) == ([b"a", b"b"], 1)
    assert (ledger.in_flight, ended) == (0, [1])
    assert ledger.served()["2xx"] == 1


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
    assert (0, total) == (ledger.in_flight, ledger.finished())
    assert counts == {kind: count for kind, count in ledger.served().items() if count}


@pytest.mark.parametrize("when", ["call", "iteration"])
def test_an_exception_passes_through_and_is_the_last_error(when: str) -> None:
    """The engine gets it; the ledger remembers it with its request."""

    def app(environ: Any, start_response: Any) -> Any:
        if when == "call":
            raise KeyError("k")
        start_response("200 OK", [])

        def body() -> Iterator[bytes]:
            yield b"x"
            raise KeyError("k")

        return body()

    ledger = Ledger(app, lambda: None)
    with pytest.raises(KeyError):
        serve(ledger)
    assert (ledger.in_flight, ledger.served()["aborted"]) == (0, 1)
    assert ledger.last_error is not None
    assert (ledger.last_error.message, ledger.last_error.request) == ("KeyError: 'k'", "GET /shop/café")


def test_closing_twice_counts_once() -> None:
    """Some middleware does."""
    ledger = Ledger(answering("200 OK", []), lambda: None)
    body = ledger(dict(ENVIRON), lambda *args: lambda data: None)
    list(body)
    body.close()  # type: ignore[attr-defined]
    body.close()  # type: ignore[attr-defined]
    assert ledger.finished() == 1


def test_while_closing_every_response_says_so_once() -> None:
    """`Connection: close` replaces what the application said."""
    ledger = Ledger(answering("200 OK", []), lambda: None)
    assert ("Connection", "keep-alive") in serve(ledger)["headers"]
    ledger.closing = True
    headers = serve(ledger)["headers"]
    assert [pair for pair in headers if pair[0].lower() == "connection"] == [("Connection", "close")]


def test_requests_are_shown_oldest_first_without_their_query() -> None:
    """The path as people read it, shortened when it is absurd."""
    ledger = Ledger(answering("200 OK", [b"x"]), lambda: None)
    first = ledger({**ENVIRON, "QUERY_STRING": "secret"}, lambda *args: lambda data: None)
    second = ledger({**ENVIRON, "PATH_INFO": "/" + "x" * 2000}, lambda *args: lambda data: None)
    shown = ledger.requests()
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
