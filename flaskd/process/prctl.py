"""What a process sets for itself by prctl(2), which Python does not have. Linux only."""

import ctypes
import os
from typing import Final

SET_PDEATHSIG: Final = 1
"""The signal that this process gets when its parent ends."""

SET_CHILD_SUBREAPER: Final = 36
"""Whether this process becomes the parent of descendants whose parent ends. Numbers are those of linux/prctl.h."""


def prctl(option: int, value: int) -> None:
    """Set an option of this process. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, ctypes.c_ulong(value), *[ctypes.c_ulong(0)] * 3):
        number = ctypes.get_errno()
        raise OSError(number, f"prctl: {os.strerror(number)}")
