"""Start a daemon in a process of its own, and wait until it says READY=1 (sd_notify(3))."""

import contextlib
import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from typing import Final

from flaskd.errors import FlaskdError
from flaskd_ctl.contract.endpoint import Place

LOOK: Final = 0.1
"""Seconds between two looks whether a daemon that starts still runs."""


class NotServing(FlaskdError):
    """A daemon ended instead of serving, or did not serve in time. The message has its output."""


def start_until_ready(
    command: Sequence[str],
    place: Place,
    *,
    log: str | os.PathLike[str],
    directory: str | os.PathLike[str],
    environ: Mapping[str, str],
    timeout: float,
) -> subprocess.Popen[bytes]:
    """Start `command`, which writes to `log`; return when it serves. Raises NotServing, and then nothing is left of it."""
    address = f"{place.directory}.notify"
    os.makedirs(os.path.dirname(address), mode=0o700, exist_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as news, open(log, "wb") as output:
        news.bind(address)
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=directory,
            env={**environ, "NOTIFY_SOCKET": address},
            start_new_session=True,  # Ctrl-C ends the tests, which stop it
        )
        try:
            problem = _wait(process, news, timeout)
        except BaseException:
            kill_session(process)
            raise
        finally:
            os.unlink(address)
    if problem:
        kill_session(process)
        raise NotServing(f"flaskd run {place.name}: {problem}. Its output:\n{written(log)}")
    return process


def written(log: str | os.PathLike[str]) -> str:
    """Return what a daemon has written so far."""
    with open(log, encoding="utf-8", errors="replace") as file:
        return file.read()


def kill_session(process: subprocess.Popen[bytes]) -> None:
    """Kill what is left of a process and of the session that it leads."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _wait(process: subprocess.Popen[bytes], news: socket.socket, timeout: float) -> str:
    """Return "" when it serves, else why it does not."""
    deadline = time.monotonic() + timeout
    while True:
        left = deadline - time.monotonic()
        ready, _, _ = select.select([news], [], [], max(0.0, min(left, LOOK)))
        if ready and b"READY=1" in news.recv(65536).split(b"\n"):
            return ""
        if process.poll() is not None:
            return f"it ended with exit code {process.returncode}"
        if left <= 0:
            return f"it does not serve after {timeout:g} s"
