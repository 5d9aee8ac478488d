"""The name that `ps -o comm`, `top` and `pgrep -x` show for this process."""

import contextlib
from typing import Final

SUPERVISOR: Final = "flaskd"
WORKER: Final = "flaskd-worker"
TEMPLATE: Final = "flaskd-template"


def name_process(name: str) -> None:
    """Set this process's name, of 15 bytes at most (comm, proc(5)). Elsewhere than on Linux it keeps the one it has."""
    with contextlib.suppress(OSError), open("/proc/self/comm", "wb", buffering=0) as comm:
        comm.write(name.encode())
