"""Parses HTTP/1.x messages (RFC 9112): a request's head, and a chunked body. Pure: bytes in, values out.

The Werkzeug and the waitress engine parse their requests with it; granian has its own parser. It is strict where a lenient
parser lets two programs see two different requests in the same bytes (RFC 9112, section 11.2): no bare CR or LF, no white
space before a colon, no folded lines, one Host, one Content-Length, and no transfer coding but `chunked`. Anything else
raises `Refused` with the status to answer. The connection has to be closed then, because nobody knows where the next request
begins.
"""

import re
from typing import Final, NamedTuple
from urllib.parse import unquote_to_bytes

MAX_FIELDS: Final = 100
"""Header lines that a request may have; more is answered with 431."""

MAX_CHUNK_LINE: Final = 4096
"""Bytes of a chunk's size and extensions."""

MAX_TRAILERS: Final = 65_536
"""Bytes of the fields after a chunked body."""

MAX_EXCESS: Final = 16_384
"""Bytes of chunk extensions in a body, beyond the size of its chunks: else each byte of a body could cost a line."""

MAX_LENGTH_DIGITS: Final = 18
MAX_CHUNK_DIGITS: Final = 15

NAME: Final = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"  # RFC 9110, section 5.6.2
_TOKEN: Final = NAME.encode()
_TARGET: Final = rb"[\x21-\x7e\x80-\xff]+"
_VALUE: Final = (
    rb"[\t\x20-\x7e\x80-\xff]*"  # RFC 9110, section 5.5: no CR, LF, NUL or other control character
)
_HEAD: Final = re.compile(
    rb"(%b) (%b) HTTP/1\.([01])\r\n((?:%b:%b\r\n)*)\r\n" % (_TOKEN, _TARGET, _TOKEN, _VALUE)
)
_FIELD: Final = re.compile(rb"(%b):(%b)\r\n" % (_TOKEN, _VALUE))
_REQUEST_LINE: Final = re.compile(rb"%b %b HTTP/1\.[01]" % (_TOKEN, _TARGET))
_VERSION: Final = re.compile(rb"%b %b (HTTP/[0-9](?:\.[0-9])?)" % (_TOKEN, _TARGET))
HOST: Final = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9\-._~!$&'()*+,;=%]*)(?::[0-9]*)?")
_ABSOLUTE: Final = re.compile(r"https?://([^/?#]+)(.*)", re.IGNORECASE)
_CHUNK_SIZE: Final = re.compile(rb"([0-9A-Fa-f]+)(?:[ \t]*;[\t\x20-\x7e\x80-\xff]*)?")
_FIRST: Final = frozenset(
    b"\r\n!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)


class Refused(Exception):
    """A message is not valid HTTP/1.x, or exceeds a limit. Has the `status` to answer and a sentence for the client."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class Head(NamedTuple):
    """A request's head. Texts are latin-1, one character a byte, as WSGI has them (PEP 3333).

    `target` is as it was sent; `path` has its percent encoding undone, `query` not. `length` is None without Content-Length,
    and for a chunked body. `close`: this is the connection's last request. `continues`: the client waits for 100 Continue.
    """

    method: str
    target: str
    path: str
    query: str
    version: str
    fields: list[tuple[str, str]]
    length: int | None
    chunked: bool
    close: bool
    continues: bool


def may_begin(data: bytes | bytearray) -> bool:
    """Tell whether a request can begin with these bytes. TLS on a plain port cannot, so it is refused at once."""
    return not data or data[0] in _FIRST


def check_line(line: bytes) -> None:
    """Check a request line, with its line end, before the rest of the head has come; raises Refused."""
    if not _REQUEST_LINE.fullmatch(line.removesuffix(b"\n").removesuffix(b"\r")):
        raise _reason(line)


def parse_head(head: bytes) -> Head:
    """Parse a request's head, from its request line through the empty line; raises Refused."""
    match = _HEAD.fullmatch(head)
    if match is None:
        raise _reason(head)
    method, target, minor, block = match.groups()
    fields = [(name.decode(), value.strip(b" \t").decode("latin-1")) for name, value in _FIELD.findall(block)]
    if len(fields) > MAX_FIELDS:
        raise Refused(431, f"The request has more than {MAX_FIELDS} header lines")
    return _make_head(method.decode(), target.decode("latin-1"), minor == b"1", fields)


def _make_head(method: str, target: str, modern: bool, fields: list[tuple[str, str]]) -> Head:
    host = length = coding = None
    closed = kept = continues = False
    for name, value in fields:
        match name.lower():
            case "host":
                if host is not None or not HOST.fullmatch(value):
                    raise Refused(400, "The request has no valid Host")  # RFC 9112, section 3.2
                host = value
            case "content-length":
                if length is not None or not (value.isascii() and value.isdigit()):
                    raise Refused(400, "The request has no valid Content-Length")  # RFC 9112, section 6.3
                if len(value.lstrip("0")) > MAX_LENGTH_DIGITS:
                    raise Refused(413, "The request's body is too large")
                length = int(value)
            case "transfer-encoding":
                coding = value if coding is None else f"{coding}, {value}"
            case "connection":
                options = value.lower().replace(" ", "").replace("\t", "").split(",")
                closed = closed or "close" in options
                kept = kept or "keep-alive" in options
            case "expect":
                if value.lower() != "100-continue":
                    raise Refused(417, "The only expectation that is met is 100-continue")
                continues = modern  # RFC 9110, section 10.1.1
    if host is None and modern:
        raise Refused(400, "The request has no Host")
    if coding is not None:
        check_coding(coding, modern)
        closed = (
            closed or length is not None
        )  # RFC 9112, section 6.1: the sender of both may disagree with us about where the body ends
        length = None
    path, query, authority = _split(method, target)
    if authority is not None:  # RFC 9112, section 3.2.2: it takes the place of Host
        fields = [each for each in fields if each[0].lower() != "host"] + [("Host", authority)]
    if "%" in path:
        path = unquote_to_bytes(path.encode("latin-1")).decode("latin-1")
    chunked = coding is not None
    return tuple.__new__(  # no frame and no keywords, as Head() takes
        Head,
        (
            method,
            target,
            path,
            query,
            "HTTP/1.1" if modern else "HTTP/1.0",
            fields,
            length,
            chunked,
            closed or not (modern or kept),
            continues and (chunked or bool(length)),
        ),
    )


def check_coding(coding: str, modern: bool) -> None:
    codings = [each.strip(" \t").lower() for each in coding.split(",")]
    if not modern:
        raise Refused(
            400, "HTTP/1.0 has no Transfer-Encoding"
        )  # RFC 9112, section 6.1: its framing is faulty
    if codings.count("chunked") == len(codings) > 1 or "" in codings:
        raise Refused(400, "The request has no valid Transfer-Encoding")  # RFC 9112, section 7.1
    if codings != ["chunked"]:
        raise Refused(501, "The only Transfer-Encoding that is understood is chunked")


def _split(method: str, target: str) -> tuple[str, str, str | None]:
    """Return a target's path and query, and its host and port if it has them (RFC 9112, section 3.2)."""
    authority = None
    if method == "CONNECT":
        raise Refused(501, "This server is no proxy")
    if not target.startswith("/") and not (target == "*" and method == "OPTIONS"):
        match = _ABSOLUTE.fullmatch(target)
        if match is None or not HOST.fullmatch(match[1]):
            raise Refused(400, "The request has no valid target")
        authority, target = match[1], match[2]
        if not target.startswith("/"):
            target = f"/{target}"
    path, _, query = target.partition("#")[0].partition("?")
    return path, query, authority


def _reason(head: bytes) -> Refused:
    """Return the reason why a head is not valid."""
    line, _, rest = head.partition(b"\r\n")
    if not _REQUEST_LINE.fullmatch(line):
        version = _VERSION.fullmatch(line)
        if version:
            return Refused(400, f"{version[1].decode()} is not spoken here, only HTTP/1.1 and HTTP/1.0")
        return Refused(400, "The request does not begin with a request line")
    for each in rest.split(b"\r\n"):
        if each[:1] in (b" ", b"\t"):
            return Refused(400, "The request has a folded header line")  # RFC 9112, section 5.2
        if each and not _FIELD.fullmatch(each + b"\r\n"):
            return Refused(400, "The request has an invalid header line")
    return Refused(400, "The request's head is not valid")


class Chunks:
    """Decodes a chunked body (RFC 9112, section 7.1) as its bytes come; ignores extensions and trailers.

    `done` once the last chunk and its trailers have come. A body that ends before that is not complete.
    """

    def __init__(self) -> None:
        self.done = False
        self._left = 0  # bytes of this chunk that are to come; -1: the CRLF after them
        self._line = b""
        self._trailers = -1  # their bytes so far; -1: the last chunk has not come
        self._excess = 0

    def feed(self, data: bytes) -> tuple[bytes, int]:
        """Add bytes; returns the decoded ones, and how many bytes belong to the body. Raises Refused."""
        pieces: list[bytes] = []
        at, end = 0, len(data)
        while at < end and not self.done:
            if self._left > 0:
                piece = data[at : at + self._left]
                pieces.append(piece)
                at += len(piece)
                self._left = self._left - len(piece) or -1
                continue
            newline = data.find(b"\n", at)
            after = end if newline < 0 else newline + 1
            self._line += data[at:after]
            at = after
            if len(self._line) > MAX_CHUNK_LINE:
                raise Refused(400, "A line of the chunked body is too long")
            if newline >= 0:
                line, self._line = self._line, b""
                self._take(line)
        return b"".join(pieces), at

    def _take(self, line: bytes) -> None:
        """Process one whole line."""
        if self._left:
            if line != b"\r\n":
                raise Refused(400, "A chunk is not as long as it says")
            self._left = 0
        elif self._trailers < 0:
            match = _CHUNK_SIZE.fullmatch(line[:-2]) if line.endswith(b"\r\n") else None
            if match is None or len(match[1].lstrip(b"0")) > MAX_CHUNK_DIGITS:
                raise Refused(400, "A chunk has no valid size")
            self._left = int(match[1], 16)
            self._excess = max(0, self._excess + len(line) - 16 - 2 * self._left)
            if self._excess > MAX_EXCESS:
                raise Refused(400, "The chunks have too many extensions")
            if not self._left:
                self._trailers = 0
        elif line == b"\r\n":
            self.done = True
        else:
            self._trailers += len(line)
            if self._trailers > MAX_TRAILERS or not _FIELD.fullmatch(line):
                raise Refused(400, "The chunked body has no valid trailers")
