"""What the gateway takes for a proof, and for one host; and that no client makes libzmq end the process."""

import subprocess
import sys
from pathlib import Path

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


LEAVING = """
import asyncio, socket, sys, zmq
from flaskd.control.tcp.gateway import Gateway
from flaskd.listening.addresses import bind

GREETING = b"\\xff" + bytes(8) + b"\\x7f\\x03\\x01" + b"NULL".ljust(20, b"\\0") + bytes(32)
READY = b"\\x04\\x29\\x05READY\\x0bSocket-Type\\0\\0\\0\\x06DEALER\\x08Identity\\0\\0\\0\\0"
PING = b"\\x04\\x07\\x04PING\\0\\0"

async def main(path):
    with zmq.Context() as context, context.socket(zmq.ROUTER) as router:
        router.setsockopt(zmq.RCVHWM, 1)
        router.setsockopt(zmq.RCVTIMEO, 5000)
        router.bind(f"ipc://{path}")
        gateway = Gateway(path)
        listener = bind("127.0.0.1:0", backlog=8)
        await gateway.open([listener])
        reader, writer = await asyncio.open_connection(*listener.socket.getsockname())
        writer.write(GREETING + READY)
        await reader.readexactly(len(GREETING))
        writer.write(40 * b"\\0\\x05hello" + PING)
        await writer.drain()
        while not router.poll(0):
            await asyncio.sleep(0.01)
        writer.close()
        while gateway._clients:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.3)  # in which libzmq sees what there is to be seen
        for _ in range(40):
            router.recv_multipart()
        while gateway._leaving:
            await asyncio.sleep(0.01)
        await gateway.stop_accepting()

asyncio.run(asyncio.wait_for(main(sys.argv[1]), 20))
"""


def test_a_client_that_leaves_messages_behind_harms_nobody(tmp_path: Path) -> None:
    """libzmq 4.3.5 aborts the process if a connection is closed while a PING waits behind messages that nobody has read."""
    program = [sys.executable, "-c", LEAVING, str(tmp_path / "zmq")]
    run = subprocess.run(program, capture_output=True, text=True, timeout=30)
    assert (run.returncode, run.stderr) == (0, "")
