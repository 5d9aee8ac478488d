"""The supervisor's own lines: where a worker would wait they are dropped, and the next one that gets through says how many."""

import io
import logging
import os
import time
from collections.abc import Callable
from typing import Any

from flaskd.logs.record import encode


def note_printed(dropped: int) -> bytes:
    """Say on a stream of prints how many lines were dropped."""
    return f"flaskd: nobody read this output; lines dropped: {dropped}\n".encode()


def note_recorded(dropped: int) -> bytes:
    """Say among the records how many lines were dropped."""
    text = f"nobody read this output; lines dropped: {dropped}"
    return encode(time.time(), logging.WARNING, "flaskd", request_id="", text=text)


class NeverWaits(io.BufferedIOBase):
    """The write end of a pipe; what does not go into it at once is dropped and counted, in whole lines."""

    name = "flaskd-output"

    def __init__(self, descriptor: int, note: Callable[[int], bytes]) -> None:
        os.set_blocking(descriptor, False)
        self._descriptor = descriptor
        self._note = note
        self._begun = b""  # the rest of a line that is partly written
        self._dropped = 0

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def write(self, data: Any) -> int:
        """Write `data`, or drop it."""
        text = bytes(data)
        self._begun = self._begun[self._send(self._begun) :]
        told = (self._note(self._dropped) if self._dropped else b"") + text
        sent = 0 if self._begun else self._send(told)
        if sent:
            self._begun, self._dropped = told[sent:], 0
        else:
            self._dropped += text.count(b"\n")
        return len(text)

    def close(self) -> None:
        """Close the pipe; harmless twice."""
        if not self.closed:
            super().close()
            os.close(self._descriptor)

    def _send(self, data: bytes) -> int:
        try:
            return os.write(self._descriptor, data) if data else 0
        except BlockingIOError:
            return 0
