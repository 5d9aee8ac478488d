"""A process's resident memory."""

import os
from typing import Final

PAGE: Final = os.sysconf("SC_PAGE_SIZE")


def resident(pid: int) -> int | None:
    """Return a process's resident memory in bytes (proc(5), statm): cheaper than its stats, the same number as their `rss`."""
    try:
        with open(f"/proc/{pid}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * PAGE
    except (OSError, IndexError, ValueError):
        return None
