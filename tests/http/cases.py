"""The table: what HTTP/1.x and WSGI are, case by case, with the section that says so.

The values are written from RFC 9110, RFC 9112 and PEP 3333, and not from what any server does. Where these leave a choice, all
that they allow is right, and `ours` says which of it flaskd's engines have in common.
"""

from collections.abc import Mapping
from typing import Any, Final

from tests.http.app import CONTENT, LARGE
from tests.http.client import Bytewise, Ending, HalfClose, Leave, Pause, Step, Tell, Until
from tests.http.expected import ABSENT, NOTHING, Case, Expected

CASES: Final[list[Case]] = []

CLOSED: Final = Ending.CLOSED
BROKEN: Final = Ending.RESET

OK: Final = Expected()
"""Answered 200, the application called once."""

FAILED: Final = Expected(status=frozenset({500}), logged=True)
"""Answered 500, with a line in the log; the connection may be kept."""

CUT: Final = Expected(ending=BROKEN, logged=True)
"""A response that has begun and must not look whole."""


def refused(*statuses: int) -> Expected:
    """Refused before the application is called; nobody knows where a next request would begin."""
    return Expected(status=frozenset(statuses), ending=CLOSED, calls=frozenset({0}))


def either(*statuses: int, **changes: Any) -> Expected:
    """Answered by the application, or refused with one of `statuses`."""
    return Expected(status=frozenset({200, *statuses}), calls=frozenset({0, 1}), **changes)


INCOMPLETE: Final = Expected(
    status=frozenset({400, NOTHING}), ending=CLOSED, calls=frozenset({0, 1}), complete=False
)
"""A body that is malformed or breaks off: never complete for the application, if it is called at all."""


def case(
    name: str,
    source: str,
    *steps: Step,
    to: Expected = OK,
    ours: Expected | None = None,
    methods: tuple[str, ...] | None = None,
    old: bool | None = None,
    bounded: bool = False,
) -> None:
    """Enter a case. Method and version are read from what is sent, if it is one request."""
    sent = b"".join(step if isinstance(step, bytes) else getattr(step, "data", b"") for step in steps[:1])
    CASES.append(
        Case(
            name=name,
            source=source,
            steps=steps,
            expected=to,
            ours=ours or to,
            methods=methods or (sent.partition(b" ")[0].decode("latin-1"),),
            old=b" HTTP/1.0\r\n" in sent if old is None else old,
            bounded=bounded,
        )
    )


def get(path: str | bytes, *fields: str | bytes, method: str = "GET", version: str = "1.1") -> bytes:
    """A request without a body; `fields` are more header lines."""
    lines = [b"%b %b HTTP/%b" % (method.encode(), _bytes(path), version.encode())]
    if version == "1.1":
        lines.append(b"Host: x")
    return b"\r\n".join([*lines, *map(_bytes, fields), b"", b""])


def post(path: str | bytes, body: bytes, *fields: str | bytes, version: str = "1.1") -> bytes:
    """A request with a body, whose framing is in `fields`."""
    return get(path, *fields, method="POST", version=version) + body


def sized(path: str, body: bytes, *fields: str | bytes) -> bytes:
    """A request whose body's length is announced."""
    return post(path, body, f"Content-Length: {len(body)}", *fields)


def chunked(path: str, body: bytes, *fields: str | bytes) -> bytes:
    """A request with a chunked body as it stands."""
    return post(path, body, "Transfer-Encoding: chunked", *fields)


def _bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode("latin-1")


READ: Final = Expected(saw={"body": "hello", "complete": True}, body=b"read 5")
SMUGGLED: Final = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
CHUNKS: Final = b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"


# --- Content-Length

LENGTH = "RFC 9112, section 6.3; RFC 9110, section 8.6"
case("length", "RFC 9112, section 6.2", sized("/read", b"hello"), to=READ)
case(
    "length of zero",
    "RFC 9112, section 6.2",
    sized("/read", b""),
    to=OK.but(saw={"body": "", "complete": True}),
)
case("no length, no body", "RFC 9112, section 6.3", post("/read", b""), to=OK.but(saw={"body": ""}))
case("length of a GET", "RFC 9110, section 9.3.1", get("/read", "Content-Length: 5") + b"hello", to=READ)
case("length in segments", "RFC 9112, section 6.2", Bytewise(sized("/read", b"hello")), to=READ)
case(
    "length with white space around",
    "RFC 9112, section 5.1",
    post("/read", b"hello", "Content-Length:\t  5 \t"),
    to=READ,
)
case("length with leading zeros", LENGTH, post("/read", b"hello", "Content-Length: 0005"), to=READ)
for what, value in {
    "with a plus": "+5",
    "negative": "-5",
    "minus zero": "-0",
    "with an underscore": "5_0",
    "hexadecimal": "0x5",
    "empty": "",
    "with a fraction": "5.0",
    "of two words": "5 5",
    "that is a word": "five",
    "after a form feed": "\x0c5",
    "in superscript": "\xb2",
    "list of different ones": "5, 6",
}.items():
    case(f"length {what}", LENGTH, post("/read", b"hello", f"Content-Length: {value}"), to=refused(400))
case(
    "length beyond all numbers",
    LENGTH,
    post("/read", b"hello", "Content-Length: 1" + "0" * 40),
    to=refused(400, 413),
)
case(
    "length twice, different",
    LENGTH,
    post("/read", b"hello", "Content-Length: 5", "Content-Length: 6"),
    to=refused(400),
)
case(
    "length twice, smaller first",
    LENGTH,
    post("/read", SMUGGLED, "Content-Length: 0", f"Content-Length: {len(SMUGGLED)}"),
    to=refused(400),
)
SAME = either(400, saw={"body": "hello"})  # "a list of the same value": either taken as one, or refused
case(
    "length twice, the same",
    LENGTH,
    post("/read", b"hello", "Content-Length: 5", "Content-Length: 5"),
    to=SAME,
)
case("length list of the same", LENGTH, post("/read", b"hello", "Content-Length: 5, 5"), to=SAME)
case(
    "length, and the client half-closes before",
    "RFC 9112, section 8",
    post("/read", b"hello", "Content-Length: 10"),
    HalfClose(),
    to=either(400, NOTHING, ending=CLOSED, complete=False),
    ours=INCOMPLETE.but(status=frozenset({400})),
)
case(
    "length, and the client leaves before",
    "RFC 9112, section 8",
    post("/read", b"hello", "Content-Length: 10"),
    Leave(),
    to=INCOMPLETE,
)
case(
    "length, and the client resets before",
    "RFC 9112, section 8",
    post("/read", b"hello", "Content-Length: 10"),
    Pause(0.1),
    Leave(reset=True),
    to=INCOMPLETE,
)
case(
    "length, and the application handles what breaks off",
    "RFC 9112, section 8; PEP 3333, Input and Error Streams",
    post("/read/caught", b"hello", "Content-Length: 10"),
    HalfClose(),
    to=either(400, NOTHING, ending=CLOSED, complete=False),
)
case(
    "body unread",
    "RFC 9112, section 9.3",
    sized("/ignore", SMUGGLED),
    to=OK.but(saw={"PATH_INFO": "/ignore"}),
)
case(
    "body unread, large",
    "RFC 9112, section 9.3",
    sized("/ignore", SMUGGLED * 20_000),
    to=OK.but(saw={"PATH_INFO": "/ignore"}),
)
case(
    "body unread, chunked",
    "RFC 9112, section 9.3",
    chunked("/ignore", CHUNKS),
    to=OK.but(saw={"PATH_INFO": "/ignore"}),
)
case(
    "body large",
    "RFC 9112, section 6.2",
    sized("/read", b"x" * LARGE),
    to=OK.but(body=b"read %d" % LARGE, saw={"complete": True}),
)


