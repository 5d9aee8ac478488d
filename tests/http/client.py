"""A raw HTTP client: it sends the bytes of a case in steps, and says exactly what came back.

Its parser is strict where a client must be able to rely on a server (RFC 9112, sections 4 to 7): what is not HTTP is a fault.
Whether a connection was kept is found out by a further request on it, the probe, and not by waiting.
"""

import enum
import re
import select
import socket
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

PATIENCE: Final = 10.0
"""Seconds after which something that should have happened has not."""

PROBE: Final = b"GET /_probe HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
PROBED: Final = b"probed"

_NAME: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_STATUS: Final = re.compile(rb"(HTTP/1\.[01]) ([1-9][0-9]{2}) [\t\x20-\x7e\x80-\xff]*")
_FIELD: Final = re.compile(rb"(%b):[ \t]*([\t\x20-\x7e\x80-\xff]*?)[ \t]*" % _NAME)
_CHUNK: Final = re.compile(rb"([0-9A-Fa-f]{1,15})(?:;[\t\x20-\x7e\x80-\xff]*)?")


class Pause(NamedTuple):
    """Send nothing for a while, so that what follows is a segment of its own."""

    seconds: float


class Until(NamedTuple):
    """Read until these bytes have come."""

    data: bytes


class Tell(NamedTuple):
    """Ask for this path on another connection."""

    path: str


class HalfClose(NamedTuple):
    """Close our sending side (TCP FIN), and go on reading."""


class Leave(NamedTuple):
    """Close the connection: with a FIN, or with a reset."""

    reset: bool = False


class Bytewise(NamedTuple):
    """Send each byte in a segment of its own."""

    data: bytes


Step = bytes | Pause | Until | Tell | HalfClose | Leave | Bytewise


class Ending(enum.Enum):
    """What became of the connection."""

    KEPT = "kept"
    """The probe was answered."""
    CLOSED = "closed"
    RESET = "reset"
    OPEN = "left open"
    """Nothing more came, nor its end."""
    LEFT = "left by the client"


@dataclass
class Response:
    """One response as far as it came; `whole` where its end has come as its framing has it."""

    version: str
    status: int
    headers: list[tuple[str, str]]
    body: bytes = b""
    whole: bool = False
    framed: bool = True
    """Its end is not the connection's end."""

    def get(self, name: str) -> str | None:
        """Return a header's value, several joined."""
        found = [value for each, value in self.headers if each.lower() == name.lower()]
        return ", ".join(found) if found else None

    @property
    def options(self) -> list[str]:
        """What its Connection header says."""
        return [each.strip().lower() for each in (self.get("connection") or "").split(",")]


@dataclass
class Seen:
    """What a case's connection has shown."""

    ending: Ending
    responses: list[Response] = field(default_factory=list)
    interim: list[int] = field(default_factory=list)
    fault: str = ""
    """What is not HTTP in what came."""
    raw: bytes = b""

    @property
    def summary(self) -> str:
        """What came, in a few words."""
        parts = [f"{each.status}{'' if each.whole else ' incomplete'}" for each in self.responses]
        return ", ".join(
            [*(parts or ["no response"]), self.ending.value, *([self.fault] if self.fault else [])]
        )


class NotHttpError(Exception):
    """The bytes are no HTTP/1.x response."""


def exchange(
    address: tuple[str, int], steps: Sequence[Step], *, expected: int, methods: Sequence[str], old: bool
) -> Seen:
    """Carry out `steps` on a connection of their own; read `expected` responses and what becomes of the connection.

    `methods` are those of the requests, `old` says that they are HTTP/1.0.
    """
    with _Exchange(address, [each == "HEAD" for each in methods]) as client:
        return client.run(steps, expected, old)


