"""The worker's end of the channel to its supervisor (see `messages`)."""

import contextlib
import socket
import threading
from collections import deque
from typing import Final

import msgspec

from flaskd.channel.messages import (
    LONGEST_MESSAGE,
    LONGEST_TRACE,
    Call,
    Calls,
    Event,
    Refused,
    Reply,
)
from flaskd.process import forks
from flaskd_ctl.contract.conversation import Lines

DECODER: "Final[msgspec.json.Decoder[Calls]]" = msgspec.json.Decoder(Calls)


class _Numbered(msgspec.Struct):
    number: int


class WorkerChannel:
    """Receive calls on one thread; send replies and events from any."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._lines = Lines()
        self._unread: deque[bytes] = deque()
        self._lock = threading.Lock()  # protects the socket's writing side
        forks.close_in_children(self)

    def descriptors(self) -> list[int]:
        """Return the descriptors that `forks` closes in a forked child: what the application forks is no worker."""
        return [self._socket.fileno()] if self._socket.fileno() >= 0 else []

    def receive(self) -> Calls | None:
        """Wait for the next call; None when the supervisor is gone. A call that is not known is refused here."""
        while True:
            # No file object: its lock, held by the thread that waits here, would block the interpreter's exit.
            while not self._unread:
                try:
                    data = self._socket.recv(65536)
                except OSError:
                    return None
                if not data:
                    return None
                self._unread.extend(self._lines.feed(data))
            line = self._unread.popleft()
            try:
                return DECODER.decode(line)
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


def _bounded(text: str, limit: int) -> str:
    """Cut the middle out of a text longer than `limit`; escape half surrogates (PEP 383), which JSON cannot have."""
    if len(text) > limit:
        text = f"{text[: limit // 2]} … {text[-limit // 2 :]}"
    return text.encode("utf-8", "backslashreplace").decode()
