"""The access log, the ids of requests, and whom the server takes for the client: with either engine, they are the server's."""

import io
import json
import re
import threading
from collections.abc import Callable

import flask
import pytest

from flaskd import Server
from flaskd.errors import ConfigError
from flaskd.ledger.access_log import AccessLog, Line, trace_id
from tests.flaskd.conftest import WAIT, App, Http

Serve = Callable[..., Server]
LINE = Line(0.0, "::1", "GET", '/a"b\x1b?q=1', "HTTP/1.1", 200, 5, 0.25, "id-1")


@pytest.fixture(params=["werkzeug", "granian"])
def engine(request: pytest.FixtureRequest) -> str:
    if request.param == "granian":
        pytest.importorskip("granian")
    return str(request.param)


def ask(server: Server, path: str, *headers: str) -> bytes:
    head = "".join(f"{header}\r\n" for header in ("Host: x", "Connection: close", *headers))
    return Http(server.listeners[0], f"GET {path} HTTP/1.1\r\n{head}\r\n".encode()).answer()


def test_every_line_is_written_before_the_log_is_closed() -> None:
    """Whatever is under way; from many threads none is torn."""
    stream = io.StringIO()
    with AccessLog("json", stream) as log:
        for number in range(1000):
            log.put(LINE._replace(size=number))
    assert [json.loads(line)["size"] for line in stream.getvalue().splitlines()] == list(range(1000))


def test_the_common_format_is_the_common_one_and_nothing_in_it_is_raw() -> None:
    """Neither a quote nor an escape sequence of the client's gets out of its place."""
    stream = io.StringIO()
    with AccessLog("common", stream) as log:
        log.put(LINE)
    line = stream.getvalue()
    assert re.fullmatch(
        r'::1 - - \[\d\d/\w{3}/(1970|1969):\d\d:\d\d:\d\d [+-]\d{4}\] "GET /a\\"b\\x1b\?q=1 HTTP/1.1" 200 5 0.250 id-1\n',
        line,
    )


@pytest.mark.parametrize(
    ("status", "colour"), [(101, 36), (204, 32), (304, 36), (404, 33), (500, 31), (503, 31), (599, 31)]
)
def test_the_short_format_is_for_a_terminal(status: int, colour: int) -> None:
    """Time, request, status, duration; in colour if asked, and no other escape sequence gets there."""
    line = LINE._replace(status=status, target="/a\x1b[2J?page=2&token=t", seconds=0.01234)
    for coloured, before, after in ((False, "", ""), (True, f"\x1b[{colour}m", "\x1b[0m")):
        stream = io.StringIO()
        with AccessLog("short", stream, coloured=coloured) as log:
            log.put(line)
        shown = stream.getvalue().removeprefix(before).removesuffix(f"{after}\n")
        assert re.fullmatch(rf"\d\d:\d\d:\d\d GET /a\\x1b\[2J\?page=2&token=\*\*\* {status} 12\.3 ms", shown)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.00012, "0.12 ms"), (0.9, "900 ms"), (0.9999, "1 s"), (12.345, "12.3 s"), (3725, "3725 s")],
)
def test_durations_are_short(seconds: float, shown: str) -> None:
    """Three digits."""
    stream = io.StringIO()
    with AccessLog("short", stream) as log:
        log.put(LINE._replace(seconds=seconds))
    assert stream.getvalue().endswith(f" 200 {shown}\n")


TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
ASKED = LINE._replace(
    target="/cb?code=a&page=2",
    referer="https://ann:pw@shop.example/?token=t",
    user_agent='Mozilla/5.0 "\\\n\x1b\xc3\xa9',
    traceparent=f"00-{TRACE}-00f067aa0ba902b7-01",
)


def written(form: str, line: Line, *, worker: int = 3) -> str:
    stream = io.StringIO()
    with AccessLog(form, stream, worker=worker) as log:
        log.put(line)
    return stream.getvalue()


def test_the_combined_format_is_the_combined_one_with_worker_and_trace_behind() -> None:
    """Programs that read it find what they know; values that look secret are not in it, nor is anything raw."""
    line = written("combined", ASKED)

    assert line.partition("] ")[2] == (
        '"GET /cb?code=***&page=2 HTTP/1.1" 200 5 "https://***@shop.example/?token=***" '
        f'"Mozilla/5.0 \\"\\\\\\x0a\\x1b\\xc3\\xa9" 0.250 id-1 3 {TRACE}\n'
    )
    assert written("combined", LINE).endswith(' 200 5 "-" "-" 0.250 id-1 3 -\n')


