"""HTTP/1.x heads and chunked bodies: what is accepted is read in one way only, and the rest is refused."""

import itertools
import string

import pytest
from hypothesis import given, strategies as st

from flaskd.http.syntax import Chunks, Head, Refused, may_begin, parse_head

TOKENS = st.text(string.ascii_letters + string.digits + "!#$%&'*+-.^_`|~", min_size=1, max_size=20)
VALUES = st.binary(max_size=30).map(
    lambda data: bytes(byte for byte in data if byte in b"\t" or (byte > 31 and byte != 127)).strip(b" \t")
)
TARGETS = st.binary(max_size=40).map(
    lambda data: b"/" + bytes(byte for byte in data if byte > 32 and byte != 127)
)
SPECIAL = {"host", "content-length", "transfer-encoding", "connection", "expect"}
FIELDS = st.lists(st.tuples(TOKENS.filter(lambda name: name.lower() not in SPECIAL), VALUES), max_size=8)

NEARLY = st.lists(
    st.sampled_from(
        [
            b"GET", b"POST", b" ", b"/", b"*", b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0", b"\r\n", b"\r", b"\n", b"\0", b"\t", b":",
            b"Host", b"Host: x", b"Content-Length: 3", b"Content-Length:", b"Transfer-Encoding: chunked", b"chunked", b",",
            b"Connection: close", b"Expect: 100-continue", b"http://", b"[::1]", b"%", b"\xff", b"-1", b"\x80",
        ]
    ),
    max_size=25,
).map(b"".join)  # fmt: skip


def spelled(method: bytes, target: bytes, *fields: bytes, version: bytes = b"HTTP/1.1") -> bytes:
    return b"\r\n".join([b"%b %b %b" % (method, target, version), *fields, b"", b""])


@given(st.one_of(st.binary(max_size=300), NEARLY, NEARLY.map(lambda head: head + b"\r\n\r\n")))
def test_any_bytes_are_a_head_or_refused(data: bytes) -> None:
    """With a status for the client, and nothing else raised; what is a head is free of line ends and NUL."""
    outcome = outcome_of(data)
    if isinstance(outcome, Refused):
        assert outcome.status in {400, 413, 417, 431, 501}
        assert outcome.reason.isprintable()
    else:
        texts = [outcome.method, outcome.target, *(text for field in outcome.fields for text in field)]
        assert not set("\r\n\0") & set("".join(texts))
        assert may_begin(data)


def outcome_of(data: bytes) -> Head | Refused:
    try:
        return parse_head(data)
    except Refused as refused:
        return refused


@given(TOKENS.filter(lambda method: method != "CONNECT"), TARGETS, FIELDS)
def test_what_is_accepted_is_what_was_sent(
    method: str, target: bytes, fields: list[tuple[str, bytes]]
) -> None:
    """Field by field, byte by byte; spelled out again it is the same head."""
    lines = [b"Host: x", *(b"%b: \t%b " % (name.encode(), value) for name, value in fields)]
    head = parse_head(spelled(method.encode(), target, *lines))
    assert (head.method, head.target) == (method, target.decode("latin-1"))
    assert head.fields[1:] == [(name, value.decode("latin-1")) for name, value in fields]
    again = [f"{name}: {value}".encode("latin-1") for name, value in head.fields]
    assert parse_head(spelled(head.method.encode(), head.target.encode("latin-1"), *again)) == head


@pytest.mark.parametrize(
    ("lines", "length", "chunked"),
    [
        ([], None, False),
        ([b"Content-Length: 12"], 12, False),
        ([b"content-length:\t012 "], 12, False),
        ([b"Transfer-Encoding: Chunked"], None, True),
        ([b"Transfer-Encoding: chunked", b"Content-Length: 3"], None, True),
    ],
)
def test_the_length_of_a_body_is_known(lines: list[bytes], length: int | None, *, chunked: bool) -> None:
    """RFC 9112, section 6.3."""
    head = parse_head(spelled(b"POST", b"/", b"Host: x", *lines))
    assert (head.length, head.chunked) == (length, chunked)
    assert head.close is (len(lines) == 2)  # both: the connection is not to be trusted any more


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"Content-Length: ", 400),
        (b"Content-Length: +3", 400),
        (b"Content-Length: 0x3", 400),
        (b"Content-Length: 3, 3", 400),
        (b"Content-Length: \xb2", 400),
        (b"Content-Length: 9999999999999999999", 413),
        (b"Transfer-Encoding: gzip", 501),
        (b"Transfer-Encoding: chunked, gzip", 501),
        (b"Transfer-Encoding: chunked, chunked", 400),
        (b"Transfer-Encoding: ", 400),
        (b"Transfer-Encoding: xchunked", 501),
        (b"Transfer-Encoding : chunked", 400),
        (b"Transfer-Encoding\t: chunked", 400),
        (b" Transfer-Encoding: chunked", 400),
        (b"Host: y", 400),
        (b"Expect: 200-ok", 417),
    ],
)
def test_what_two_programs_could_read_in_two_ways_is_refused(line: bytes, status: int) -> None:
    """RFC 9112, section 11.2: request smuggling."""
    with pytest.raises(Refused) as refused:
        parse_head(spelled(b"POST", b"/", b"Host: x", line))
    assert refused.value.status == status