def get(address: tuple[str, int], path: str, *, timeout: float = PATIENCE) -> bytes:
    """Return the body of a plain GET; raises OSError where there is none, or not within `timeout` seconds."""
    deadline = time.monotonic() + timeout
    with socket.create_connection(address, timeout=timeout) as sock:
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        raw = b""
        while True:
            sock.settimeout(max(0.001, deadline - time.monotonic()))
            data = sock.recv(65536)
            raw += data
            seen = parse(raw, [False], ended=not data)
            if seen.responses and seen.responses[0].whole:
                if seen.responses[0].status != 200:
                    raise OSError(f"{path} was answered {seen.responses[0].status}")
                return seen.responses[0].body
            if not data:
                raise OSError(f"{path} was answered {seen.summary}")


class _Exchange:
    def __init__(self, address: tuple[str, int], heads: list[bool]) -> None:
        self.address = address
        self.heads = [*heads, False]  # the last one is the probe
        self.raw = b""
        self.ending: Ending | None = None
        self.writable = True
        self.deadline = time.monotonic() + PATIENCE

    def __enter__(self) -> "_Exchange":
        self.sock = socket.create_connection(self.address, timeout=PATIENCE)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.setblocking(False)
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def run(self, steps: Sequence[Step], expected: int, old: bool) -> Seen:
        for step in steps:
            match step:
                case bytes():
                    self.send(step)
                case Bytewise():
                    for at in range(len(step.data)):
                        self.send(step.data[at : at + 1])
                        self.read(0.001)
                case Pause():
                    self.read(step.seconds)
                case Until():
                    while step.data not in self.raw and self.read():
                        pass
                case Tell():
                    get(self.address, step.path)
                case HalfClose():
                    self.writable = False
                    if self.ending is None:
                        self.sock.shutdown(socket.SHUT_WR)
                case Leave():
                    if step.reset:
                        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    self.sock.close()
                    seen = parse(self.raw, self.heads, ended=False)
                    seen.ending = Ending.LEFT
                    return seen
        return self.finish(expected, old)

    def finish(self, expected: int, old: bool) -> Seen:
        probed = False
        while True:
            seen = parse(self.raw, self.heads, ended=self.ending is Ending.CLOSED)
            seen.ending = self.ending or Ending.OPEN
            got = [each for each in seen.responses if each.whole]
            if self.ending is not None or seen.fault:
                break
            if probed and len(got) > expected:
                seen.ending = Ending.KEPT
                break
            if not probed and self.writable and len(got) == expected and reusable(got[-1], old):
                probed = True
                self.send(PROBE)
            if not self.read():
                break
        if probed and len(seen.responses) > expected:
            answer = seen.responses.pop()
            if answer.body != PROBED:
                seen.fault = (
                    seen.fault or f"the next request was answered {answer.status} {answer.body[:40]!r}"
                )
        return seen

    def send(self, data: bytes) -> None:
        """Send all of it, and read meanwhile; what the server does not take any more is not sent."""
        while data and self.ending is None and time.monotonic() < self.deadline:
            readable, writable, _ = select.select(
                [self.sock], [self.sock], [], max(0.0, self.deadline - time.monotonic())
            )
            if readable:
                self.receive()
            if writable and self.ending is None:
                try:
                    data = data[self.sock.send(data) :]
                except BlockingIOError:
                    continue
                except (BrokenPipeError, ConnectionResetError):
                    return  # reading tells how it ended

    def read(self, seconds: float | None = None) -> bool:
        """Wait for more; returns false when it did not come, or the connection has ended."""
        left = self.deadline - time.monotonic() if seconds is None else seconds
        if self.ending is not None or left <= 0:
            return False
        if not select.select([self.sock], [], [], left)[0]:
            return False
        self.receive()
        return True

    def receive(self) -> None:
        try:
            data = self.sock.recv(262144)
        except BlockingIOError:
            return
        except OSError:
            self.ending = Ending.RESET
            return
        self.raw += data
        if not data:
            self.ending = Ending.CLOSED


def reusable(response: Response, old: bool) -> bool:
    """Tell whether a server lets its client send another request after this response (RFC 9112, section 9.3)."""
    options = response.options
    if not response.framed or "close" in options:
        return False
    return "keep-alive" in options if old else response.version == "HTTP/1.1"


