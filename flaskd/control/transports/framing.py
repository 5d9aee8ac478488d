"""From bytes to messages and back, without a socket: what a connection needs to know of the protocol on it.

Two protocols are spoken: one JSON object a line (`LineFraming`), and ZMTP (`flaskd.control.transports.zmtp`).
"""

from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

from flaskd_ctl import errors
from flaskd_ctl.protocol import MAX_MESSAGE

BLANK: Final = b" \t\r\n\x0b\x0c"  # as bytes.strip() has it


class NotThisProtocol(Exception):
    """The peer speaks something else: nothing can be said to it."""


class Message(NamedTuple):
    """A message of one frame; over ZeroMQ, the frames that came before it."""

    body: bytes
    before: Sequence[bytes] = ()


NO_MESSAGE: Final = Message(b"")
"""What was read was meant for the protocol itself, and more may follow. Compare by identity."""


class Framing(Protocol):
    """One connection's reader and writer.

    `handshaken`: whether messages may be sent. `unasked`: whether one may be sent that answers none.
    """

    handshaken: bool
    unasked: bool

    def feed(self, data: bytes | memoryview) -> None:
        """Take bytes from the peer."""

    def end(self) -> None:
        """Take the end of the stream."""

    @property
    def pending(self) -> bool:
        """Whether there are bytes that no message has used up yet."""

    def next(self) -> Message | None:
        """Return the next message, or NO_MESSAGE; None where more bytes have to come first.

        Raises TooLarge for one that is too long, and NotThisProtocol.
        """

    def to_send(self) -> bytes:
        """Return what the protocol itself wants to say: a greeting, an answer to a ping."""

    def wrap(self, message: bytes, *, enveloped: bool) -> bytes:
        """Return the bytes of a message to the peer."""


class LineFraming:
    """A message is a line. A last line needs no newline."""

    handshaken = True
    unasked = True

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._searched = 0  # bytes without a newline

    def feed(self, data: bytes | memoryview) -> None:
        """Take bytes from the peer."""
        self._buffer += data

    def end(self) -> None:
        """Take what is left for a line."""
        if self._buffer.strip():
            self._buffer += b"\n"

    @property
    def pending(self) -> bool:
        """Whether a line has begun."""
        return bool(self._buffer)

    def next(self) -> Message | None:
        """Return the next line that is not blank."""
        if not self._searched and self._buffer[:1].isspace():
            self._buffer = self._buffer.lstrip(BLANK)
        end = self._buffer.find(b"\n", self._searched)
        if (end if end >= 0 else len(self._buffer)) > MAX_MESSAGE:
            raise errors.TooLarge(
                f"a message is at most {MAX_MESSAGE} bytes", hint="the connection is closed"
            )
        if end < 0:
            self._searched = len(self._buffer)
            return None
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        self._searched = 0
        return Message(line)

    def to_send(self) -> bytes:
        """Say nothing but replies."""
        return b""

    def wrap(self, message: bytes, *, enveloped: bool) -> bytes:
        """End the line."""
        return message + b"\n"
