"""The supervisor's end of the channel to a worker or a template: a socketpair that it inherits (see `messages`).

Sending never blocks: a worker that is stopped or hung does not read.
"""

import asyncio
import contextlib
import os
import socket
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

import msgspec

from flaskd.channel.messages import Call, Event, FromWorker, Note, Refused, Reply
from flaskd_ctl.contract.conversation import Lines
from flaskd_ctl.errors import ControlError, Failed

READ_SIZE: Final = 65_536

MAX_UNREAD: Final = 4 * 1024 * 1024
"""Bytes that a socket may hold; it is some 200 KiB unless an administrator has it otherwise (socket(7), rmem_max)."""

DECODER: Final = msgspec.json.Decoder(FromWorker)


class _Unsent(NamedTuple):
    """What is left of a message, and the descriptors that travel with its first byte."""

    data: bytearray
    descriptors: list[int]


class SupervisorChannel:
    """Send calls and receive replies and events, on the running loop, until `close`.

    `on_event` gets each event. `on_end` is called once, when the worker has closed its end or sends anything that is none of
    its messages. Calls without a reply are cancelled then.
    """

    def __init__(
        self, sock: socket.socket, *, on_event: Callable[[Event], None], on_end: Callable[[], None]
    ) -> None:
        sock.setblocking(False)
        self._socket = sock
        self._on_event = on_event
        self._on_end = on_end
        self._loop = asyncio.get_running_loop()
        self._lines = Lines()
        self._last = 0
        self._calls: dict[int, asyncio.Future[Reply]] = {}
        self._on_note: dict[int, Callable[[Note], None]] = {}
        self._unsent: deque[_Unsent] = deque()
        self._loop.add_reader(sock, self._read)

    @property
    def unanswered(self) -> int:
        """Calls that have no reply yet, also those that nobody waits for any more."""
        return len(self._calls)

    def call(
        self,
        call: Call,
        *,
        on_note: Callable[[Note], None] | None = None,
        descriptors: Iterable[int] = (),
    ) -> "asyncio.Future[Reply]":
        """Send a call; the future gets the reply or Failed, or is cancelled when the channel ends.

        `on_note` gets what a task reports before its reply. Duplicates of `descriptors` travel with the call. Raises OSError
        where there is no descriptor left for them.
        """
        reply: asyncio.Future[Reply] = self._loop.create_future()
        if self._socket.fileno() < 0:
            reply.cancel()
            return reply
        duplicates = _duplicates(descriptors)
        self._last += 1
        self._calls[self._last] = reply
        if on_note is not None:
            self._on_note[self._last] = on_note
        data = msgspec.json.encode(msgspec.structs.replace(call, number=self._last)) + b"\n"
        self._unsent.append(_Unsent(bytearray(data), duplicates))
        self._write()
        return reply

    def read_rest(self) -> None:
        """Read what a worker that has exited had sent; a child that it left behind may send without end."""
        for _ in range(MAX_UNREAD // READ_SIZE):
            if self._socket.fileno() < 0 or not self._read():
                return

    def close(self) -> None:
        """Close the channel; harmless twice."""
        if self._socket.fileno() < 0:
            return
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        self._socket.close()
        self._drop_unsent()
        for reply in self._calls.values():
            reply.cancel()
        self._calls.clear()
        self._on_note.clear()

    def _read(self) -> bool:
        try:
            data = self._socket.recv(READ_SIZE)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        try:
            for line in self._lines.feed(data):
                self._receive(DECODER.decode(line))
        except (ControlError, ValueError, RecursionError):  # msgspec's errors are ValueErrors
            data = b""  # whatever sends this is no worker any more
        if not data and self._socket.fileno() >= 0:
            self.close()
            self._on_end()
        return bool(data)

    def _receive(self, message: FromWorker) -> None:
        if not isinstance(message, Reply):
            self._on_event(message)
            return
        if isinstance(message, Note):
            on_note, waited = self._on_note.get(message.number), self._calls.get(message.number)
            if on_note is not None and waited is not None and not waited.done():
                on_note(message)
            return
        self._on_note.pop(message.number, None)
        call = self._calls.pop(message.number, None)
        if call is None or call.done():
            return
        if isinstance(message, Refused):
            data = {"traceback": message.traceback}
            call.set_exception(Failed(message.message, hint=message.hint, data=data))
        else:
            call.set_result(message)

    def _write(self) -> None:
        try:
            while self._unsent:
                data, descriptors = self._unsent[0]
                if descriptors:
                    sent = socket.send_fds(self._socket, [data], descriptors)
                    _close(descriptors)
                else:
                    sent = self._socket.send(data)
                del data[:sent]
                if not data:
                    self._unsent.popleft()
        except BlockingIOError:
            pass  # full: later
        except OSError:
            self._drop_unsent()  # closed, which reading shows; such a socket always counts as writable
        if self._unsent:
            self._loop.add_writer(self._socket, self._write_more)

    def _drop_unsent(self) -> None:
        for unsent in self._unsent:
            _close(unsent.descriptors)
        self._unsent.clear()

    def _write_more(self) -> None:
        self._loop.remove_writer(self._socket)
        self._write()


def _duplicates(descriptors: Iterable[int]) -> list[int]:
    """Return duplicates, which last until they are sent. Raises OSError, with none left open."""
    with contextlib.ExitStack() as undo:
        made = []
        for descriptor in descriptors:
            made.append(os.dup(descriptor))
            undo.callback(os.close, made[-1])
        undo.pop_all()
    return made


def _close(descriptors: list[int]) -> None:
    """Close descriptors of ours, and forget them."""
    while descriptors:
        os.close(descriptors.pop())
