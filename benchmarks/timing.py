"""Wall time of whole commands, exact to the process's end, and CPU work put on a server by wrk."""

import os
import re
import shutil
import subprocess
import time
from collections.abc import Sequence
from typing import Final

WRK: Final = shutil.which("wrk")
ENVIRON: Final = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
"""What measured programs get: an installed program has its bytecode, one in a checkout must be allowed to keep it."""


def command_seconds(command: list[str], *, expected: frozenset[int] = frozenset({0})) -> float:
    """Run a command to its end, no shell or pipes in between; raise RuntimeError for an unexpected exit."""
    silent = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in (0, 1, 2)]
    begun = time.perf_counter()
    pid = os.posix_spawn(command[0], command, ENVIRON, file_actions=silent)
    _, status = os.waitpid(pid, 0)
    took = time.perf_counter() - begun
    if os.waitstatus_to_exitcode(status) not in expected:
        raise RuntimeError(f"{' '.join(command)} ended with {os.waitstatus_to_exitcode(status)}")
    return took


def wrk(url: str, *, seconds: int, connections: int = 8, headers: Sequence[str] = ()) -> int:
    """Saturate a server for so long; return how many requests were answered, all of them 2xx.

    `headers` are lines that each request has besides.
    """
    if WRK is None:
        raise RuntimeError("wrk is not installed")
    done = subprocess.run(
        [WRK, "-t1", f"-c{connections}", f"-d{seconds}s", *(f"-H{line}" for line in headers), url],
        check=True,
        capture_output=True,
        text=True,
        timeout=seconds + 30,
    ).stdout
    answered = re.search(r"(\d+) requests in", done)
    if answered is None or "Non-2xx" in done:
        raise RuntimeError(f"wrk on {url}: {done}")
    return int(answered[1])
