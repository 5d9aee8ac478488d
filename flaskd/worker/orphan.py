"""What ends a worker whose supervisor was killed, also where no Python can run in it: C code holds the GIL, or it is stopped.

Such a worker does not see that its line has ended, and would keep the port. The kernel can send a signal when the parent is
gone (PR_SET_PDEATHSIG, prctl(2)), but it must not kill at once: a worker that can run answers what it has begun. So it is a
real-time signal whose handler is alarm(2) itself, which takes a number of seconds where a handler is given the number of its
signal: SIGALRM ends the process so many seconds later. A worker that does see the end of its line calls the alarm off.
"""

import ctypes
import math
import signal
import sys
from typing import Final

_PDEATHSIG: Final = 1  # PR_SET_PDEATHSIG, linux/prctl.h
_IGNORE: Final = 1  # SIG_IGN, signal(2)


class OrphanAlarm:
    """An alarm that the parent's end sets off, for `seconds` later: 35 at least, 64 at most. Nothing elsewhere than on Linux.

    The thread that makes it and the one that calls `wake` must live as long as the process: the kernel asks each of them.
    """

    def __init__(self, seconds: float) -> None:
        self._active = sys.platform == "linux"
        if self._active:
            # By the C library: a handler of Python's only leaves word for code that could not run.
            self._libc = ctypes.CDLL(None)
            self._libc.signal.argtypes = (ctypes.c_int, ctypes.c_void_p)
            self.number = min(max(math.ceil(seconds), signal.SIGRTMIN + 1), signal.SIGRTMAX)
            self._libc.signal(self.number, ctypes.cast(self._libc.alarm, ctypes.c_void_p))
            self._libc.prctl(_PDEATHSIG, self.number)

    def wake(self) -> None:
        """Have the parent's end continue the process, if it is stopped; another thread than the alarm's asks for it."""
        if self._active:
            self._libc.prctl(_PDEATHSIG, signal.SIGCONT)

    def call_off(self) -> None:
        """Let nothing end the process any more: the parent's end may have been signalled already, or come after its line's."""
        if self._active:
            self._libc.signal(self.number, _IGNORE)
            signal.alarm(0)