def test_no_client_writes_a_field_or_a_line_of_its_own() -> None:
    """Whatever it sends as its referer and agent, a line has four quoted fields' quotes and one end."""
    nasty = 'x" 200 5 "-" "-" 0.1 forged 1 -\n127.0.0.1 - - \\" \r\x85'
    line = written("combined", LINE._replace(referer=nasty, user_agent=nasty, target=nasty))

    bare = re.sub(r"\\.", "", line)
    assert bare.count('"') == 6
    assert line.splitlines() == [line.rstrip("\n")]


def test_json_has_every_field() -> None:
    """What a client does not send is null; what it sends as UTF-8 is text."""
    fields = json.loads(written("json", ASKED))

    assert list(fields) == [
        *("began", "client", "method", "target", "protocol", "status", "size", "seconds", "request_id"),
        *("worker", "trace_id", "referer", "user_agent"),
    ]
    assert fields["target"] == "/cb?code=***&page=2"
    assert (fields["worker"], fields["trace_id"]) == (3, TRACE)
    assert fields["referer"] == "https://***@shop.example/?token=***"
    assert fields["user_agent"] == 'Mozilla/5.0 "\\\n\x1bé'
    bare = json.loads(written("json", LINE))
    assert (bare["trace_id"], bare["referer"], bare["user_agent"]) == (None, None, None)


@pytest.mark.parametrize(
    ("sent", "found"),
    [
        (f"00-{TRACE}-00f067aa0ba902b7-01", TRACE),
        (f"cc-{TRACE}-00f067aa0ba902b7-01-of-the-future", TRACE),
        (f"00-{TRACE}-00f067aa0ba902b7-01-more", ""),
        (f"ff-{TRACE}-00f067aa0ba902b7-01", ""),
        (f"00-{'0' * 32}-00f067aa0ba902b7-01", ""),
        (f"00-{TRACE}-{'0' * 16}-01", ""),
        (f"00-{TRACE.upper()}-00f067aa0ba902b7-01", ""),
        (f"00-{TRACE}-00f067aa0ba902b7-01\n", ""),
        ("", ""),
    ],
)
def test_the_trace_is_that_of_a_valid_traceparent(sent: str, found: str) -> None:
    """As W3C's Trace Context has it."""
    assert trace_id(sent) == found


@pytest.mark.parametrize("form", ["common", "combined", "json"])
def test_values_of_parameters_that_look_secret_are_in_no_format(form: str) -> None:
    """Names stay."""
    line = written(form, LINE._replace(target="/?access_token=hunter2&q=shoes"))

    assert "hunter2" not in line
    assert "access_token=***&q=shoes" in line


def test_a_log_that_nobody_reads_any_more_stops_nothing() -> None:
    """A closed pipe is not the requests' concern."""
    stream = io.StringIO()
    stream.close()
    with AccessLog("json", stream) as log:
        log.put(LINE)


