"""Somebody between two hosts, who sees and keeps all that is sent over TCP, and may send it again."""

import contextlib
import socket
import threading
from types import TracebackType
from typing import Self

from tests.support.daemons import PATIENCE


class Eavesdropper:
    """Passes a connection on to `address`, keeping what each side said: `asked` and `answered`, chunk by chunk.

    With `twice`, each frame that the client sends after its handshake goes to the daemon two times. The first `ended` clients
    that say something are sent away.
    """

    def __init__(self, address: tuple[str, int], *, twice: bool = False, ended: int = 0) -> None:
        self._address = address
        self._twice = twice
        self._ended = ended
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads: list[threading.Thread] = []
        self._open: list[socket.socket] = []
        self.asked: list[bytes] = []
        self.answered: list[bytes] = []

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        for link in self._open:
            with contextlib.suppress(OSError):
                link.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(PATIENCE)
        for link in (*self._open, self._listener):
            link.close()

    @property
    def url(self) -> str:
        """Where clients are caught."""
        host, port = self._listener.getsockname()
        return f"tcp://{host}:{port}"

    def _start(self, work: object, *args: object) -> None:
        thread = threading.Thread(target=work, args=args)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            daemon = socket.create_connection(self._address, timeout=PATIENCE)
            daemon.settimeout(None)
            self._open += [client, daemon]
            self._start(self._pass_on, client, daemon, self.asked)
            self._start(self._pass_on, daemon, client, self.answered)

    def _pass_on(self, source: socket.socket, sink: socket.socket, kept: list[bytes]) -> None:
        doubling = self._twice and kept is self.asked
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                if self._ended and kept is self.asked:
                    self._ended -= 1
                    break
                kept.append(data)
                sink.sendall(data if not doubling else self._doubled(data, before=b"".join(kept[:-1])))
        for link in (source, sink):
            with contextlib.suppress(OSError):
                link.shutdown(socket.SHUT_RDWR)

    def _doubled(self, data: bytes, *, before: bytes) -> bytes:
        """Repeat what of `data` is beyond the handshake."""
        end = frames_end(before + data, start=GREETING, count=2)  # HELLO and INITIATE
        if end is None:
            return data
        beyond = max(0, end - len(before))
        return data[:beyond] + data[beyond:] * 2


GREETING = 64
"""Bytes before the first frame (ZeroMQ RFC 23)."""


def frames_end(stream: bytes, *, start: int, count: int) -> int | None:
    """Return where the `count` frames that begin at `start` end; None where not all has come."""
    for _ in range(count):
        header = 9 if stream[start : start + 1] and stream[start] & 2 else 2
        if len(stream) < start + header:
            return None
        start += header + int.from_bytes(stream[start + 1 : start + header])
    return start if len(stream) >= start else None
