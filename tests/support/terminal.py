"""A program in a terminal of its own (pty(7)), which the test reads and types into."""

import fcntl
import os
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self

from tests.support.daemons import PATIENCE

CTRL_C: Final = b"\x03"


class Terminal:
    """A running program whose controlling terminal is ours; as a context manager it ends the program."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        cwd: Path | None = None,
        environ: Mapping[str, str] | None = None,
        columns: int = 80,
    ) -> None:
        self._ours, theirs = os.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        self._shown = b""
        self._seen = 0
        try:
            self.process = subprocess.Popen(
                command,
                stdin=theirs,
                stdout=theirs,
                stderr=theirs,
                cwd=cwd,
                env={**os.environ, **(environ or {})},
                start_new_session=True,
                preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
                restore_signals=True,
            )
        finally:
            os.close(theirs)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(PATIENCE)
        os.close(self._ours)

    def type(self, data: bytes) -> None:
        """Type these bytes."""
        os.write(self._ours, data)

    def text(self) -> str:
        """Return what has been shown so far."""
        return self._shown.decode(errors="replace").replace("\r\n", "\n")

    def wait_for(self, text: str) -> str:
        """Return what has been shown once it holds `text`; fail if that does not come."""
        deadline = time.monotonic() + PATIENCE
        while text not in self.text():
            assert self._read(deadline), f"no {text!r}, but:\n{self.text()}"
        return self.text()

    def wait_for_next(self, text: str) -> str:
        """Wait until `text` is shown after what was waited for in this way before; return what came until then."""
        deadline = time.monotonic() + PATIENCE
        while text not in self.text()[self._seen :]:
            assert self._read(deadline), f"no {text!r}, but:\n{self.text()[self._seen :]}"
        shown = self.text()
        began, self._seen = self._seen, shown.index(text, self._seen) + len(text)
        return shown[began : self._seen]

    def settings(self) -> list[Any]:
        """Return how the terminal is set (termios(3))."""
        return termios.tcgetattr(self._ours)

    def wait(self) -> int:
        """Return the exit code, once everything is read."""
        deadline = time.monotonic() + PATIENCE
        while self._read(deadline):
            pass
        return self.process.wait(PATIENCE)

    def _read(self, deadline: float) -> bytes:
        """Read some of what is shown; b"" once no process has the terminal open, or after the deadline."""
        ready, _, _ = select.select([self._ours], [], [], max(0.0, deadline - time.monotonic()))
        try:
            data = os.read(self._ours, 65536) if ready else b""
        except OSError:  # EIO: the last process has closed it
            data = b""
        self._shown += data
        return data
