"""Kernel calls are tried, not assumed: without any one of them a daemon starts, serves and stops, and says what it lacks.

The kernel itself refuses the call, by a seccomp filter on the real daemon.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from tests.support.daemons import StartDaemon
from tests.support.exchange import Plan
from tests.support.extent import FULL
from tests.support.load import Load
from tests.support.needs import requires
from tests.support.operating import client
from tests.support.outcome import Outcome

pytestmark = pytest.mark.live

ROOT: Final = Path(__file__).parents[2]


class Case(NamedTuple):
    """What is refused and how, the engine, and what the log says then, once in each process that notices."""

    calls: str
    error: str
    engine: str
    line: str


FILTER: Final = "setsockopt,1=1,2=26"  # SOL_SOCKET, SO_ATTACH_FILTER
MINTTL: Final = "setsockopt,1=0,2=21"  # IPPROTO_IP, IP_MINTTL

NOT_BLOCKED: Final = "cannot block new connections"
"""Then, and only then, a connection that begins just before the listener closes is reset."""

NAMED: Final = [
    Case("pidfd_open", "ENOSYS", "waitress", "a thread waits for each worker"),
    Case(FILTER, "ENOPROTOOPT", "waitress", ""),
    Case(f"{FILTER} {MINTTL}", "EINVAL", "granian", NOT_BLOCKED),
    Case("getsockopt,1=6,2=11", "ENOPROTOOPT", "granian", "cannot count the accept queue (TCP_INFO)"),
    Case("socket,0=16", "EPERM", "granian", ""),  # AF_NETLINK: /proc/net/tcp is read instead
    Case("memfd_create", "ENOSYS", "waitress", "what workers share is in"),
    Case("fcntl,1=1033", "EINVAL", "granian", "cannot be sealed"),  # F_ADD_SEALS
    Case("rt_sigtimedwait", "ENOSYS", "waitress", "the sender of a signal remains unknown"),
    Case("epoll_create1", "ENOSYS", "auto", "granian cannot run here"),
]
OTHERS: Final = [
    Case("pidfd_open", "EPERM", "granian", "a thread waits for each worker"),
    Case("getsockopt,1=0,2=21", "ENOPROTOOPT", "waitress", ""),  # IP_MINTTL
    Case("setsockopt,1=6", "ENOPROTOOPT", "granian", "slow clients are served worse"),
    Case("ioctl,1=21521", "EINVAL", "granian", ""),  # TIOCOUTQ
    Case("prctl,0=1", "EINVAL", "granian", "a worker that hangs stays"),  # PR_SET_PDEATHSIG
    Case("inotify_init1", "ENOSYS", "waitress", "is not watched"),
    Case("eventfd2", "EPERM", "auto", "granian cannot run here"),
]
CASES: Final = NAMED + OTHERS if FULL else NAMED


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.calls}-{case.error}-{case.engine}")
def test_a_refused_call_costs_a_line_and_no_request(start_daemon: StartDaemon, case: Case) -> None:
    """Under load, to the end: a stop by SIGTERM answers what is under way."""
    prefix = [
        part
        for call in case.calls.split()
        for part in (sys.executable, "-m", "tests.support.seccomp", call, case.error)
    ]
    stop_under_load(start_daemon, case.engine, prefix, case.line)


@requires("root", "unshare", "mount")
@pytest.mark.parametrize(("engine", "line"), [("auto", "granian cannot run here"), ("werkzeug", "")])
def test_a_system_without_proc_serves_too(start_daemon: StartDaemon, engine: str, line: str) -> None:
    """As in a chroot; `auto` is not granian then, which says how it is in /proc only."""
    hidden = 'mount -t tmpfs none /proc && exec "$@"'
    stop_under_load(start_daemon, engine, ["unshare", "-m", "sh", "-c", hidden, "sh"], line)


def stop_under_load(start_daemon: StartDaemon, engine: str, prefix: list[str], line: str) -> None:
    daemon = start_daemon("httpbin:app", "--engine", engine, "--threads", "8", cwd=ROOT, prefix=prefix)
    with Load(daemon.url, Plan(mode="closed", clients=6)) as load:
        load.wait_answered(30)
        with client(daemon) as shop:
            assert shop.status().state == "running"
            if "pidfd_open" in prefix:  # the end of a worker is noticed in another way
                assert shop.reload().replaced == 1
        os.kill(daemon.pid, signal.SIGTERM)
        report = load.end(tail=0.3)

    if line != NOT_BLOCKED:
        assert report.lost == []
    assert [record for record in report.lost if record.outcome is not Outcome.RESET or record.received] == []
    assert daemon.wait() in ({0, 6} if line == NOT_BLOCKED else {0})
    output = daemon.output()
    assert "Traceback" not in output
    assert line in output
