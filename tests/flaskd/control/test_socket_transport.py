"""The transport of a control connection: what has come is read at once, what is written arrives, and the end is told once."""

import asyncio
import socket
import struct
from collections.abc import Callable, Coroutine
from typing import Any, cast

import pytest

from flaskd.control.transports.socket_transport import HIGH_WATER, SocketTransport

WAIT = 30
MUCH = 32 * HIGH_WATER
"""More than a socket holds, and more than is kept before the protocol is paused."""


class Recorder(asyncio.BufferedProtocol):
    """Keeps what it is told; `answers` is sent for whatever is read, `fails` raises instead."""

    def __init__(self, *, answers: bytes = b"", fails: bool = False) -> None:
        self.told: list[str] = []
        self.read = b""
        self.lost = asyncio.Event()
        self._buffer = bytearray(1024)
        self._answers = answers
        self._fails = fails

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(SocketTransport, transport)

    def get_buffer(self, sizehint: int) -> bytearray:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self._fails:
            raise RuntimeError("a fault of the protocol's")
        self.read += self._buffer[:nbytes]
        if self._answers:
            self.transport.write(self._answers)

    def eof_received(self) -> bool:
        self.told.append("end")
        return True

    def pause_writing(self) -> None:
        self.told.append("pause")

    def resume_writing(self) -> None:
        self.told.append("resume")

    def connection_lost(self, exc: Exception | None) -> None:
        self.told.append("lost")
        self.lost.set()


def run(
    main: Callable[[SocketTransport, Recorder, socket.socket], Coroutine[Any, Any, None]], **how: Any
) -> None:
    """Run `main` with a transport that is not yet open, its protocol, and the peer's end."""

    async def running() -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            theirs.setblocking(False)
            protocol = Recorder(**how)
            await asyncio.wait_for(main(SocketTransport(ours, protocol), protocol, theirs), WAIT)

    asyncio.run(running())


async def read_all(theirs: socket.socket) -> bytes:
    """Read until the end."""
    loop, found = asyncio.get_running_loop(), bytearray()
    while data := await loop.sock_recv(theirs, 1 << 20):
        found += data
    return bytes(found)


def test_what_was_sent_before_it_is_open_is_answered_before_the_loop_goes_on() -> None:
    """Who connects and asks waits for no other round of the loop."""

    async def main(transport: SocketTransport, protocol: Recorder, theirs: socket.socket) -> None:
        theirs.send(b"question")
        transport.open()
        assert (protocol.read, theirs.recv(100)) == (b"question", b"answer")

    run(main, answers=b"answer")


def test_what_comes_later_is_read_too_and_nothing_while_reading_is_paused() -> None:
    """The kernel keeps it until then."""

    async def main(transport: SocketTransport, protocol: Recorder, theirs: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        transport.open()
        theirs.send(b"first")
        assert await loop.sock_recv(theirs, 100) == b"answer"
        transport.pause_reading()
        theirs.send(b"second")
        for _ in range(5):
            await asyncio.sleep(0)
        assert (protocol.read, transport.is_reading()) == (b"first", False)
        transport.resume_reading()
        assert await loop.sock_recv(theirs, 100) == b"answer"
        assert protocol.read == b"firstsecond"

    run(main, answers=b"answer")


def test_a_peer_that_reads_late_pauses_writing_and_gets_every_byte_in_order() -> None:
    """The protocol is told when it may write again."""
    sent = b"".join(struct.pack("I", number) for number in range(MUCH // 4))

    async def main(transport: SocketTransport, protocol: Recorder, theirs: socket.socket) -> None:
        transport.open()
        transport.write(sent[:1000])
        transport.write(sent[1000:])
        assert protocol.told == ["pause"]
        got = bytearray()
        while len(got) < len(sent):
            got += await asyncio.get_running_loop().sock_recv(theirs, 1 << 16)
        await asyncio.sleep(0)
        assert (bytes(got), protocol.told) == (sent, ["pause", "resume"])

    run(main)


@pytest.mark.parametrize("unsent", [0, MUCH])
def test_close_sends_what_was_written_first(unsent: int) -> None:
    """It ends at once if all is sent."""

    async def main(transport: SocketTransport, protocol: Recorder, theirs: socket.socket) -> None:
        transport.open()
        transport.write(b"x" * unsent)
        transport.close()
        assert protocol.lost.is_set() == (not unsent)
        transport.write(b"too late")
        assert await read_all(theirs) == b"x" * unsent
        await protocol.lost.wait()
        transport.close()
        assert protocol.told.count("lost") == 1

    run(main)


def test_abort_drops_what_is_unsent_and_tells_the_end_once() -> None:
    """The peer gets what the kernel had, and then the end."""

    async def main(transport: SocketTransport, protocol: Recorder, theirs: socket.socket) -> None:
        transport.open()
        transport.write(b"x" * MUCH)
        transport.abort()
        transport.abort()
        await protocol.lost.wait()
        assert 0 < len(await read_all(theirs)) < MUCH
        assert protocol.told == ["pause", "lost"]

    run(main)


def test_the_end_of_what_a_peer_sends_is_told_once_and_the_answer_can_still_be_sent() -> None:
    """The loop would find the end in each of its rounds."""

    async def main(transport: SocketTransport, protocol: Recorder, theirs: socket.socket) -> None:
        theirs.send(b"question")
        theirs.shutdown(socket.SHUT_WR)
        transport.open()
        for _ in range(5):
            await asyncio.sleep(0)
            transport.resume_reading()
        assert (protocol.read, protocol.told, transport.is_reading()) == (b"question", ["end"], False)
        transport.write(b"answer")
        transport.close()
        assert await read_all(theirs) == b"answer"

    run(main)


@pytest.mark.parametrize("writes", [True, False])
def test_a_peer_that_has_gone_ends_it(*, writes: bool) -> None:
    """Whether that is found by reading (data that it left unread resets the connection) or by writing."""

    async def main(transport: SocketTransport, protocol: Recorder, theirs: socket.socket) -> None:
        transport.open()
        transport.write(b"unread")
        theirs.close()
        if writes:
            transport.write(b"more")
        await protocol.lost.wait()
        assert protocol.told == ["lost"]

    run(main)


def test_a_fault_of_the_protocols_ends_its_connection_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Who accepts goes on with the next."""

    async def main(transport: SocketTransport, protocol: Recorder, theirs: socket.socket) -> None:
        theirs.send(b"question")
        transport.open()
        await protocol.lost.wait()
        assert await read_all(theirs) == b""

    run(main, fails=True)
    assert "a connection to the control socket failed" in caplog.text
    assert "a fault of the protocol's" in caplog.text
