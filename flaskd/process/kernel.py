"""Calls of the kernel that a library cannot do without: it would end the process (libzmq) or panic (Tokio)."""

import os
import select
import sys
from typing import Final

LINUX: Final = sys.platform == "linux"


def refused_to_event_loops() -> str:
    """Name the call that libzmq and Tokio need and the kernel refuses, and the reason; empty if there is none."""
    if not LINUX:
        return ""
    try:
        call = "epoll_create1"
        select.epoll().close()
        call = "eventfd"
        os.close(os.eventfd(0))
    except OSError as error:
        return f"{call}: {error.strerror}"
    return ""
