"""A request's head that comes in pieces: the same in any, and refused as soon as it is none."""

import pytest
from hypothesis import given, strategies as st

from flaskd.http.request_head import HeadReader
from flaskd.http.syntax import Refused, parse_head

HEAD = b"POST /a?b HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n"


def feed(reader: HeadReader, data: bytes, sizes: list[int]) -> int:
    """Feed `data` in pieces of these sizes, the rest at once; returns how much of it was the head's."""
    at = 0
    for size in [*sizes, len(data)]:
        piece = data[at : at + size]
        if piece:
            count = reader.feed(piece)
            at += count
            if reader.head is not None:
                return at
            assert count == len(piece)
    return at


@given(
    empty=st.sampled_from([b"", b"\r\n", b"\r\n\r\n", b"\n"]),
    sizes=st.lists(st.integers(1, 40)),
    body=st.sampled_from([b"", b"data", b"\r\n\r\n"]),
)
def test_the_pieces_do_not_matter(empty: bytes, sizes: list[int], body: bytes) -> None:
    """Empty lines before it are skipped (RFC 9112, section 2.2), and nothing behind it is taken."""
    reader = HeadReader(1000)
    assert feed(reader, empty + HEAD + body, sizes) == len(empty + HEAD)
    assert reader.head == parse_head(HEAD)


@pytest.mark.parametrize("size", [1, 7, 1000])
@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\x16\x03\x01", 400),  # TLS
        (b"\r\n\x16", 400),
        (b"GET /\r\n", 400),  # HTTP/0.9 sends nothing more
        (b"\r\nGET / HTTP/2.0\r\n", 400),
        (b"GET / HTTP/1.1\nHost: x\n\n", 400),  # ends that are none
        (b"\r\n" * 60, 414),
        (b"GET /" + b"a" * 100, 414),
        (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 20, 431),
        (b"\r\n" * 40 + HEAD, 431),
    ],
)
def test_it_is_refused_as_soon_as_there_is_a_reason(data: bytes, status: int, size: int) -> None:
    """Nobody waits for the end of what is no head, or a head that has none."""
    with pytest.raises(Refused) as caught:
        feed(HeadReader(100), data, [size] * len(data))
    assert caught.value.status == status
