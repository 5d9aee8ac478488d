"""Ends a worker whose supervisor was killed, even if no Python can run in it: C code holds the GIL, or it is stopped.

Such a worker does not notice that its channel has ended, and would keep the port. The kernel can send a signal when the parent
is gone (PR_SET_PDEATHSIG, prctl(2)), but it must not kill at once: a worker that can run answers what it has begun. So it is a
real-time signal whose handler is alarm(2) itself. A handler gets the number of its signal, which alarm(2) takes as seconds:
SIGALRM ends the process that many seconds later. A worker that does notice the end of its channel cancels the alarm.
"""

import ctypes
import math
import signal
import sys
from typing import Final

from flaskd.process import forks

_PDEATHSIG: Final = 1  # PR_SET_PDEATHSIG, linux/prctl.h
_DEFAULT: Final = 0  # SIG_DFL, signal(2)
_IGNORE: Final = 1  # SIG_IGN, signal(2)


class OrphanAlarm:
    """Ends this process `seconds` (35 to 64) after the end of its parent. On Linux only; elsewhere it does nothing.

    The thread that makes it and the one that calls `wake` must live as long as the process: the setting is per thread.
    """

    def __init__(self, seconds: float) -> None:
        self._active = sys.platform == "linux"
        if self._active:
            # In C: a handler of Python's would only run later, in code that cannot run.
            self._libc = ctypes.CDLL(None)
            self._libc.signal.argtypes = (ctypes.c_int, ctypes.c_void_p)
            self.number = min(max(math.ceil(seconds), signal.SIGRTMIN + 1), signal.SIGRTMAX)
            self._libc.signal(self.number, ctypes.cast(self._libc.alarm, ctypes.c_void_p))
            self._libc.prctl(_PDEATHSIG, self.number)
            # A child that the application forks does not inherit the setting, but the handler.
            forks.undo_in_children(lambda: self._libc.signal(self.number, _DEFAULT))

    def wake(self) -> None:
        """Continue a stopped process at the parent's end. Call it on another thread than the one that made the alarm."""
        if self._active:
            self._libc.prctl(_PDEATHSIG, signal.SIGCONT)

    def call_off(self) -> None:
        """Cancel the alarm: the signal may have come already, or may still come after the end of the channel."""
        if self._active:
            self._libc.signal(self.number, _IGNORE)
            signal.alarm(0)
