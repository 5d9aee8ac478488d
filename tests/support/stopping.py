"""Stopping a daemon in tests: by `flaskd_ctl` as people do, or over the wire, where its progress orders the test."""

import json
import os
import socket
import subprocess
import sys
from typing import Any, Self

from tests.support.daemons import PATIENCE, Daemon

PHASES = ("lame duck", "emptying", "leaving", "flushing", "done")


class Shutdown:
    """A shutdown under way, asked for on the plain stream socket; as a context manager it closes its connection."""

    def __init__(self, daemon: Daemon, **params: float) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(PATIENCE)
        self._lines = self._socket.makefile("rb")
        try:
            self._socket.connect(daemon.place.sock)
            asked = {"jsonrpc": "2.0", "id": 1, "method": "shutdown", "params": {"progress": True, **params}}
            self._socket.sendall(json.dumps(asked).encode() + b"\n")
        except BaseException:
            self.__exit__()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._lines.close()
        self._socket.close()

    def wait_begun(self) -> dict[str, Any]:
        """Return the first progress event: from now on the daemon is stopping."""
        return self._progress()

    def wait_phase(self, phase: str) -> dict[str, Any]:
        """Return the first progress event of this phase or a later one."""
        while True:
            event = self._progress()
            if PHASES.index(event["phase"]) >= PHASES.index(phase):
                return event

    def result(self) -> dict[str, Any]:
        """Return the reply, after which nothing must come but the end of the connection."""
        while True:
            message = self._message()
            if "method" in message:
                continue
            assert self._lines.readline() == b""
            result: dict[str, Any] = message["result"]
            return result

    def _progress(self) -> dict[str, Any]:
        message = self._message()
        assert message.get("method") == "progress", f"no progress, but {message}"
        event: dict[str, Any] = message["params"]["event"]
        return event

    def _message(self) -> dict[str, Any]:
        line = self._lines.readline()
        assert line, "the connection ended without a reply"
        message: dict[str, Any] = json.loads(line)
        return message


def shut_down(daemon: Daemon, *args: str) -> subprocess.CompletedProcess[str]:
    """Run `flaskd_ctl shutdown` for this daemon to its end."""
    command = [os.path.join(os.path.dirname(sys.executable), "flaskd_ctl"), "--name", daemon.name]
    environ = {**os.environ, "FLASKD_RUNTIME_DIR": os.path.dirname(daemon.place.directory)}
    return subprocess.run(
        [*command, "shutdown", *args],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env=environ,
        timeout=PATIENCE + 30,
        check=False,
    )
