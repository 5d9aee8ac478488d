"""The private line to a worker: JSON-RPC 2.0, one object a line, over a socketpair that the worker inherits.

We call (`start`, `step_back`, `ping`, …), the worker answers; what it tells by itself are `event` notifications that belong to
the call `start`. Sending never blocks: a worker that is stopped or hung does not read.
"""

import asyncio
import socket
from collections.abc import Callable
from typing import Any, Final

import msgspec

from flaskd_ctl.contract.conversation import Conversation, Lines, Note, Refusal, Reply
from flaskd_ctl.errors import ControlError, ParseError

Answer = dict[str, Any]

AT_ONCE: Final = 65_536
"""Bytes that are read at once."""

MOST_UNREAD: Final = 4 * 1024 * 1024
"""Bytes that a socket may hold; it is some 200 KiB unless an administrator has it otherwise (socket(7), rmem_max)."""


class Channel:
    """Our end of the line, on the running loop, until `close`.

    `on_event` gets what the worker tells; `on_end` is called once, when the worker has closed its end or does not keep to
    the protocol. Calls that have no answer by then are cancelled.
    """

    def __init__(
        self, sock: socket.socket, *, on_event: Callable[[Answer], None], on_end: Callable[[], None]
    ) -> None:
        sock.setblocking(False)
        self._socket = sock
        self._on_event = on_event
        self._on_end = on_end
        self._loop = asyncio.get_running_loop()
        self._conversation = Conversation()
        self._lines = Lines()
        self._calls: dict[int, asyncio.Future[Answer]] = {}
        self._unsent = bytearray()
        self._loop.add_reader(sock, self._read)

    def call(self, method: str, params: Answer | None = None) -> "asyncio.Future[Answer]":
        """Ask; the future gets the result, the worker's ControlError, or is cancelled when the line ends."""
        number, message = self._conversation.call(method, params)
        answer: asyncio.Future[Answer] = self._loop.create_future()
        if self._socket.fileno() < 0:
            answer.cancel()
            return answer
        self._calls[number] = answer
        self._unsent += message + b"\n"
        self._write()
        return answer

    def read_rest(self) -> None:
        """Read what a worker that has ended had still said; a child that it left behind may go on for ever."""
        for _ in range(MOST_UNREAD // AT_ONCE):
            if self._socket.fileno() < 0 or not self._read():
                return

    def close(self) -> None:
        """Let go of the line; harmless twice."""
        if self._socket.fileno() < 0:
            return
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        self._socket.close()
        for answer in self._calls.values():
            answer.cancel()
        self._calls.clear()

    def _read(self) -> bool:
        try:
            data = self._socket.recv(AT_ONCE)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        try:
            for message in self._lines.feed(data):
                self._hear(message)
        except ControlError:
            data = b""  # not our protocol: whoever speaks there is no worker any more
        if not data and self._socket.fileno() >= 0:
            self.close()
            self._on_end()
        return bool(data)

    def _hear(self, message: bytes) -> None:
        match self._conversation.hear(_plain(message)):
            case Reply(number, result):
                self._settle(number, lambda answer: answer.set_result(result))
            case Refusal(int(number), error):
                self._settle(number, lambda answer: answer.set_exception(error))
            case Note(_, _, event):
                self._on_event(event)

    def _settle(self, number: int, how: "Callable[[asyncio.Future[Answer]], None]") -> None:
        answer = self._calls.pop(number, None)
        if answer is not None and not answer.done():
            how(answer)

    def _write(self) -> None:
        try:
            del self._unsent[: self._socket.send(self._unsent)]
        except BlockingIOError:
            pass  # full: later
        except OSError:
            self._unsent.clear()  # closed, which reading tells; such a socket is always ready to be written to
        if self._unsent:
            self._loop.add_writer(self._socket, self._write_more)

    def _write_more(self) -> None:
        self._loop.remove_writer(self._socket)
        self._write()


def _plain(message: bytes) -> bytes:
    """Return `message` as JSON that can be passed on, which half a surrogate or NaN cannot; else raise ParseError."""
    try:
        return msgspec.json.encode(msgspec.json.decode(message))
    except (ValueError, RecursionError) as error:
        raise ParseError(f"a worker does not speak our protocol: {error}") from None
