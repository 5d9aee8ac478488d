"""A program in a real terminal: a tmux server of the test's own."""

import os
import shlex
import subprocess
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Final, Self

PATIENCE: Final = 60.0


class Terminal:
    """Runs `command` in a terminal of `columns` by `lines`; as a context manager it ends the program and its server."""

    def __init__(self, command: Sequence[str], *, socket: str, columns: int = 80, lines: int = 24) -> None:
        self._tmux = ("tmux", "-S", socket, "-f", os.devnull)
        # The status line of tmux would take one of the lines; its server ends with its last session.
        size = ("-x", str(columns), "-y", str(lines))
        environ = {**os.environ, "LANG": "C.UTF-8", "TERM": "xterm-256color"}
        subprocess.run(
            [*self._tmux, "new-session", "-d", *size, shlex.join(command), ";", "set", "-g", "status", "off"],
            check=True,
            env=environ,
            timeout=PATIENCE,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        subprocess.run([*self._tmux, "kill-server"], capture_output=True, timeout=PATIENCE)

    def press(self, *keys: str) -> None:
        """Press keys, by the names that tmux has for them."""
        subprocess.run([*self._tmux, "send-keys", *keys], check=True, timeout=PATIENCE)

    def lines(self) -> list[str]:
        """Return what is on the screen; nothing once the program has ended."""
        shown = subprocess.run(
            [*self._tmux, "capture-pane", "-p"], capture_output=True, text=True, timeout=PATIENCE
        )
        return shown.stdout.splitlines()

    def until(self, text: str) -> list[str]:
        """Wait until a text is on the screen, and return the lines."""
        return self.until_so(lambda lines: any(text in line for line in lines), text)

    def until_so(self, so: Callable[[list[str]], bool], what: str) -> list[str]:
        """Wait until the screen is so; fails after a minute."""
        deadline = time.monotonic() + PATIENCE
        while not so(lines := self.lines()):
            assert time.monotonic() < deadline, f"not seen: {what}\n" + "\n".join(lines)
            time.sleep(0.1)
        return lines
