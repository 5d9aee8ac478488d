"""The alarm of a worker whose supervisor was killed. That it ends one that hangs takes 35 s: only its parts are tested here."""

import os
import pathlib
import signal
import subprocess
import sys

import pytest

from tests.support.daemons import PATIENCE

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")

SECONDS = """
import os, signal, sys
from flaskd.worker.orphan import OrphanAlarm
alarm = OrphanAlarm({seconds})
{then}
os.kill(os.getpid(), alarm.number)
print(alarm.number, round(signal.getitimer(signal.ITIMER_REAL)[0]))
"""

ORPHAN = """
import os, signal, sys, threading
from flaskd.worker.orphan import OrphanAlarm
alarm = OrphanAlarm(30)
ready = threading.Event()
def wake():
    alarm.wake()
    ready.set()
    threading.Event().wait()
threading.Thread(target=wake, daemon=True).start()
ready.wait()
print(os.getpid(), flush=True)
signal.sigwait([signal.SIGTERM])
"""

PARENT = """
import subprocess, sys
subprocess.run([sys.executable, "-c", {orphan!r}], start_new_session=True)
"""


def run(code: str) -> list[int]:
    done = subprocess.run(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, timeout=PATIENCE, check=True, text=True
    )
    return [int(word) for word in done.stdout.split()]


@pytest.mark.parametrize(
    ("seconds", "number"), [(0, signal.SIGRTMIN + 1), (50.2, 51), (1000, signal.SIGRTMAX)]
)
def test_the_parents_end_sets_an_alarm_of_as_many_seconds_as_its_signals_number(
    seconds: float, number: int
) -> None:
    """The handler is alarm(2), so nothing of Python's has to run."""
    assert run(SECONDS.format(seconds=seconds, then="")) == [number, number]


def test_an_alarm_that_was_called_off_is_set_off_by_nothing() -> None:
    """A line ends before the kernel signals the parent's end, and may be seen between the two."""
    assert run(SECONDS.format(seconds=0, then="alarm.call_off()"))[1] == 0
    again = "os.kill(os.getpid(), alarm.number); alarm.call_off()"
    assert run(SECONDS.format(seconds=0, then=again))[1] == 0


def test_the_parents_end_continues_a_process_that_is_stopped() -> None:
    """It then sees what has become of its line."""
    parent = subprocess.Popen([sys.executable, "-c", PARENT.format(orphan=ORPHAN)], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    with parent:
        orphan = int(parent.stdout.readline())
        os.kill(orphan, signal.SIGSTOP)
        while "T (stopped)" not in pathlib.Path(f"/proc/{orphan}/status").read_text():
            pass
        parent.kill()
        parent.wait(PATIENCE)
        os.kill(orphan, signal.SIGTERM)
        assert parent.stdout.read() == b""  # its end of the pipe closes: it went on, and ended