@pytest.mark.parametrize(
    ("version", "line", "close"),
    [
        (b"HTTP/1.1", b"A: b", False),
        (b"HTTP/1.1", b"Connection: x , CLOSE", True),
        (b"HTTP/1.0", b"A: b", True),
        (b"HTTP/1.0", b"Connection: keep-alive", False),
    ],
)
def test_a_head_says_whether_its_connection_is_kept(version: bytes, line: bytes, *, close: bool) -> None:
    """RFC 9112, section 9.3."""
    assert parse_head(spelled(b"GET", b"/", b"Host: x", line, version=version)).close is close


@pytest.mark.parametrize(
    ("version", "lines", "continues"),
    [
        (b"HTTP/1.1", [b"Content-Length: 1"], True),
        (b"HTTP/1.1", [b"Transfer-Encoding: chunked"], True),
        (b"HTTP/1.1", [b"Content-Length: 0"], False),
        (b"HTTP/1.1", [], False),
        (b"HTTP/1.0", [b"Content-Length: 1"], False),
    ],
)
def test_only_a_client_that_waits_is_asked_to_continue(
    version: bytes, lines: list[bytes], *, continues: bool
) -> None:
    """RFC 9110, section 10.1.1."""
    head = parse_head(spelled(b"POST", b"/", b"Host: x", b"Expect: 100-Continue", *lines, version=version))
    assert head.continues is continues


def test_too_many_fields_are_431() -> None:
    """And as many as there may be are not."""
    assert len(parse_head(spelled(b"GET", b"/", b"Host: x", *[b"A: b"] * 99)).fields) == 100
    with pytest.raises(Refused) as refused:
        parse_head(spelled(b"GET", b"/", b"Host: x", *[b"A: b"] * 100))
    assert refused.value.status == 431


# --- chunked bodies

PIECES = st.lists(st.binary(min_size=1, max_size=50), max_size=6)
EXTENSIONS = st.sampled_from([b"", b";a", b" ;a=b", b';a="b c"'])


@st.composite
def bodies(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """A body, and how it is sent in chunks, with extensions and trailers."""
    sent = b""
    pieces = draw(PIECES)
    for piece in pieces:
        size = draw(st.sampled_from([b"%x", b"%X", b"00%x"])) % len(piece)
        sent += size + draw(EXTENSIONS) + b"\r\n" + piece + b"\r\n"
    trailers = draw(st.sampled_from([b"", b"A: b\r\n", b"A: b\r\nC:\r\n"]))
    return b"".join(pieces), sent + b"0" + draw(EXTENSIONS) + b"\r\n" + trailers + b"\r\n"


def fed(data: bytes, cuts: list[int]) -> tuple[bytes, int, bool]:
    """Feed data in pieces that begin at `cuts`; returns what it says, how much of it was the body, and whether it was all."""
    chunks = Chunks()
    said, used = b"", 0
    ends = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    for begin, end in itertools.pairwise(ends):
        more, count = chunks.feed(data[begin:end])
        said += more
        used += count
        assert count == end - begin or chunks.done
        if chunks.done:
            break
    return said, used, chunks.done


@given(bodies(), st.lists(st.integers(0, 1000), max_size=10), st.binary(max_size=20))
def test_a_chunked_body_is_the_same_in_any_pieces(
    body: tuple[bytes, bytes], cuts: list[int], behind: bytes
) -> None:
    """What is behind it is not a part of it."""
    said, sent = body
    assert fed(sent + behind, cuts) == (said, len(sent), True)


@given(bodies(), st.integers(0, 1000), st.lists(st.integers(0, 1000), max_size=5))
def test_a_body_that_breaks_off_is_not_complete(body: tuple[bytes, bytes], cut: int, cuts: list[int]) -> None:
    """Anywhere before its last byte; what it says until then is a beginning of the whole."""
    said, sent = body
    part = sent[: cut % len(sent)]
    begun, used, done = fed(part, cuts)
    assert not done
    assert used == len(part)
    assert said.startswith(begun)


ODD = st.lists(
    st.sampled_from(
        [b"\r\n", b"\n", b"\r", b"0", b"1", b"f", b"F" * 16, b"-", b"+", b"0x", b";", b" ", b"A: b", b"\0"]
    )
).map(b"".join)


@given(st.one_of(ODD, st.binary(max_size=100)), st.lists(st.integers(0, 1000), max_size=5))
def test_any_bytes_are_a_body_or_refused_in_any_pieces(data: bytes, cuts: list[int]) -> None:
    """And never more than was sent."""
    results = [said_by(data, pieces) for pieces in ([], cuts)]
    assert results[0] == results[1]
    if results[0] is not None:
        assert len(results[0][0]) <= results[0][1] <= len(data)


def said_by(data: bytes, cuts: list[int]) -> tuple[bytes, int, bool] | None:
    try:
        return fed(data, cuts)
    except Refused:
        return None


@pytest.mark.parametrize(
    "data",
    [
        b"5\r\nhelloX\r\n",
        b"5\r\nhello\n",
        b"5\nhello\r\n",
        b"\r\n",
        b" 5\r\n",
        b"5 \r\n",
        b"5;a\x00\r\n",
        b"5;" + b"a" * 5000,
        b"1" + b"0" * 15 + b"\r\n",
        b"0\r\nA B: c\r\n",
        b"0\r\n A: c\r\n",
        b"1;aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\na\r\n" * 1000,
    ],
)
def test_what_is_no_chunk_is_refused(data: bytes) -> None:
    """As soon as it is seen."""
    with pytest.raises(Refused):
        Chunks().feed(data)


def test_head_is_a_plain_value() -> None:
    """Engines and tests make them by hand."""
    head = parse_head(b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n")
    assert head == Head("OPTIONS", "*", "*", "", "HTTP/1.1", [("Host", "x")], None, False, False, False)
