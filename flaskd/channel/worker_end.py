"""The ends of the channels to the supervisor: a worker's, and a template's (see `messages`)."""

import contextlib
import socket
import threading
from collections import deque
from typing import Final, Generic, TypeVar

import msgspec

from flaskd.channel.messages import (
    LONGEST_MESSAGE,
    LONGEST_TRACE,
    Call,
    Calls,
    Event,
    Refused,
    Reply,
    TemplateCalls,
)
from flaskd.process import forks
from flaskd_ctl.contract.conversation import Lines

OF_WORKER: "Final[msgspec.json.Decoder[Calls]]" = msgspec.json.Decoder(Calls)
OF_TEMPLATE: "Final[msgspec.json.Decoder[TemplateCalls]]" = msgspec.json.Decoder(TemplateCalls)

MOST_DESCRIPTORS: Final = 253
"""Descriptors that one message can bring: SCM_MAX_FD, unix(7)."""

T = TypeVar("T")


class _Numbered(msgspec.Struct):
    number: int


class _Channel(Generic[T]):
    """Receive calls on one thread; send replies and events from any."""

    def __init__(self, sock: socket.socket, decoder: "msgspec.json.Decoder[T]") -> None:
        self._socket = sock
        self._decoder = decoder
        self._lines = Lines()
        self._unread: deque[bytes] = deque()
        self._lock = threading.Lock()  # protects the socket's writing side
        forks.close_in_children(self)

    def descriptors(self) -> list[int]:
        """Return the descriptors that `forks` closes in a forked child: what the application forks is no worker."""
        return [self._socket.fileno()] if self._socket.fileno() >= 0 else []

    def receive(self) -> T | None:
        """Wait for the next call; None when the supervisor is gone. A call that is not known is refused here."""
        while True:
            # No file object: its lock, held by the thread that waits here, would block the interpreter's exit.
            while not self._unread:
                try:
                    data = self._read()
                except OSError:
                    return None
                if not data:
                    return None
                self._unread.extend(self._lines.feed(data))
            line = self._unread.popleft()
            try:
                return self._decoder.decode(line)
            except ValueError as error:  # msgspec's errors are ValueErrors
                with contextlib.suppress(ValueError):
                    number = msgspec.json.decode(line, type=_Numbered).number
                    self.send(Refused(number=number, message=f"unknown call: {error}"))

    def reply(self, call: Call, reply: Reply) -> None:
        """Answer a call."""
        self.send(msgspec.structs.replace(reply, number=call.number))

    def refuse(self, call: Call, error: BaseException | str, *, hint: str = "", trace: str = "") -> None:
        """Answer a call with why it failed."""
        message, traceback = _bounded(str(error), LONGEST_MESSAGE), _bounded(trace, LONGEST_TRACE)
        self.reply(call, Refused(message=message, hint=hint, traceback=traceback))

    def send(self, message: Reply | Event) -> None:
        """Send a message; one that the supervisor is no longer there to read is dropped."""
        data = msgspec.json.encode(message) + b"\n"
        with contextlib.suppress(OSError), self._lock:
            self._socket.sendall(data)

    def _read(self) -> bytes:
        return self._socket.recv(65536)


class WorkerChannel(_Channel[Calls]):
    """A worker's end."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock, OF_WORKER)


class TemplateChannel(_Channel[TemplateCalls]):
    """A template's end."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock, OF_TEMPLATE)
        self._received: deque[int] = deque()

    def take(self, count: int) -> list[int]:
        """Return the descriptors that have come with the call received last, which the caller closes."""
        return [self._received.popleft() for _ in range(count)]

    def _read(self) -> bytes:
        # A read ends with the first message that has descriptors (unix(7)), so theirs are the last ones received.
        data, received, _, _ = socket.recv_fds(self._socket, 65536, MOST_DESCRIPTORS, socket.MSG_CMSG_CLOEXEC)
        self._received.extend(received)
        return data


def _bounded(text: str, limit: int) -> str:
    """Cut the middle out of a text longer than `limit`; escape half surrogates (PEP 383), which JSON cannot have."""
    if len(text) > limit:
        text = f"{text[: limit // 2]} … {text[-limit // 2 :]}"
    return text.encode("utf-8", "backslashreplace").decode()