# --- Transfer-Encoding

CODED = "RFC 9112, section 7.1"
case("chunked", CODED, chunked("/read", CHUNKS), to=READ)
case(
    "chunked in capitals", "RFC 9112, section 7", post("/read", CHUNKS, "Transfer-Encoding: CHUNKED"), to=READ
)
case("chunked in segments", CODED, Bytewise(chunked("/read", CHUNKS)), to=READ)
case("chunked, empty", CODED, chunked("/read", b"0\r\n\r\n"), to=OK.but(saw={"body": "", "complete": True}))
case("chunked with leading zeros", CODED, chunked("/read", b"00005\r\nhello\r\n000\r\n\r\n"), to=READ)
case(
    "chunked with a size in capitals",
    CODED,
    chunked("/read", b"A\r\n0123456789\r\n0\r\n\r\n"),
    to=OK.but(body=b"read 10"),
)
case(
    "chunked with a size in small letters",
    CODED,
    chunked("/read", b"a\r\n0123456789\r\n0\r\n\r\n"),
    to=OK.but(body=b"read 10"),
)
case(
    "chunked, large",
    CODED,
    chunked("/read", b"10000\r\n%b\r\n" % (b"x" * 65536) * 50 + b"0\r\n\r\n"),
    to=OK.but(body=b"read 3276800", saw={"complete": True}),
)
EXTENDED = "RFC 9112, section 7.1.1"
case("chunk extension", EXTENDED, chunked("/read", b'5;a=b;c="d e";f\r\nhello\r\n0;last\r\n\r\n'), to=READ)
case(
    "chunk extension after white space", EXTENDED, chunked("/read", b"5 ; a=b\r\nhello\r\n0\r\n\r\n"), to=READ
)
case(
    "trailers",
    "RFC 9112, section 7.1.2; RFC 9110, section 6.5.1",
    chunked("/read", b"5\r\nhello\r\n0\r\nX-Trailer: 1\r\n\r\n", "Trailer: X-Trailer"),
    to=READ.but(saw={"body": "hello", "complete": True, "HTTP_X_TRAILER": ABSENT}),
)
case(
    "trailer that would frame",
    "RFC 9110, section 6.5.1",
    chunked("/read", b"5\r\nhello\r\n0\r\nContent-Length: 3\r\n\r\n"),
    to=either(400, saw={"body": "hello", "CONTENT_LENGTH": frozenset({None, "", "5"})}),
)
for what, body in {
    "size is no number": b"x\r\nhello\r\n0\r\n\r\n",
    "size is empty": b"\r\nhello\r\n0\r\n\r\n",
    "size has a prefix": b"0x5\r\nhello\r\n0\r\n\r\n",
    "size has a plus": b"+5\r\nhello\r\n0\r\n\r\n",
    "size is negative": b"-5\r\nhello\r\n0\r\n\r\n",
    "size has an underscore": b"0_5\r\nhello\r\n0\r\n\r\n",
    "size has white space after": b"5 \r\nhello\r\n0\r\n\r\n",
    "size has white space before": b" 5\r\nhello\r\n0\r\n\r\n",
    "size ends with a bare LF": b"5\nhello\r\n0\r\n\r\n",
    "size ends with a bare CR": b"5\rhello\r\n0\r\n\r\n",
    "is shorter than it says": b"6\r\nhello\r\n0\r\n\r\n",
    "is longer than it says": b"4\r\nhello\r\n0\r\n\r\n",
    "ends with a bare LF": b"5\r\nhello\n0\r\n\r\n",
    "extension has a bare LF": b"5;a\nb\r\nhello\r\n0\r\n\r\n",
    "extension has a NUL": b"5;a\0b\r\nhello\r\n0\r\n\r\n",
}.items():
    case(f"chunk {what}", CODED, chunked("/read", body), HalfClose(), to=INCOMPLETE)
for what, digits in {
    "of 17 digits": b"F" * 16 + b"1",
    "of 16 digits": b"F" * 16,
    "of 15 digits": b"7" * 15,
}.items():
    case(
        f"chunk size {what}, and the client half-closes",
        CODED,
        chunked("/read", digits + b"\r\nhello"),
        HalfClose(),
        to=INCOMPLETE.but(status=frozenset({400, 413, NOTHING})),
    )
    case(
        f"chunk size {what}, and the client leaves",
        CODED,
        chunked("/read", digits + b"\r\nhello"),
        Leave(),
        to=INCOMPLETE,
    )
for what, body in {
    "before its first chunk": b"",
    "in a size": b"5",
    "in a chunk": b"5\r\nhel",
    "after a chunk": b"5\r\nhello\r\n",
    "after a chunk's bytes": b"5\r\nhello",
    "in the last chunk's line": b"5\r\nhello\r\n0",
}.items():
    case(
        f"chunked body breaks off {what}",
        "RFC 9112, section 8",
        chunked("/read", body),
        HalfClose(),
        to=INCOMPLETE,
        ours=INCOMPLETE.but(status=frozenset({400})),
    )
