"""A worker's end of the private line to its supervisor: JSON-RPC 2.0, one object a line (see `supervisor.channel`)."""

import socket
import threading
from collections import deque
from typing import Any, Final

import msgspec

from flaskd.process import forks
from flaskd_ctl.contract.conversation import Lines

LONGEST_MESSAGE: Final = 4096
LONGEST_TRACE: Final = 65_536
"""Characters that are told of an exception, which may quote whatever it likes: a message of the protocol has an end."""


class Line:
    """The private line, from the worker's side: messages are read by one thread, and written by any."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._lines = Lines()
        self._calls: deque[bytes] = deque()
        self._lock = threading.Lock()  # protects the socket's writing side
        self._start_id = 0
        forks.close_in_children(self)

    def descriptors(self) -> list[int]:
        """Name, for `forks`, ours: what the application forks is no worker."""
        return [self._socket.fileno()] if self._socket.fileno() >= 0 else []

    def read(self) -> dict[str, Any] | None:
        """Wait for the next call; None when the supervisor is gone."""
        # No file object: its lock, held by the thread that waits here, would be in the way of the interpreter's end.
        while not self._calls:
            try:
                data = self._socket.recv(65536)
            except OSError:
                return None
            if not data:
                return None
            self._calls.extend(self._lines.feed(data))
        return msgspec.json.decode(self._calls.popleft(), type=dict[str, Any])

    def started_by(self, number: int) -> None:
        """Note the number of the call `start`, to which all that is told belongs."""
        self._start_id = number

    def answer(self, number: int, result: Any) -> None:
        """Answer a call."""
        self._send({"jsonrpc": "2.0", "id": number, "result": result})

    def refuse(self, number: int, error: BaseException, *, hint: str, trace: str) -> None:
        """Answer a call with why it failed."""
        data = {"name": "failed", "hint": hint, "traceback": _bounded(trace, LONGEST_TRACE)}
        said = _bounded(str(error), LONGEST_MESSAGE)
        self._send({"jsonrpc": "2.0", "id": number, "error": {"code": -32000, "message": said, "data": data}})

    def tell(self, event: Any) -> None:
        """Tell something by ourselves."""
        self._send({"jsonrpc": "2.0", "method": "event", "params": {"id": self._start_id, "event": event}})

    def _send(self, message: dict[str, Any]) -> None:
        data = msgspec.json.encode(message) + b"\n"
        try:
            with self._lock:
                self._socket.sendall(data)
        except OSError:
            pass  # the supervisor is gone, which reading tells


def _bounded(text: str, most: int) -> str:
    """Return `text` without its middle where that is too long, as UTF-8: a file's name may hold half a surrogate."""
    if len(text) > most:
        text = f"{text[: most // 2]} … {text[-most // 2 :]}"
    return text.encode("utf-8", "backslashreplace").decode()
