"""The application of the table: plain WSGI, one path for each behaviour, and a record of each call.

`/_calls` gives the records as JSON and forgets them. All paths that are not known answer as `/hello` does.
"""

import io
import json
import sys
import tempfile
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, NoReturn
from wsgiref.validate import validator

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

PLAIN = ("Content-Type", "text/plain")
LARGE = 5_000_000
PIECE = b"x" * 65_536
HUGE = b"x" * 20_000_000  # more than the kernel holds for a connection
WAIT = 20.0

calls: list["Call"] = []
lock = threading.Lock()  # protects `calls`
go = threading.Event()


class Call(dict[str, Any]):
    """What one call saw and did; written by the thread that carries it out, until it is `done`."""


Behaviour = Callable[["Call", "WSGIEnvironment", "StartResponse"], Iterable[bytes]]
PATHS: dict[str, Behaviour] = {}


class Body:
    """An iterable that notes how often it is closed."""

    def __init__(self, call: Call, pieces: Iterable[bytes]) -> None:
        self._call = call
        self._pieces = pieces
        call["closable"] = True

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._pieces)

    def close(self) -> None:
        self._call["closes"] += 1
        self._call["done"] = True


class Counted(io.IOBase):
    """A file that notes how often it is closed, but for the interpreter's own closing when it is collected."""

    call: Call

    def close(self) -> None:
        if not self.closed:
            self.call["closes"] += 1
            self.call["done"] = True
        super().close()

    def __del__(self) -> None:
        self.call = Call(closes=0)
        super().__del__()


class Memory(Counted, io.BytesIO):
    """A file that has no descriptor."""

    def __init__(self, call: Call, data: bytes) -> None:
        self.call = call
        super().__init__(data)


class Real(Counted, io.FileIO):
    """A file of the system, deleted already."""

    def __init__(self, call: Call, data: bytes, at: int = 0) -> None:
        self.call = call
        with tempfile.NamedTemporaryFile() as file:
            file.write(data)
            file.flush()
            super().__init__(file.name)
        self.seek(at)


class Reader:
    """An object that has `read` and nothing else."""

    def __init__(self, data: bytes) -> None:
        self.read = io.BytesIO(data).read