def parse(raw: bytes, heads: Sequence[bool], *, ended: bool) -> Seen:
    """Read all responses in `raw`; `heads` says which of them are to HEAD, `ended` that the connection was closed."""
    seen = Seen(Ending.OPEN, raw=raw)
    try:
        rest = _all(seen, heads, ended=ended)
    except NotHttpError as error:
        seen.fault = str(error)
    else:
        if rest:
            seen.fault = f"bytes that belong to no response: {rest[:40]!r}"
    return seen


def _all(seen: Seen, heads: Sequence[bool], *, ended: bool) -> bytes:
    """Read responses into `seen`; returns what belongs to none, if that is known already."""
    rest = seen.raw
    for head in heads:
        while True:
            response, rest = _one(rest, head=head, ended=ended)
            if response is None:
                return rest if ended else b""  # half a head
            if response.status >= 200 or response.status == 101:
                break
            seen.interim.append(response.status)
        seen.responses.append(response)
        if not response.whole:
            return b""
    return rest


def _one(raw: bytes, *, head: bool, ended: bool) -> tuple[Response | None, bytes]:
    end = raw.find(b"\r\n\r\n")
    if end < 0:
        if raw[:7] != b"HTTP/1."[: len(raw)]:
            raise NotHttpError(f"no status line: {raw[:40]!r}")
        return None, raw
    response = _head(raw[:end])
    rest = raw[end + 4 :]
    lengths = [value for name, value in response.headers if name.lower() == "content-length"]
    coding = response.get("transfer-encoding")
    if coding is not None and (lengths or response.version == "HTTP/1.0" or coding.lower() != "chunked"):
        raise NotHttpError(f"Transfer-Encoding {coding!r} beside {lengths}, {response.version}")
    if any(not each.isascii() or not each.isdigit() for each in lengths) or len(set(lengths)) > 1:
        raise NotHttpError(f"Content-Length {lengths}")
    if response.status < 200 or response.status == 204:
        if lengths or coding:  # RFC 9110, section 8.6; RFC 9112, section 6.1
            raise NotHttpError(f"{response.status} with a Content-Length or a Transfer-Encoding")
        response.whole = True
    elif head or response.status == 304:
        response.whole = True
    elif coding is not None:
        rest = _chunks(response, rest)
    elif lengths:
        length = int(lengths[0])
        response.body, rest = rest[:length], rest[length:]
        response.whole = len(response.body) == length
    else:
        response.body, rest = rest, b""
        response.whole, response.framed = ended, False
    return response, rest


def _head(head: bytes) -> Response:
    first, *lines = head.split(b"\r\n")
    status = _STATUS.fullmatch(first)
    if status is None:
        raise NotHttpError(f"no status line: {first[:60]!r}")
    headers = []
    for line in lines:
        match = _FIELD.fullmatch(line)
        if match is None:
            raise NotHttpError(f"no header line: {line[:60]!r}")
        headers.append((match[1].decode(), match[2].decode("latin-1")))
    return Response(status[1].decode(), int(status[2]), headers)


def _chunks(response: Response, raw: bytes) -> bytes:
    """Read a chunked body into `response`; returns what comes after it."""
    pieces: list[bytes] = []
    at = 0
    while (end := raw.find(b"\r\n", at)) >= 0:
        match = _CHUNK.fullmatch(raw, at, end)
        if match is None:
            raise NotHttpError(f"no chunk size: {raw[at:end][:40]!r}")
        size = int(match[1], 16)
        begin = end + 2
        if size == 0:
            if raw[begin : begin + 2] == b"\r\n":  # no server here sends trailers
                response.whole = True
                at = begin + 2
            break
        pieces.append(raw[begin : begin + size])
        if len(raw) < begin + size + 2:
            break
        if raw[begin + size : begin + size + 2] != b"\r\n":
            raise NotHttpError("a chunk does not end where it said")
        at = begin + size + 2
    response.body = b"".join(pieces)
    return raw[at:] if response.whole else b""