case(
    "chunked body breaks off, and the client has left",
    "RFC 9112, section 8",
    chunked("/read", b"5\r\nhello\r\n"),
    Leave(),
    to=INCOMPLETE,
)
case(
    "chunked body breaks off, and the application handles it",
    "RFC 9112, section 8",
    chunked("/read/caught", b"5\r\nhello\r\n"),
    HalfClose(),
    to=either(400, NOTHING, ending=CLOSED, complete=False),
)
case(
    "gzip, chunked",
    "RFC 9112, section 6.1",
    post("/read", CHUNKS, "Transfer-Encoding: gzip, chunked"),
    to=refused(501),
)
LAST = "RFC 9112, sections 6.1 and 6.3"  # 501 for what is not known, 400 where chunked is not the last
for what in ("gzip", "chunked, gzip", "identity", "xchunked", "chunked, identity", '"chunked"'):
    case(f"coding {what}", LAST, post("/read", CHUNKS, f"Transfer-Encoding: {what}"), to=refused(400, 501))
case(
    "chunked, chunked",
    "RFC 9112, section 7.1",
    post("/read", CHUNKS, "Transfer-Encoding: chunked, chunked"),
    to=refused(400, 501),
)
case(
    "chunked in two lines",
    "RFC 9112, section 7.1",
    post("/read", CHUNKS, "Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
    to=refused(400, 501),
)
case(
    "chunked after a vertical tab",
    "RFC 9110, section 5.5",
    post("/read", CHUNKS, "Transfer-Encoding: \x0bchunked"),
    to=refused(400, 501),
)
BOTH = "RFC 9112, sections 6.1 and 6.3"
for what, fields in {
    "length and chunked": ("Content-Length: 5", "Transfer-Encoding: chunked"),
    "chunked and length": ("Transfer-Encoding: chunked", "Content-Length: 5"),
}.items():
    case(
        what,
        BOTH,
        post("/read", CHUNKS, *fields),
        to=either(400, ending=CLOSED, saw={"body": "hello"}),
        ours=READ.but(ending=CLOSED),
    )
case(
    "length and chunked with another request in them",
    "RFC 9112, section 11.2",
    post(
        "/read", b"0\r\n\r\n" + SMUGGLED, f"Content-Length: {5 + len(SMUGGLED)}", "Transfer-Encoding: chunked"
    ),
    to=either(400, ending=CLOSED, saw={"PATH_INFO": "/read"}),
)
case(
    "chunked with HTTP/1.0",
    "RFC 9112, section 6.1",
    post("/read", CHUNKS, "Transfer-Encoding: chunked", version="1.0"),
    to=either(400, ending=CLOSED),
    ours=refused(400),
)


# --- The request's head

HEADERS = "RFC 9112, section 5"
FOLD = either(400, saw={"HTTP_X": frozenset({"a b", "a  b", "a   b"})})
case("folded line", "RFC 9112, section 5.2", get("/hello", "X: a", " b"), to=FOLD, ours=refused(400))
case(
    "folded line with a tab",
    "RFC 9112, section 5.2",
    get("/hello", "X: a", "\tb"),
    to=FOLD.but(saw={}),
    ours=refused(400),
)
case("white space before the colon", "RFC 9112, section 5.1", get("/hello", "X : a"), to=refused(400))
case(
    "white space before the colon of a length",
    "RFC 9112, section 5.1",
    post("/read", b"hello", "Content-Length : 5"),
    to=refused(400),
)
case(
    "white space before the first header",
    "RFC 9112, section 2.2",
    b"GET /hello HTTP/1.1\r\n X: a\r\nHost: x\r\n\r\n",
    to=either(400, saw={"HTTP_X": ABSENT}),
    ours=refused(400),
)
NO_CONTROL = "RFC 9110, section 5.5"
case(
    "bare CR in a value",
    "RFC 9112, section 2.2",
    get("/hello", "X: a\rb"),
    to=either(400, saw={"HTTP_X": "a b"}),
    ours=refused(400),
)
case(
    "bare CR before a header",
    "RFC 9112, section 2.2",
    get("/hello", "X: a\rContent-Length: 5"),
    to=either(400, saw={"CONTENT_LENGTH": frozenset({None, ""})}),
    ours=refused(400),
)
case(
    "bare CR after the request line",
    "RFC 9112, sections 2.2 and 3",
    b"GET /hello HTTP/1.1\rHost: x\r\n\r\n",
    to=refused(400),
)
case("bare LF after each line", "RFC 9112, section 2.2", b"GET /hello HTTP/1.1\nHost: x\n\n", to=either(400))
case(
    "bare LF after a header",
    "RFC 9112, section 2.2",
    get("/hello", "X: a\nY: b"),
    to=either(400, saw={"HTTP_Y": "b"}),
)
case(
    "NUL in a value",
    NO_CONTROL,
    get("/hello", "X: a\0b"),
    to=either(400, saw={"HTTP_X": "a b"}),
    ours=refused(400),
)
case("NUL in a name", HEADERS, get("/hello", "X\0Y: a"), to=refused(400))
case("NUL in the target", "RFC 9112, section 3", get("/hel\0lo"), to=refused(400))
case("control character in a value", NO_CONTROL, get("/hello", "X: a\x01b"), to=either(400))
case("header without a colon", HEADERS, get("/hello", "nonsense"), to=refused(400))
case("header without a name", HEADERS, get("/hello", ": a"), to=refused(400))
case("header whose name is no token", HEADERS, get("/hello", "X(Y): a"), to=refused(400))
case("header whose name is not ASCII", HEADERS, get("/hello", "X\xe9: a"), to=refused(400))
LINE = "RFC 9112, section 3"
case("space in the target", LINE, get("/hel lo"), to=refused(400))
case(
    "two spaces in the request line",
    LINE,
    b"GET  /hello HTTP/1.1\r\nHost: x\r\n\r\n",
    to=either(400),
    ours=refused(400),
)
case(
    "tab in the request line",
    LINE,
    b"GET\t/hello HTTP/1.1\r\nHost: x\r\n\r\n",
    to=either(400),
    ours=refused(400),
    methods=("GET",),
)
case(
    "white space after the request line",
    LINE,
    b"GET /hello HTTP/1.1 \r\nHost: x\r\n\r\n",
    to=either(400),
    ours=refused(400),
)
case("empty line before the request", "RFC 9112, section 2.2", b"\r\n" + get("/hello"), methods=("GET",))
case("nonsense", LINE, b"nonsense nonsense nonsense nonsense\r\n\r\n", to=refused(400))
case("method that is no token", LINE, get("/hello", method="G@T"), to=refused(400))
case(
    "method of the application's",
    "RFC 9110, section 9.1",
    get("/hello", method="BREW"),
    to=OK.but(saw={"REQUEST_METHOD": "BREW"}),
)
case(
    "method in small letters",
    "RFC 9110, section 9.1",
    get("/hello", method="get"),
    to=OK.but(saw={"REQUEST_METHOD": "get"}),
)
case("target that is a word", "RFC 9112, section 3.2", get("hello"), to=refused(400))
case("asterisk with GET", "RFC 9112, section 3.2.4", get("*"), to=refused(400))
case("authority with GET", "RFC 9112, section 3.2.3", get("x:80"), to=refused(400))
case(
    "CONNECT",
    "RFC 9110, section 9.3.6",
    get("x:80", method="CONNECT"),
    to=Expected(status=frozenset({400, 404, 405, 501}), calls=frozenset({0, 1})),
)
case(
    "OPTIONS of the server",
    "RFC 9112, section 3.2.4",
    get("*", method="OPTIONS"),
    to=OK.but(calls=frozenset({0, 1})),
)
VERSION = "RFC 9112, section 2.3"
case(
    "HTTP/1.0",
    "RFC 9112, section 9.3",
    get("/hello", version="1.0"),
    to=OK.but(body=b"hello", saw={"SERVER_PROTOCOL": "HTTP/1.0"}, ending=CLOSED),
)
case("HTTP/1.2", "RFC 9110, section 2.5", get("/hello", "Host: x", version="1.2"), to=either(400, 505))
case(
    "HTTP/2.0",
    "RFC 9110, section 15.6.6",
    get("/hello", "Host: x", version="2.0"),
    to=refused(400, 505),
    ours=refused(400),
)
case(
    "HTTP/3.0",
    "RFC 9110, section 15.6.6",
    get("/hello", "Host: x", version="3.0"),
    to=refused(400, 505),
    ours=refused(400),
)
case("HTTP/1.10", VERSION, get("/hello", "Host: x", version="1.10"), to=refused(400))
case("HTTP/11.1", VERSION, get("/hello", "Host: x", version="11.1"), to=refused(400))
case("HTTP/1", VERSION, get("/hello", "Host: x", version="1"), to=refused(400))
case("version in small letters", VERSION, b"GET /hello http/1.1\r\nHost: x\r\n\r\n", to=refused(400))
case("HTTP/0.9", LINE, b"GET /hello\r\n\r\n", to=refused(400))
case(
    "preface of HTTP/2",
    "RFC 9113, section 3.4; RFC 9110, section 15.6.6",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0",
    to=refused(400, 505),
    ours=refused(400),
)
HELLO = (
    b"\x16\x03\x01\x00\x9e\x01\x00\x00\x9a\x03\x03"
    + bytes(range(16, 48))
    + b"\x00\x00\x02\x13\x01\x01\x00\x00\x6f"
    + b"\x00" * 111
)
case("TLS on a plain port", LINE, HELLO, to=refused(400))
HOST = "RFC 9112, section 3.2"
case("no Host", HOST, b"GET /hello HTTP/1.1\r\n\r\n", to=refused(400))
case("no Host with HTTP/1.0", HOST, get("/hello", version="1.0"), to=OK.but(ending=CLOSED))
case("Host twice", HOST, get("/hello", "Host: x"), to=refused(400))
case("Host twice, different", HOST, get("/hello", "Host: y"), to=refused(400))
case("Host that is empty", HOST, b"GET /hello HTTP/1.1\r\nHost:\r\n\r\n")
for what, value in {
    "of two words": "a b",
    "with a path": "a/b",
    "with a user": "a@b",
    "with a port that is none": "a:b",
    "list": "a, b",
}.items():
    case(f"Host {what}", HOST, f"GET /hello HTTP/1.1\r\nHost: {value}\r\n\r\n".encode(), to=refused(400))
for value in ("a.example:8080", "[::1]:80", "127.0.0.1"):
    case(
        f"Host {value}",
        HOST,
        f"GET /hello HTTP/1.1\r\nHost: {value}\r\n\r\n".encode(),
        to=OK.but(saw={"HTTP_HOST": value}),
    )
ABSOLUTE = "RFC 9112, section 3.2.2"
case(
    "absolute target",
    ABSOLUTE,
    get("http://other.example/a?b=c"),
    to=OK.but(saw={"PATH_INFO": "/a", "QUERY_STRING": "b=c", "HTTP_HOST": "other.example"}),
)
case(
    "absolute target without a path",
    "RFC 9110, section 4.2.3",
    get("http://other.example"),
    to=OK.but(saw={"PATH_INFO": frozenset({"", "/"}), "HTTP_HOST": "other.example"}),
)
case(
    "half a head",
    "RFC 9112, section 8",
    b"GET /hello HTTP/1.1\r\nHost: x\r\n",
    HalfClose(),
    to=refused(400, 408, NOTHING),
)
case(
    "half a request line",
    "RFC 9112, section 8",
    b"GET /hello HTTP/1.1",
    HalfClose(),
    to=refused(400, 408, NOTHING),
)
case(
    "head in segments",
    "RFC 9112, section 2.1",
    Bytewise(get("/hello", "X: a")),
    to=OK.but(saw={"HTTP_X": "a"}),
)

TOO_LARGE = "RFC 6585, section 5"
LARGE_HEAD = refused(431)
case(
    "header too large",
    TOO_LARGE,
    get("/hello", "X: " + "a" * 20_000),
    to=refused(400, 431),
    ours=LARGE_HEAD,
    bounded=True,
)
case(
    "headers too large together",
    TOO_LARGE,
    get("/hello", *[f"X-{i}: " + "a" * 1000 for i in range(20)]),
    to=refused(400, 431),
    ours=LARGE_HEAD,
    bounded=True,
)
case(
    "target too long",
    "RFC 9110, section 15.5.15; RFC 6585, section 5",
    get("/hello?" + "a" * 20_000),
    to=refused(400, 414, 431),
    ours=refused(414, 431),
    bounded=True,
)
case(
    "head too large that never ends",
    TOO_LARGE,
    b"GET /hello HTTP/1.1\r\nX: " + b"a" * 20_000,
    to=refused(400, 431),
    ours=LARGE_HEAD,
    bounded=True,
)
case(
    "too many headers",
    TOO_LARGE,
    get("/hello", *[f"X-{i}: a" for i in range(300)]),
    to=either(400, 431),
    ours=LARGE_HEAD,
)


# --- Limits on the body (100 bytes)

CONTENT_TOO_LARGE = "RFC 9110, section 15.5.14"
TOO_MUCH = refused(413)
BODY = b"x" * 1000
case(
    "body within the limit",
    CONTENT_TOO_LARGE,
    sized("/read", b"x" * 100),
    to=OK.but(body=b"read 100"),
    bounded=True,
)
case(
    "body within the limit, chunked",
    CONTENT_TOO_LARGE,
    chunked("/read", b"64\r\n%b\r\n0\r\n\r\n" % (b"x" * 100)),
    to=OK.but(body=b"read 100"),
    bounded=True,
)
for what, value in {
    "": "1000",
    ", space after": "1000 ",
    ", tab before": "\t1000",
    ", zeros before": "0001000",
}.items():
    case(
        f"body too large{what}",
        CONTENT_TOO_LARGE,
        post("/read", BODY, f"Content-Length: {value}"),
        to=TOO_MUCH,
        bounded=True,
    )
case("body too large by one", CONTENT_TOO_LARGE, sized("/read", b"x" * 101), to=TOO_MUCH, bounded=True)
case(
    "body too large beyond all numbers",
    CONTENT_TOO_LARGE,
    post("/read", BODY, "Content-Length: 1" + "0" * 40),
    to=refused(400, 413),
    bounded=True,
)
case(
    "body too large for an application that reads none",
    CONTENT_TOO_LARGE,
    sized("/ignore", BODY),
    to=TOO_MUCH,
    bounded=True,
)
for what, value in {
    "with a plus": "+1000",
    "with underscores": "1_000",
    "after a form feed": "\x0c1000",
}.items():
    case(
        f"body too large {what}",
        LENGTH,
        post("/read", BODY, f"Content-Length: {value}"),
        to=refused(400),
        bounded=True,
    )
LATE = Expected(status=frozenset({413}), ending=CLOSED, calls=frozenset({0, 1}), complete=False)
case(
    "body too large, chunked",
    CONTENT_TOO_LARGE,
    chunked("/read", b"3e8\r\n%b\r\n0\r\n\r\n" % BODY),
    to=LATE,
    bounded=True,
)
case(
    "body too large, in small chunks",
    CONTENT_TOO_LARGE,
    chunked("/read", b"A\r\n0123456789\r\n" * 100 + b"0\r\n\r\n"),
    to=LATE,
    bounded=True,
)
case(
    "body too large, 100-continue",
    "RFC 9110, sections 10.1.1 and 15.5.14",
    post("/read", b"", "Content-Length: 1000", "Expect: 100-continue"),
    to=TOO_MUCH.but(interim=False),
    bounded=True,
)


# --- Time

TIMED_OUT = "RFC 9110, section 15.5.9"
case("nothing is sent", TIMED_OUT, Pause(0.1), to=refused(408, NOTHING), methods=("GET",), bounded=True)
case(
    "half a head, then silence",
    TIMED_OUT,
    b"GET /hello HTTP/1.1\r\nHost: x\r\n",
    to=refused(408, NOTHING),
    bounded=True,
)
SILENT = Expected(status=frozenset({408, NOTHING}), ending=CLOSED, calls=frozenset({0, 1}), complete=False)
case(
    "half a body, then silence",
    TIMED_OUT,
    post("/read", b"hello", "Content-Length: 10"),
    to=SILENT,
    ours=SILENT.but(status=frozenset({408})),
    bounded=True,
)
case(
    "half a chunked body, then silence",
    TIMED_OUT,
    chunked("/read", b"5\r\nhel"),
    to=SILENT,
    ours=SILENT.but(status=frozenset({408})),
    bounded=True,
)
case(
    "half a body, then silence, and the application handles it",
    TIMED_OUT,
    post("/read/caught", b"hello", "Content-Length: 10"),
    to=either(408, NOTHING, ending=CLOSED, complete=False),
    bounded=True,
)


# --- 100 Continue

CONTINUE = "RFC 9110, section 10.1.1"
EXPECTING = post("/read", b"", "Content-Length: 5", "Expect: 100-continue")
case(
    "100-continue",
    CONTINUE,
    EXPECTING,
    Until(b"HTTP/1.1 100 Continue\r\n\r\n"),
    b"hello",
    to=READ.but(interim=True),
)
case("100-continue, and the body comes at once", CONTINUE, EXPECTING + b"hello", to=READ)
case(
    "100-continue, chunked",
    CONTINUE,
    chunked("/read", b"", "Expect: 100-continue"),
    Until(b"HTTP/1.1 100 Continue\r\n\r\n"),
    CHUNKS,
    to=READ.but(interim=True),
)
case("100-continue in capitals", CONTINUE, sized("/read", b"", "Expect: 100-CONTINUE"), to=OK)
case(
    "100-continue with HTTP/1.0",
    CONTINUE,
    post("/read", b"hello", "Content-Length: 5", "Expect: 100-continue", version="1.0"),
    to=READ.but(interim=False, ending=CLOSED),
)
case("another expectation", CONTINUE, sized("/read", b"hello", "Expect: tea"), to=either(417))


# --- Connections

KEEP = "RFC 9112, section 9.3"
TWICE = Expected(calls=frozenset({1, 2}), body=b"hello")
case("connection is kept, or said to be closed", KEEP, get("/hello"), to=OK.but(body=b"hello"))
case(
    "close",
    "RFC 9112, section 9.6",
    get("/hello", "Connection: close"),
    to=OK.but(ending=CLOSED, headers={"connection": "close"}),
)
case(
    "close in capitals",
    "RFC 9110, section 7.6.1",
    get("/hello", "Connection: CLOSE"),
    to=OK.but(ending=CLOSED),
)
case(
    "close in a list",
    "RFC 9110, section 7.6.1",
    get("/hello", "Connection: x, close"),
    to=OK.but(ending=CLOSED),
)
case("two requests at once", "RFC 9112, section 9.3.2", get("/hello") * 2, to=TWICE, methods=("GET", "GET"))
case(
    "two requests, the first with a body",
    "RFC 9112, section 9.3.2",
    sized("/hello", b"hello") + get("/hello"),
    to=TWICE,
    methods=("POST", "GET"),
)
case(
    "two requests, the first with a chunked body",
    "RFC 9112, section 9.3.2",
    chunked("/hello", CHUNKS) + get("/hello"),
    to=TWICE,
    methods=("POST", "GET"),
)
case(
    "two requests, the first says close",
    "RFC 9112, section 9.6",
    get("/hello", "Connection: close") + get("/smuggled"),
    to=OK.but(ending=CLOSED, saw={"PATH_INFO": "/hello"}),
)
case(
    "two requests, the second is none",
    "RFC 9112, section 9.3.2",
    get("/hello") + b"nonsense\r\n\r\n",
    to=Expected(status=frozenset({200, 400}), ending=CLOSED),
    methods=("GET", "GET"),
)
case("HTTP/1.0, kept", KEEP, get("/hello", "Connection: keep-alive", version="1.0"), to=OK.but(body=b"hello"))
case(
    "HTTP/1.0, a response without length",
    "RFC 9112, sections 6.1 and 6.3",
    get("/stream", version="1.0"),
    to=OK.but(body=b"onetwothree", ending=CLOSED),
)
case(
    "HTTP/1.0, kept, a response without length",
    "RFC 9112, sections 6.1 and 6.3",
    get("/stream", "Connection: keep-alive", version="1.0"),
    to=OK.but(body=b"onetwothree", ending=CLOSED),
)
HALF = "RFC 9293, section 3.6: who has closed may go on receiving"
case(
    "half-close after the request", HALF, get("/hello"), HalfClose(), to=OK.but(body=b"hello", ending=CLOSED)
)
case(
    "half-close after the request, slow application",
    HALF,
    get("/slow"),
    HalfClose(),
    to=OK.but(body=b"slow", ending=CLOSED),
)
case("half-close after a body", HALF, sized("/read", b"hello"), HalfClose(), to=READ.but(ending=CLOSED))
case(
    "half-close after a chunked body", HALF, chunked("/read", CHUNKS), HalfClose(), to=READ.but(ending=CLOSED)
)
case(
    "half-close, a large response",
    HALF,
    get("/large"),
    HalfClose(),
    to=OK.but(body=b"x" * LARGE, ending=CLOSED),
)


# --- The body as the application reads it

STREAM = "PEP 3333, Input and Error Streams"
LINES = b"one\ntwo\nlast"
for ways, got in {
    "/input/past": ["one\n", "two\nlast", "", ""],
    "/input/nothing": ["", "o"],
    "/input/all": ["one\ntwo\nlast"],
    "/input/iterate": ["one\n", "two\n", "last"],
    "/input/readline": ["one\n", "two\n", "last", ""],
    "/input/readline-size": ["on", "e\n", "tw", "o\n"],
    "/input/readlines": ["one\n", "two\n", "last"],
}.items():
    way = ways.rpartition("/")[2]
    case(f"input {way}", STREAM, sized(ways, LINES), to=OK.but(saw={"got": got}))
    case(
        f"input {way}, chunked",
        STREAM,
        chunked(ways, b"6\r\none\ntw\r\n6\r\no\nlast\r\n0\r\n\r\n"),
        to=OK.but(saw={"got": got}),
    )
case("input without a body", STREAM, get("/input/all"), to=OK.but(saw={"got": [""]}))
case("input readlines with a hint", STREAM, sized("/input/readlines-hint", LINES))


# --- Responses that fail

ERRORS = "PEP 3333, Error Handling; RFC 9110, section 15.6.1"
for path in (
    "/raise/at-once",
    "/raise/started",
    "/raise/first-step",
    "/raise/empty-first",
    "/exit",
    "/exit/first-step",
    "/interrupt",
    "/never-started",
    "/text",
):
    case(f"application: {path[1:]}", ERRORS, get(path), to=FAILED)
CUT_OFF = "RFC 9112, section 8"
for path in ("/raise/later", "/raise/in-length", "/exit/later", "/write/raise"):
    case(f"application: {path[1:]}", CUT_OFF, get(path), to=CUT)
    case(f"application: {path[1:]}, HTTP/1.0", CUT_OFF, get(path, version="1.0"), to=CUT)
case("application: raise/later, close", CUT_OFF, get("/raise/later", "Connection: close"), to=CUT)
case(
    "application: raise/after-length",
    "PEP 3333, Error Handling",
    get("/raise/after-length"),
    to=OK.but(body=b"piecepiece", logged=True, ending=None),
)
case(
    "application: raise/at-once, and a body that it has not read",
    ERRORS,
    sized("/raise/at-once", SMUGGLED),
    to=FAILED,
)


# --- How long a response is

FRAMED = "RFC 9112, section 6.3"
case("stream", FRAMED, get("/stream"), to=OK.but(body=b"onetwothree"))
case("list", FRAMED, get("/list"), to=OK.but(body=b"onetwo"))
case(
    "empty pieces",
    "PEP 3333, Buffering and Streaming; RFC 9112, section 7.1",
    get("/empty-pieces"),
    to=OK.but(body=b"onetwo"),
)
case("empty iterable", "PEP 3333, The start_response() Callable", get("/empty"), to=OK.but(body=b""))
case("empty list", "PEP 3333, The start_response() Callable", get("/empty-list"), to=OK.but(body=b""))
case("large response", FRAMED, get("/large"), to=OK.but(body=b"x" * LARGE))
case("large response in pieces", FRAMED, get("/large/pieces"), to=OK.but(body=b"x" * LARGE))
TOO_LONG = "PEP 3333, Handling the Content-Length Header"
for path in ("/long", "/long/one-piece", "/long/list"):
    case(
        f"more than Content-Length: {path[1:]}",
        TOO_LONG,
        get(path),
        to=OK.but(body=b"hello", lacks=b"smuggled", logged=True),
    )
case(
    "less than Content-Length: short/empty",
    TOO_LONG,
    get("/short/empty"),
    to=CUT.but(status=frozenset({200, 500})),  # nothing has been sent, so it may still be an error
)
for path in ("/short", "/short/list"):
    case(f"less than Content-Length: {path[1:]}", TOO_LONG, get(path), to=CUT)
NO_BODY = "RFC 9110, section 9.3.2; RFC 9112, section 6.3"
for path in ("/hello", "/stream", "/file", "/large/pieces"):
    case(f"HEAD {path}", NO_BODY, get(path, method="HEAD"), to=OK.but(body=b""))
case("HEAD of what fails", NO_BODY, get("/raise/at-once", method="HEAD"), to=FAILED)
for path in ("/204", "/204/length"):
    case(
        path[1:],
        "RFC 9110, sections 8.6 and 15.3.5; RFC 9112, section 6.3",
        get(path),
        to=OK.but(status=frozenset({204}), body=b""),
    )
for path in ("/304", "/304/length"):
    case(
        path[1:],
        "RFC 9110, section 15.4.5; RFC 9112, section 6.3",
        get(path),
        to=OK.but(status=frozenset({304}), body=b""),
    )
case(
    "101",
    "RFC 9110, section 15.2",
    get("/101"),
    to=Expected(status=frozenset({101, 500, NOTHING}), body=b"", lacks=b"body"),
)


# --- start_response and write

START = "PEP 3333, The start_response() Callable"
WRITE = "PEP 3333, The write() Callable"
case("write", WRITE, get("/write"), to=OK.but(body=b"onetwothree"))
case("write with a length", WRITE, get("/write/length"), to=OK.but(body=b"onetwo"))
case("write, and an empty iterable", WRITE, get("/write/only"), to=OK.but(body=b"one"))
case(
    "write sends at once",
    WRITE,
    get("/write/now"),
    Until(b"first"),
    Tell("/_go"),
    to=OK.but(body=b"firstthen"),
)
case(
    "what is yielded is sent at once",
    "PEP 3333, Buffering and Streaming",
    get("/yield/now"),
    Until(b"first"),
    Tell("/_go"),
    to=OK.but(body=b"firstthen"),
)
case("start_response twice", START, get("/twice"), to=FAILED)
case(
    "start_response twice, with exc_info",
    START,
    get("/twice/exc-info"),
    to=OK.but(status=frozenset({503}), headers={"x-first": ABSENT}),
)
case(
    "start_response with exc_info, and the head is sent",
    START,
    get("/twice/sent"),
    to=CUT.but(lacks=b"sorry"),
)
case(
    "start_response in the first step of a generator", START, get("/generator"), to=OK.but(body=b"generated")
)
CLOSE = "PEP 3333, Specification Details: close()"
case("client leaves in a response", CLOSE, get("/endless"), Until(b"xxxx"), Leave(), to=OK)
case("client resets in a response", CLOSE, get("/endless"), Until(b"xxxx"), Leave(reset=True), to=OK)


# --- What a response says

SAYS = "PEP 3333, The start_response() Callable; RFC 9110, section 5.5; CWE-113"
EVIL = FAILED.but(lacks=b"X-Evil")
STATUS_LINE = "PEP 3333, The start_response() Callable; RFC 9112, section 4"
for what, query in {
    "CR LF": "200%20OK%0D%0AX-Evil:%201",
    "LF": "200%20OK%0AX-Evil:%201",
    "CR": "200%20OK%0DX-Evil:%201",
    "NUL": "200%20OK%00X-Evil",
}.items():
    case(f"{what} in a status", STATUS_LINE, get(f"/status?{query}"), to=EVIL)
for what, query in {
    "of two digits": "20%20X-Evil",
    "of no digits": "X-Evil",
    "of four digits": "2000%20X-Evil",
    "below 100": "099%20X-Evil",
    "in superscript": "%B2%B0%B0%20X-Evil",
}.items():
    case(f"status {what}", STATUS_LINE, get(f"/status?{query}"), to=EVIL)
case("status with a reason beyond ASCII", STATUS_LINE, get("/status?200%20caf%E9"))
case(
    "status that nobody knows",
    "RFC 9110, section 15",
    get("/status?299%20Fine"),
    to=OK.but(status=frozenset({299})),
)
for what, query in {
    "CR LF in a value": "X-A=a%0D%0AX-Evil:%201",
    "LF in a value": "X-A=a%0AX-Evil:%201",
    "CR in a value": "X-A=a%0DX-Evil:%201",
    "NUL in a value": "X-A=a%00X-Evil",
    "CR LF in a name": "X-A:%20a%0D%0AX-Evil=1",
    "LF in a name": "X-A:%20a%0AX-Evil=1",
    "NUL in a name": "X-Evil%00=1",
    "colon in a name": "X-Evil:%20a=1",
    "space in a name": "X-Evil%20=1",
    "empty name": "=X-Evil",
}.items():
    case(f"response: {what}", SAYS, get(f"/header?{query}"), to=EVIL)
case(
    "response: value beyond ASCII",
    "PEP 3333, Unicode Issues",
    get("/header?X-A=caf%E9"),
    to=OK.but(headers={"x-a": "caf\xe9"}),
)
case("response: value beyond latin-1", "PEP 3333, Unicode Issues", get("/header/beyond-latin-1"), to=FAILED)
case(
    "response: a header twice",
    "RFC 6265, section 3",
    get("/header?Set-Cookie=a&Set-Cookie=b"),
    to=OK.but(headers={"set-cookie": "a, b"}),
)
case(
    "response: Content-Length that is no number",
    "RFC 9110, section 8.6",
    get("/header?Content-Length=two"),
    to=FAILED,
)
case(
    "response: Content-Length twice, different",
    "RFC 9110, section 8.6",
    get("/header?Content-Length=2&Content-Length=3"),
    to=FAILED,
)
case("response: a Date", "RFC 9110, section 6.6.1", get("/hello"), to=OK.but(headers={"date": any}))
HOP = "PEP 3333, Other HTTP Features; RFC 9110, section 7.6.1"
PASSED = Expected(status=frozenset({200, 500}), body=b"ok")
for query in (
    "Transfer-Encoding=chunked",
    "Transfer-Encoding=gzip",
    "Upgrade=h2c",
    "Keep-Alive=timeout%3D5",
    "TE=x",
    "Trailer=X-A",
    "Proxy-Authenticate=Basic",
):
    name = query.partition("=")[0]
    lacking: Mapping[str, Any] = {} if name == "Transfer-Encoding" else {name: ABSENT}
    case(
        f"response: {query}",
        HOP,
        get(f"/header?{query}"),
        to=PASSED.but(headers={} if name == "Trailer" else lacking),  # which RFC 9110 does not name there
        ours=OK.but(body=b"ok", headers=lacking),
    )
case(
    "response: Transfer-Encoding and Content-Length",
    HOP,
    get("/header?Transfer-Encoding=chunked&Content-Length=2"),
    to=PASSED,
    ours=OK.but(body=b"ok"),
)
case(
    "response: Transfer-Encoding with HTTP/1.0",
    HOP,
    get("/header?Transfer-Encoding=chunked", version="1.0"),
    to=PASSED,
    ours=OK.but(body=b"ok"),
)
case(
    "response: Connection: keep-alive",
    HOP,
    get("/header?Connection=keep-alive&Content-Length=2"),
    to=PASSED,
    ours=OK.but(body=b"ok"),
)
case(
    "response: Connection: keep-alive for who said close",
    HOP,
    get("/header?Connection=keep-alive&Content-Length=2", "Connection: close"),
    to=PASSED.but(ending=CLOSED),
    ours=OK.but(body=b"ok", ending=CLOSED),
)
case(
    "response: Connection: close",
    HOP,
    get("/header?Connection=close&Content-Length=2"),
    to=PASSED,
    ours=OK.but(body=b"ok", ending=CLOSED),
)


# --- Files

FILES = "PEP 3333, Optional Platform-Specific File Handling"
for path in ("/file", "/file/length", "/file/memory", "/file/object"):
    case(path[1:], FILES, get(path), to=OK.but(body=CONTENT))
case("file, two requests", FILES, get("/file") * 2, to=TWICE.but(body=CONTENT), methods=("GET", "GET"))
case(
    "file/smaller",
    FILES + "; Handling the Content-Length Header",
    get("/file/smaller"),
    to=OK.but(body=CONTENT[:15]),
)
case("file/larger", FILES + "; Handling the Content-Length Header", get("/file/larger"), to=CUT)
case("file/middle", FILES, get("/file/middle"), to=OK.but(body=b"456789"))
case("file/empty", FILES, get("/file/empty"), to=OK.but(body=b""))
case(
    "file/length, HTTP/1.0", FILES, get("/file/length", version="1.0"), to=OK.but(body=CONTENT, ending=CLOSED)
)


# --- environ

VARIABLES = "PEP 3333, environ Variables"
TEXTS = "PEP 3333, Unicode Issues"


def environ(name: str, source: str, request: bytes, **saw: Any) -> None:
    """Enter a case about what the application sees."""
    case(name, source, request, to=OK.but(saw=saw))


environ("path that is UTF-8", TEXTS, get("/caf%C3%A9"), PATH_INFO="/caf\xc3\xa9")
environ("path that is no UTF-8", TEXTS, get("/caf%E9"), PATH_INFO="/caf\xe9")
environ("path with a slash in it", VARIABLES, get("/a%2Fb"), PATH_INFO="/a/b")
environ("path with two slashes", "RFC 9112, section 3.2.1", get("/a//b/"), PATH_INFO="/a//b/")
environ("path that begins with two slashes", "RFC 9112, section 3.2.1", get("//a/b"), PATH_INFO="//a/b")
environ("path with a percent sign in it", VARIABLES, get("/a%2541"), PATH_INFO="/a%41")
environ("path with a plus", VARIABLES, get("/a+b"), PATH_INFO="/a+b")
environ("path with a semicolon", VARIABLES, get("/a;b=c"), PATH_INFO="/a;b=c")
environ("query", VARIABLES, get("/a?b%20c=d&e;f=%E9"), PATH_INFO="/a", QUERY_STRING="b%20c=d&e;f=%E9")
environ(
    "query with a question mark", "RFC 9112, section 3.2.1", get("/a?b?c"), PATH_INFO="/a", QUERY_STRING="b?c"
)
environ("no query", VARIABLES, get("/a"), QUERY_STRING=frozenset({"", None}))
case(
    "target as sent",
    "no standard: gunicorn's RAW_URI, Apache's REQUEST_URI",
    get("/a%2Fb?c%20d"),
    ours=OK.but(saw={"RAW_URI": "/a%2Fb?c%20d", "REQUEST_URI": "/a%2Fb?c%20d"}),
)
environ(
    "server and client",
    VARIABLES,
    get("/hello"),
    REMOTE_ADDR="127.0.0.1",
    REMOTE_PORT=any,
    SERVER_NAME=any,
    SERVER_PORT=any,
    SERVER_PROTOCOL="HTTP/1.1",
    SCRIPT_NAME=frozenset({"", None}),
)
case(
    "wsgi variables",
    VARIABLES,
    get("/hello"),
    to=OK.but(
        saw={
            "wsgi.version": [1, 0],
            "wsgi.url_scheme": "http",
            "wsgi.multithread": True,
            "wsgi.run_once": False,
        }
    ),
)
case(
    "other processes",
    "PEP 3333, environ Variables: a reload or `scale` starts a second one",
    get("/hello"),
    ours=OK.but(saw={"wsgi.multiprocess": True}),
)
environ("header", "RFC 3875, section 4.1.18", get("/hello", "X-One: 1"), HTTP_X_ONE="1")
environ("header with white space around", "RFC 9112, section 5.1", get("/hello", "X:\t a b \t"), HTTP_X="a b")
environ("header that is empty", "RFC 9110, section 5.5", get("/hello", "X:"), HTTP_X="")
case(
    "header twice",
    "RFC 9110, section 5.3: joined by a comma, and for consistency a space",
    get("/hello", "X: 1", "Y: 2", "X: 3"),
    to=OK.but(saw={"HTTP_X": frozenset({"1,3", "1, 3"})}),
    ours=OK.but(saw={"HTTP_X": "1, 3"}),
)
environ("header beyond ASCII", TEXTS, get("/hello", "X: caf\xe9"), HTTP_X="caf\xe9")
case(
    "header with an underscore",
    "RFC 3875, section 4.1.18: A_B and A-B are one variable",
    get("/hello", "X_A: evil"),
    to=OK.but(saw={"HTTP_X_A": ABSENT}),
)
case(
    "header with an underscore beside one with a hyphen",
    "RFC 3875, section 4.1.18: A_B and A-B are one variable",
    get("/hello", "X-A: 1", "X_A: evil"),
    to=OK.but(saw={"HTTP_X_A": "1"}),
)
case(
    "length whose name has an underscore",
    "RFC 3875, section 4.1.18; RFC 9112, section 11.2",
    post("/read", b"hello", "Content-Length: 5", "Content_Length: 3"),
    to=either(400, saw={"body": "hello"}),
)
environ(
    "type and length of a body",
    VARIABLES,
    sized("/read", b"hello", "Content-Type: text/x"),
    CONTENT_TYPE="text/x",
    CONTENT_LENGTH="5",
    HTTP_CONTENT_TYPE=ABSENT,
    HTTP_CONTENT_LENGTH=ABSENT,
)
case("wsgiref.validate", "PEP 3333", get("/validate?a=b"), to=OK.but(body=b"valid"))
case(
    "wsgiref.validate, with a body",
    "PEP 3333",
    sized("/validate", b"hello"),
    to=OK.but(body=b"valid", saw={"body": "hello"}),
)
case("wsgiref.validate, HEAD", "PEP 3333", get("/validate", method="HEAD"), to=OK.but(body=b""))