def app(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
    """Do what the path says."""
    path = environ["PATH_INFO"]
    if path.startswith("/_"):
        return control(path, start_response)
    call = Call(seen(environ))
    with lock:
        calls.append(call)
    try:
        body = PATHS.get(path, hello)(call, environ, start_response)
    except BaseException as error:
        call["raised"] = type(error).__name__
        call["done"] = True
        raise
    if not call["closable"]:
        call["done"] = True
    return body


def control(path: str, start_response: "StartResponse") -> Iterable[bytes]:
    """Answer what the tests ask beside their cases."""
    body = b"probed" if path == "/_probe" else b"ok"
    if path == "/_calls":
        with lock:
            body = json.dumps(calls).encode()
            if all(call["done"] for call in calls):
                calls.clear()
    elif path == "/_forget":
        with lock:
            calls.clear()
        go.clear()
    elif path == "/_go":
        go.set()
    start_response("200 OK", [PLAIN, ("Content-Length", str(len(body)))])
    return [body]


def seen(environ: "WSGIEnvironment") -> dict[str, Any]:
    """What is noted of an environ: texts as they are; `odd` are CGI's variables that are no text."""
    plain = {key: value for key, value in environ.items() if isinstance(value, str | bool | int | tuple)}
    odd = [key for key, value in environ.items() if key.isupper() and not isinstance(value, str)]
    kept = {key: list(value) if isinstance(value, tuple) else value for key, value in plain.items()}
    return {
        **{key: value for key, value in kept.items() if key.startswith("wsgi.") or key.isupper()},
        "odd": odd,
        "builtin": type(environ) is dict,
        "done": False,
        "closable": False,
        "closes": 0,
        "complete": False,
        "error": None,
    }


def path(name: str) -> Callable[[Behaviour], Behaviour]:
    """Enter a behaviour at its path."""

    def enter(behaviour: Behaviour) -> Behaviour:
        PATHS[name] = behaviour
        return behaviour

    return enter


def answer(start: "StartResponse", body: bytes, status: str = "200 OK") -> list[bytes]:
    """Answer with a body of known length."""
    start(status, [PLAIN, ("Content-Length", str(len(body)))])
    return [body]


@path("/hello")
def hello(call: Call, environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
    return answer(start, b"hello")


@path("/slow")
def slow(call: Call, environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
    time.sleep(0.3)
    return answer(start, b"slow")


# Request bodies.


def whole(call: Call, environ: "WSGIEnvironment") -> bytes:
    """Read the body as an application does that knows PEP 3333 and `wsgi.input_terminated`; note whether it was complete."""
    stream = environ["wsgi.input"]
    announced = environ.get("CONTENT_LENGTH") or ""
    try:
        if environ.get("wsgi.input_terminated"):
            body: bytes = stream.read()
        else:
            body = stream.read(int(announced or 0))
    except BaseException as error:
        call["error"] = type(error).__name__
        raise
    call["body"] = body.decode("latin-1") if len(body) < 1000 else f"{len(body)} bytes"
    call["complete"] = not announced or len(body) == int(announced)
    return body


@path("/read")
def read(call: Call, environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
    return answer(start, b"read %d" % len(whole(call, environ)))


@path("/read/caught")
def caught(call: Call, environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
    try:
        whole(call, environ)
    except Exception:  # noqa: BLE001 - whatever an engine raises, an application may handle
        return answer(start, b"caught")
    return answer(start, b"complete" if call["complete"] else b"short")


READS: dict[str, Callable[[Any], list[bytes]]] = {
    "/input/all": lambda stream: [stream.read()],
    "/input/past": lambda stream: [stream.read(4), stream.read(100), stream.read(100), stream.read()],
    "/input/nothing": lambda stream: [stream.read(0), stream.read(1)],
    "/input/iterate": list,
    "/input/readline": lambda stream: [stream.readline() for _ in range(4)],
    "/input/readline-size": lambda stream: [stream.readline(2) for _ in range(4)],
    "/input/readlines": lambda stream: list(stream.readlines()),
    "/input/readlines-hint": lambda stream: list(stream.readlines(1)),
}


def reading(way: Callable[[Any], list[bytes]]) -> Behaviour:
    """Read in one of the ways of PEP 3333."""

    def behave(call: Call, environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
        call["got"] = [piece.decode("latin-1") for piece in way(environ["wsgi.input"])]
        return answer(start, b"got")

    return behave


PATHS.update({name: reading(way) for name, way in READS.items()})


# Responses: what fails.


@path("/raise/at-once")
def raise_at_once(call: Call, environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
    raise RuntimeError("at once")


@path("/raise/started")
def raise_started(call: Call, environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
    start("200 OK", [PLAIN])
    raise RuntimeError("after start_response")


def failing(error: BaseException, before: int, length: int | None = None) -> Behaviour:
    """Raise after `before` pieces of a body."""

    def behave(call: Call, environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
        def pieces() -> Iterator[bytes]:
            for _ in range(before):
                yield b"piece"
            raise error

        start("200 OK", [PLAIN] if length is None else [PLAIN, ("Content-Length", str(length))])
        return Body(call, pieces())

    return behave


PATHS["/raise/first-step"] = failing(RuntimeError("first step"), 0)
PATHS["/raise/later"] = failing(RuntimeError("later"), 2)
PATHS["/raise/in-length"] = failing(RuntimeError("in the length"), 1, 10)
PATHS["/raise/after-length"] = failing(RuntimeError("after the length"), 2, 10)
PATHS["/exit/first-step"] = failing(SystemExit(3), 0)
PATHS["/exit/later"] = failing(SystemExit(3), 2)


@path("/raise/empty-first")
def raise_empty_first(call: Call, environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
    def pieces() -> Iterator[bytes]:
        yield b""
        raise RuntimeError("after an empty piece")

    start("200 OK", [PLAIN])
    return Body(call, pieces())


@path("/exit")
def leave(call: Call, environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
    raise SystemExit(3)


@path("/interrupt")
def interrupt(call: Call, environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
    raise KeyboardInterrupt


@path("/never-started")
def never_started(call: Call, environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
    return Body(call, [b"no head"])


@path("/text")
def text(call: Call, environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
    start("200 OK", [PLAIN])
    return Body(call, ["text"])  # type: ignore[list-item]  # what the case is about


# Responses: how long they are.


def sized(*pieces: bytes, length: int | None = None, status: str = "200 OK") -> Behaviour:
    """Answer with these pieces and this Content-Length, fit or not."""

    def behave(call: Call, environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
        start(status, [PLAIN] if length is None else [PLAIN, ("Content-Length", str(length))])
        return Body(call, iter(pieces))

    return behave


def listed(*pieces: bytes, length: int | None = None) -> Behaviour:
    """Answer with a list."""

    def behave(call: Call, environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
        start("200 OK", [PLAIN] if length is None else [PLAIN, ("Content-Length", str(length))])
        return list(pieces)

    return behave


PATHS["/stream"] = sized(b"one", b"two", b"three")
PATHS["/empty-pieces"] = sized(b"", b"one", b"", b"two", b"")
PATHS["/empty"] = sized()
PATHS["/empty-list"] = listed()
PATHS["/list"] = listed(b"one", b"two")
PATHS["/long"] = sized(b"hello", b"GET /smuggled", length=5)
PATHS["/long/one-piece"] = sized(b"helloGET /smuggled", length=5)
PATHS["/long/list"] = listed(b"helloGET /smuggled", length=5)
PATHS["/short"] = sized(b"hello", length=10)
PATHS["/short/list"] = listed(b"hello", length=10)
PATHS["/short/empty"] = sized(length=10)
PATHS["/204"] = sized(b"body", status="204 No Content")
PATHS["/204/length"] = sized(b"body", length=4, status="204 No Content")
PATHS["/304"] = sized(b"body", status="304 Not Modified")
PATHS["/304/length"] = sized(b"body", length=4, status="304 Not Modified")
PATHS["/101"] = sized(b"body", status="101 Switching Protocols")
PATHS["/large"] = sized(b"x" * LARGE, length=LARGE)
PATHS["/large/pieces"] = sized(*[b"x" * 50_000] * (LARGE // 50_000))


@path("/huge")
def huge(call: Call, environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
    return answer(start, HUGE)


@path("/endless")
def endless(call: Call, environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
    def pieces() -> Iterator[bytes]:
        for _ in range(20_000):  # 1.3 GB: far more than any client here takes
            yield PIECE

    start("200 OK", [PLAIN])
    return Body(call, pieces())


# Responses: start_response and write.


@path("/write")
def write(call: Call, environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
    send = start("200 OK", [PLAIN])
    send(b"one")
    send(b"two")
    return Body(call, [b"three"])


@path("/write/length")
def write_length(call: Call, environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
    send = start("200 OK", [PLAIN, ("Content-Length", "6")])
    send(b"one")
    return Body(call, [b"two"])


@path("/write/only")
def write_only(call: Call, environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
    start("200 OK", [PLAIN])(b"one")
    return Body(call, [])


@path("/write/now")
def write_now(call: Call, environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
    start("200 OK", [PLAIN])(b"first")
    return Body(call, [b"then"] if go.wait(WAIT) else [b"never"])


@path("/write/raise")
def write_raise(call: Call, environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
    start("200 OK", [PLAIN])(b"first")
    raise RuntimeError("after write")


@path("/yield/now")
def yield_now(call: Call, environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
    def pieces() -> Iterator[bytes]:
        yield b"first"
        yield b"then" if go.wait(WAIT) else b"never"

    start("200 OK", [PLAIN])
    return Body(call, pieces())


def fail() -> NoReturn:
    """Raise what an application handles by starting another response."""
    raise RuntimeError("it went wrong")


@path("/twice")
def twice(call: Call, environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
    start("200 OK", [PLAIN])
    start("201 Created", [PLAIN])
    return Body(call, [b"twice"])


@path("/twice/exc-info")
def twice_exc_info(call: Call, environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
    start("200 OK", [PLAIN, ("X-First", "1")])
    try:
        fail()
    except RuntimeError:
        start(
            "503 Service Unavailable",
            [PLAIN, ("Content-Length", "5")],
            sys.exc_info(),
        )
    return Body(call, [b"sorry"])


@path("/twice/sent")
def twice_sent(call: Call, environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
    def pieces() -> Iterator[bytes]:
        yield b"first"
        try:
            fail()
        except RuntimeError:
            start("503 Service Unavailable", [PLAIN], sys.exc_info())
        yield b"sorry"

    start("200 OK", [PLAIN])
    return Body(call, pieces())


@path("/generator")
def generator(call: Call, environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
    def pieces() -> Iterator[bytes]:
        start("200 OK", [PLAIN])
        yield b"generated"

    return Body(call, pieces())


# Responses: what they say.


@path("/status")
def status(call: Call, environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
    start(urllib.parse.unquote(environ["QUERY_STRING"], encoding="latin-1"), [PLAIN, ("Content-Length", "2")])
    return Body(call, [b"ok"])


@path("/header")
def header(call: Call, environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
    """The query is one header: NAME=VALUE, percent-encoded, or several, with `&` between them."""
    pairs = (each.partition("=")[::2] for each in environ["QUERY_STRING"].split("&"))
    headers = [
        (urllib.parse.unquote(name, "latin-1"), urllib.parse.unquote(value, "latin-1"))
        for name, value in pairs
    ]
    start("200 OK", [PLAIN, *headers])
    return Body(call, [b"ok"])


@path("/header/beyond-latin-1")
def header_beyond(call: Call, environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
    start("200 OK", [PLAIN, ("X-Price", "5 \u20ac"), ("Content-Length", "2")])
    return Body(call, [b"ok"])


# Files.


class Pieces:
    """What an application does where its server has no `wsgi.file_wrapper` (PEP 3333)."""

    def __init__(self, file: Any, size: int) -> None:
        self._file = file
        self._size = size

    def __iter__(self) -> Iterator[bytes]:
        return iter(lambda: self._file.read(self._size), b"")

    def close(self) -> None:
        if hasattr(self._file, "close"):
            self._file.close()


def filed(make: Callable[[Call], Any], *, length: int | None = None) -> Behaviour:
    """Answer with a file, by the server's wrapper where it has one."""

    def behave(call: Call, environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
        start("200 OK", [PLAIN] if length is None else [PLAIN, ("Content-Length", str(length))])
        file = make(call)
        call["closable"] = isinstance(file, Counted)
        wrapped: Iterable[bytes] = environ.get("wsgi.file_wrapper", Pieces)(file, 8192)
        return wrapped

    return behave


CONTENT = b"0123456789" * 2000
PATHS["/file"] = filed(lambda call: Real(call, CONTENT))
PATHS["/file/length"] = filed(lambda call: Real(call, CONTENT), length=len(CONTENT))
PATHS["/file/smaller"] = filed(lambda call: Real(call, CONTENT), length=15)
PATHS["/file/larger"] = filed(lambda call: Real(call, b"0123456789"), length=15)
PATHS["/file/middle"] = filed(lambda call: Real(call, b"0123456789", 4))
PATHS["/file/memory"] = filed(lambda call: Memory(call, CONTENT))
PATHS["/file/object"] = filed(lambda _: Reader(CONTENT))
PATHS["/file/empty"] = filed(lambda call: Real(call, b""))


# Checked by the standard library.


def validated(call: Call, environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
    call["closable"] = True

    def plain(inner: "WSGIEnvironment", begin: "StartResponse") -> Iterable[bytes]:
        call["body"] = inner["wsgi.input"].read(int(inner.get("CONTENT_LENGTH") or 0)).decode("latin-1")
        return Body(call, answer(begin, b"valid"))

    return validator(plain)(environ, start)


PATHS["/validate"] = validated
