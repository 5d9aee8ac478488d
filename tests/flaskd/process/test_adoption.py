"""Processes that are forked for an ancestor, and orphans: who gets them, and who waits for them."""

import subprocess
import sys

from tests.support.daemons import PATIENCE

ADOPTED = """
import asyncio, os, sys
from flaskd.process import reaper
from flaskd.process.adoption import fork_orphan

async def main():
    reaper.adopt_orphans(asyncio.get_running_loop(), lambda: None)
    template = os.fork()
    if template == 0:
        pid = fork_orphan()
        if pid == 0:
            os.write(1, f"parent {os.getppid() == supervisor}\\n".encode())  # in one piece
            os._exit(3)
        os.write(1, f"told {pid > 1}\\n".encode())
        os._exit(0)
    os.waitpid(template, 0)
    pid, status = os.waitpid(-1, 0)
    print("waited", os.waitstatus_to_exitcode(status))

supervisor = os.getpid()
asyncio.run(main())
"""

OWN = """
import asyncio, os, subprocess, sys
from flaskd.process import reaper

async def main():
    reaper.adopt_orphans(asyncio.get_running_loop(), lambda: None)
    orphan = subprocess.run(["setsid", "sh", "-c", "sleep 0.2 >&2 & echo $!"], stdout=subprocess.PIPE, text=True).stdout
    os.waitid(os.P_PID, int(orphan), os.WEXITED | os.WNOWAIT)
    reaper.reap(lambda: ())
    try:
        os.waitid(os.P_PID, int(orphan), os.WEXITED | os.WNOHANG)
        print("still there")
    except ChildProcessError:
        print("reaped")
    own = subprocess.Popen(["sh", "-c", "exit 7"])
    os.waitid(os.P_PID, own.pid, os.WEXITED | os.WNOWAIT)
    reaper.reap(lambda: ())
    print("own", own.wait())

asyncio.run(main())
"""


FAILING = """
import os
from flaskd.process.adoption import fork_orphan
{how}
before = sorted(os.listdir("/proc/self/fd"))
try:
    print(fork_orphan())
except OSError as error:
    print(error.strerror, sorted(os.listdir("/proc/self/fd")) == before)
"""


def run(code: str) -> list[str]:
    """Run code in a process of its own."""
    command = [sys.executable, "-c", code]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    return ran.stdout.splitlines()


def test_who_forks_an_orphan_gives_it_to_the_ancestor_that_adopts() -> None:
    """The orphan runs on only when it has been adopted, and the ancestor gets its exit code."""
    *rest, last = run(ADOPTED)
    assert sorted(rest) == ["parent True", "told True"]
    assert last == "waited 3"


def test_orphans_are_reaped_and_children_that_somebody_waits_for_are_not() -> None:
    """Else a `subprocess` of the supervisor would lose its exit code."""
    assert run(OWN) == ["reaped", "own 7"]


def test_who_ignores_the_end_of_its_children_can_fork_an_orphan() -> None:
    """The kernel waits for them then, and waitpid(2) has nothing to tell."""
    ignoring = "import signal; signal.signal(signal.SIGCHLD, signal.SIG_IGN)"
    *rest, last = run(
        ADOPTED.replace("        pid = fork_orphan()", f"        {ignoring}\n        pid = fork_orphan()")
    )
    assert sorted(rest) == ["parent True", "told True"]
    assert last == "waited 3"


def test_a_fork_whose_middle_dies_fails_and_does_not_hang() -> None:
    """Here by a function that the application has registered; by the OOM killer, it is the same."""
    how = "os.register_at_fork(after_in_child=lambda: os._exit(9))"
    assert run(FAILING.format(how=how)) == ["Resource temporarily unavailable True"]