def test_each_request_has_its_line(
    app: App, serve: Serve, engine: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """With target, status, size and id, when the server has stopped at the latest."""
    server = serve(engine=engine, access_log="json")
    trace = f"00-{TRACE}-00f067aa0ba902b7-01"
    ask(server, "/?a=1", "X-Request-ID: mine-1", "User-Agent: tests", f"traceparent: {trace}")
    ask(server, "/absent")
    server.shutdown().result(WAIT)
    first, second = (json.loads(line) for line in capfd.readouterr().out.splitlines())
    assert (first["method"], first["target"], first["status"], first["size"]) == ("GET", "/?a=1", 200, 5)
    assert (first["client"], first["request_id"]) == ("127.0.0.1", "mine-1")
    assert (first["user_agent"], first["trace_id"], first["worker"]) == ("tests", TRACE, 0)
    assert (second["target"], second["status"]) == ("/absent", 404)


def test_it_is_off_unless_asked_for(
    app: App, serve: Serve, engine: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """Nothing is printed for a request."""
    server = serve(engine=engine)
    ask(server, "/")
    server.shutdown().result(WAIT)
    assert capfd.readouterr().out == ""


def test_it_needs_the_ledger(app: App) -> None:
    """And says so before anything is opened."""
    with pytest.raises(ConfigError, match="--access-log needs --ledger"):
        Server(app, access_log="json", ledger=False)


@pytest.mark.parametrize(
    ("sent", "kept"),
    [("abc-123", True), ("", False), ("a b", False), ("x" * 129, False), ("<script>", False)],
)
def test_a_request_has_one_id_for_everybody(
    sent: str, kept: bool, app: App, serve: Serve, engine: str
) -> None:
    """The application, the client and the operator see the same; what cannot be an id is replaced."""
    app.add_url_rule("/id", "id", lambda: flask.request.headers["X-Request-ID"])
    server = serve(engine=engine)
    answer = ask(server, "/id", f"X-Request-ID: {sent}").decode()
    ids = re.findall(r"(?im)^x-request-id: (.*?)\r?$", answer)
    assert len(ids) == 1
    assert answer.endswith(ids[0])
    assert (ids[0] == sent) is kept


def test_the_ids_that_are_made_differ(app: App, serve: Serve) -> None:
    """From request to request, and from server to server."""
    app.add_url_rule("/id", "id", lambda: flask.request.headers["X-Request-ID"])
    servers = [serve(name=name) for name in ("one", "two")]
    ids = {ask(server, "/id").rsplit(b"\r\n", 1)[1] for server in servers for _ in range(3)}
    assert len(ids) == 6


def test_an_application_that_sets_the_header_itself_is_left_alone(app: App, serve: Serve) -> None:
    """One header, its own."""
    app.add_url_rule("/own", "own", lambda: ("x", {"X-Request-ID": "theirs"}))
    answer = ask(serve(), "/own").lower()
    assert answer.count(b"x-request-id") == 1
    assert b"x-request-id: theirs" in answer


def test_the_id_is_shown_in_requests_and_with_the_last_error(app: App, serve: Serve) -> None:
    """What a client reports can be found."""
    server = serve()
    held = Http(server.listeners[0], b"GET /held HTTP/1.1\r\nHost: x\r\nX-Request-ID: seen-1\r\n\r\n")
    assert app.came.acquire(timeout=WAIT)
    assert [request.request_id for request in server.requests().requests] == ["seen-1"]
    app.let_go.set()
    held.answer()
    ask(server, "/bad", "X-Request-ID: seen-2")
    last = server.status().last_error
    assert last is not None
    assert last.request_id == "seen-2"


@pytest.mark.parametrize(("trusted", "seen"), [(0, "127.0.0.1 http x"), (1, "192.0.2.7 https shop.example")])
def test_forwarded_headers_are_believed_only_when_told_to(
    trusted: int, seen: str, app: App, serve: Serve, engine: str
) -> None:
    """By default whoever connects is the client, whatever it says."""
    app.add_url_rule(
        "/who", "who", lambda: f"{flask.request.remote_addr} {flask.request.scheme} {flask.request.host}"
    )
    forwarded = ("X-Forwarded-For: 192.0.2.7", "X-Forwarded-Proto: https", "X-Forwarded-Host: shop.example")
    answer = ask(serve(engine=engine, trusted_proxies=trusted), "/who", *forwarded)
    assert answer.decode().endswith(seen)


def test_a_reader_that_has_stopped_keeps_nobody_from_ending(caplog: pytest.LogCaptureFixture) -> None:
    """What it does not take is lost, after a moment."""
    reads_on, writing = threading.Event(), threading.Event()

    class Stalled(io.StringIO):
        def write(self, text: str) -> int:
            writing.set()
            reads_on.wait(WAIT)
            return super().write(text)

    log = AccessLog("common", Stalled())
    with log:
        log.put(LINE)
        assert writing.wait(WAIT)
    reads_on.set()
    assert "lines dropped: 1" in caplog.text


def test_what_waits_for_a_reader_is_bounded_and_the_rest_counted(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the size of the targets; no line that was taken is lost."""
    limit = 200_000
    monkeypatch.setattr("flaskd.ledger.access_log.MOST_WAITING", limit)
    reads_on, writing = threading.Event(), threading.Event()

    class Stalled(io.StringIO):
        def write(self, text: str) -> int:
            writing.set()
            reads_on.wait(WAIT)
            return super().write(text)

    stream = Stalled()
    lines = 2 * limit // 6000
    with AccessLog("common", stream) as log:
        log.put(LINE)
        assert writing.wait(WAIT)
        for _ in range(lines):
            log.put(LINE._replace(target="/" * 6000))
        reads_on.set()

    written = stream.getvalue().count("\n")
    (dropped,) = map(int, re.findall(r"lines dropped: (\d+)", caplog.text))
    assert written + dropped == lines + 1
    assert len(stream.getvalue()) <= limit
    assert dropped > 0
