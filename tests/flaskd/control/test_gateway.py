"""What the gateway takes for a proof, and for one host."""

import pytest
from hypothesis import given, strategies as st

from flaskd.control.tcp.gateway import BEFORE_READY, find_ready, network_of

PREFACE = bytes(BEFORE_READY)
"""What libzmq says to everybody: a greeting and WELCOME."""

READY = PREFACE + b"\x04\x20" + b"\x05READY" + bytes(26)
LONG_READY = PREFACE + b"\x06" + (300).to_bytes(8) + b"\x05READY" + bytes(294)


def told(said: bytes, cuts: list[int]) -> bool:
    """Whether it was seen when it came in pieces."""
    seen, edges = b"", sorted(cut % (len(said) + 1) for cut in cuts)
    for start, end in zip([0, *edges], [*edges, len(said)], strict=True):
        seen, known = find_ready(seen, said[start:end])
        if known:
            return True
    return False


@given(cuts=st.lists(st.integers(0, 2000), max_size=8), ready=st.sampled_from([READY, LONG_READY]))
def test_ready_is_seen_however_it_is_cut(cuts: list[int], ready: bytes) -> None:
    """TCP keeps no boundaries."""
    assert told(ready, cuts)


@given(cuts=st.lists(st.integers(0, 2000), max_size=8), rest=st.binary(max_size=400))
def test_nothing_else_is_taken_for_it(cuts: list[int], rest: bytes) -> None:
    """An ERROR, or whatever else follows WELCOME, lets nobody count as known."""
    for said in (
        PREFACE + b"\x04\x07\x05ERROR" + rest,
        rest[:BEFORE_READY],
        PREFACE + b"\x04\x06\x05READX" + rest,
    ):
        assert not told(said, cuts)


def test_what_is_kept_for_looking_is_bounded() -> None:
    """However much a stranger makes libzmq say."""
    seen = b""
    for _ in range(1000):
        seen, _ = find_ready(seen, bytes(65_536))

    assert len(seen) < BEFORE_READY + 32


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("fe80::1%eth0", "fe80::2%eth1", True),
    ],
)
def test_addresses_of_one_host_are_one(one: str, other: str, same: bool) -> None:
    """Who has an IPv6 address has a /64 of them."""
    assert (network_of(one) == network_of(other)) is same
