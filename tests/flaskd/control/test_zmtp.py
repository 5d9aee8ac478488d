"""ZMTP as it is spoken at the local socket: what libzmq sends is understood, everything else ends the connection."""

import pytest

from flaskd.control.transports.framing import NO_MESSAGE, Message, NotThisProtocol
from flaskd.control.transports.zmtp import GREETING, MAX_FRAMES, READY, ZmtpFraming, frame
from flaskd_ctl.errors import TooLarge
from flaskd_ctl.protocol import MAX_MESSAGE


def ready(kind: bytes) -> bytes:
    """The READY command of a socket of this type."""
    properties = b"\x0bSocket-Type" + len(kind).to_bytes(4, "big") + kind + b"\x08Identity\0\0\0\0"
    return frame(b"\x05READY" + properties, flags=4)


def met(kind: bytes = b"DEALER") -> ZmtpFraming:
    """A connection after the handshake."""
    framing = ZmtpFraming()
    framing.feed(GREETING + ready(kind))
    assert framing.next() is NO_MESSAGE
    assert framing.handshaken
    assert framing.to_send() == GREETING + READY
    return framing


def test_a_dealer_sends_one_frame_and_a_req_an_empty_one_before_it() -> None:
    framing = met()
    framing.feed(frame(b"hello") + frame(b"", flags=1) + frame(b"x" * 300))
    assert framing.next() == Message(b"hello", [])
    assert framing.next() == Message(b"x" * 300, [b""])
    assert framing.next() is None
    assert not framing.pending
    assert framing.wrap(b"reply", enveloped=True) == b"\x01\x00\x00\x05reply"


def test_it_may_come_a_byte_at_a_time() -> None:
    framing, messages = ZmtpFraming(), []
    for byte in GREETING + ready(b"REQ") + frame(b"", flags=1) + frame(b"hello"):
        framing.feed(bytes([byte]))
        message = framing.next()
        if message is not None and message is not NO_MESSAGE:
            messages.append(message)
    assert messages == [Message(b"hello", [b""])]


def test_a_ping_is_answered_with_its_context() -> None:
    """RFC 37: a time to live, then at most 16 bytes."""
    framing = met()
    framing.feed(frame(b"\x04PING\x00\x10context", flags=4))
    assert framing.next() is NO_MESSAGE
    assert framing.to_send() == frame(b"\x04PONGcontext", flags=4)


@pytest.mark.parametrize(
    "stream",
    [
        b"GET / HTTP/1.1\r\n",
        b"\x01\x00",  # ZMTP 1
        GREETING[:10] + b"\x01" + GREETING[11:],  # ZMTP 2
        GREETING.replace(b"NULL\0", b"CURVE"),
        GREETING + ready(b"PUB"),
        GREETING + frame(b"hello"),  # before its READY
        GREETING + ready(b"DEALER")[:-1] + b"\x09",  # a property that ends beyond the command
        GREETING + b"\x06" + (1 << 20).to_bytes(8, "big"),  # a command without end
        GREETING + READY.replace(b"READY", b"ERROR"),
        GREETING + ready(b"DEALER") + b"\x08\x00",  # a flag that there is not
        GREETING + ready(b"DEALER") + frame(b"", flags=1) * (MAX_FRAMES + 1),
    ],
)
def test_anything_else_is_another_protocol(stream: bytes) -> None:
    framing = ZmtpFraming()
    framing.feed(stream)
    with pytest.raises(NotThisProtocol):
        read_all(framing)


def read_all(framing: ZmtpFraming) -> None:
    while framing.next() is not None:
        pass


def test_a_message_that_is_too_long_is_refused_by_what_it_announces() -> None:
    """All its frames together; no memory is taken for it."""
    framing = met()
    framing.feed(frame(b"x" * 100, flags=1) + b"\x02" + (MAX_MESSAGE - 99).to_bytes(8, "big"))
    with pytest.raises(TooLarge):
        framing.next()
