"""ZMTP 3, the protocol between ZeroMQ sockets, as a ROUTER speaks it without encryption. No socket here.

See ZeroMQ RFC 23 (ZMTP 3.0) and RFC 37 (3.1). Both sides send a greeting of 64 bytes, then the command READY with the type
of their socket; then come messages, of one or more frames, and commands such as PING. libzmq from 4.0 on speaks it.

A REQ socket sends an empty frame, then the message, and takes exactly one reply, with the empty frame too. A DEALER sends
the message alone, or with an empty frame as a REQ does, and takes notifications as well.

flaskd speaks it itself so that it can count and close connections: libzmq counts none, and aborts the process when it has no
descriptor left. docs/decisions/0071 has more.
"""

from typing import Final

from flaskd.control.transports.framing import NO_MESSAGE, Message, NotThisProtocol
from flaskd_ctl import errors
from flaskd_ctl.protocol import MAX_MESSAGE

GREETING_SIZE: Final = 64
GREETING: Final = (b"\xff" + bytes(8) + b"\x7f\x03\x01" + b"NULL").ljust(GREETING_SIZE, b"\0")
VERSION_AT: Final = 10
MECHANISM: Final = slice(12, 32)
READY: Final = b"\x04\x29\x05READY\x0bSocket-Type\0\0\0\x06ROUTER\x08Identity\0\0\0\0"

MORE, LONG, COMMAND = 1, 2, 4
PEERS: Final = {b"REQ", b"DEALER", b"ROUTER"}
"""Types of socket that may talk to a ROUTER (RFC 28)."""

MAX_FRAMES: Final = 16
MAX_COMMAND: Final = 4096
MAX_CONTEXT: Final = 16  # bytes of a PING that its PONG repeats


class ZmtpFraming:
    """One connection from its greeting on."""

    unasked = False  # a REQ socket expects none

    def __init__(self) -> None:
        self.handshaken = False
        self._buffer = bytearray()
        self._say = bytearray(GREETING)
        self._greeted = False
        self._frames: list[bytes] = []

    def feed(self, data: bytes | memoryview) -> None:
        """Take bytes from the peer."""
        self._buffer += data

    def end(self) -> None:
        """Take the end of the stream: what is not whole is lost."""

    @property
    def pending(self) -> bool:
        """Whether a frame or a message has begun."""
        return bool(self._buffer or self._frames)

    def next(self) -> Message | None:
        """Read up to the end of a command or a message."""
        if not self._greeted and not self._read_greeting():
            return None
        while (read := self._read_frame()) is not None:
            flags, body = read
            if flags & COMMAND:
                self._obey(body)
                return NO_MESSAGE
            self._frames.append(body)
            if not self.handshaken or len(self._frames) > MAX_FRAMES:
                raise NotThisProtocol
            if not flags & MORE:
                *before, last = self._frames
                self._frames = []
                return Message(last, before)
        return None

    def to_send(self) -> bytes:
        """Return what is due of greeting, READY and PONG."""
        due, self._say = bytes(self._say), bytearray()
        return due

    def wrap(self, message: bytes, *, enveloped: bool) -> bytes:
        """Make one frame of it, or two."""
        return (b"\x01\x00" if enveloped else b"") + frame(message)

    def _read_greeting(self) -> bool:
        seen = self._buffer
        if (
            (seen and seen[0] != 0xFF)
            or (len(seen) > 9 and not seen[9] & 1)
            or (len(seen) > VERSION_AT and seen[VERSION_AT] < 3)
        ):
            raise NotThisProtocol
        if len(seen) < GREETING_SIZE:
            return False
        if seen[MECHANISM].rstrip(b"\0") != b"NULL":
            raise NotThisProtocol
        del seen[:GREETING_SIZE]
        self._greeted = True
        self._say += READY
        return True

    def _read_frame(self) -> tuple[int, bytes] | None:
        """Take a frame off the buffer, if it is whole; raise TooLarge before it is, from what it announces."""
        seen = self._buffer
        if len(seen) < 2:
            return None
        flags = seen[0]
        start = 9 if flags & LONG else 2
        if len(seen) < start:
            return None
        size = int.from_bytes(seen[1:start], "big")
        if flags & ~(MORE | LONG | COMMAND) or (flags & COMMAND and (flags & MORE or size > MAX_COMMAND)):
            raise NotThisProtocol
        if size + sum(map(len, self._frames)) > MAX_MESSAGE:
            raise errors.TooLarge(
                f"a message is at most {MAX_MESSAGE} bytes", hint="the connection is closed"
            )
        end = start + size
        if len(seen) < end:
            return None
        body = bytes(seen[start:end])
        del seen[:end]
        return flags, body

    def _obey(self, command: bytes) -> None:
        name, rest = (
            command[1 : 1 + command[0]] if command else b"",
            command[1 + command[0] :] if command else b"",
        )
        if name == b"READY" and not self.handshaken:
            if metadata(rest).get(b"socket-type") not in PEERS:
                raise NotThisProtocol
            self.handshaken = True
        elif not self.handshaken or name == b"ERROR":
            raise NotThisProtocol
        elif name == b"PING":
            self._say += frame(
                b"\x04PONG" + rest[2 : 2 + MAX_CONTEXT], flags=COMMAND
            )  # after its time to live


def frame(body: bytes, *, flags: int = 0) -> bytes:
    """Write one frame: flags, its length in one byte or in eight, the body."""
    if len(body) < 256:
        return bytes((flags, len(body))) + body
    return bytes((flags | LONG,)) + len(body).to_bytes(8, "big") + body


def metadata(data: bytes) -> dict[bytes, bytes]:
    """Read the properties of a READY command, with their names in lower case; raise NotThisProtocol where it is none."""
    found = {}
    while data:
        end = 1 + data[0]
        size = int.from_bytes(data[end : end + 4], "big")
        if len(data) < end + 4 + size:
            raise NotThisProtocol
        found[data[1:end].lower()] = data[end + 4 : end + 4 + size]
        data = data[end + 4 + size :]
    return found
