"""The program that has started us: `flaskd start`, which waits behind a pipe until we serve, systemd, or another."""

import contextlib
import os
from collections.abc import MutableMapping, Sequence
from typing import Final

from flaskd.systemd.own_unit import own_cgroup, restart_command
from flaskd_ctl.contract.endpoint import client_command

VARIABLE: Final = "FLASKD_START_FD"
"""The descriptor of the pipe, in the environment of the instance."""

READY: Final = b"ready\n"

SLOW_START: Final = 2.0
"""Seconds after which a start says what it waits for."""


class Starter:
    """Tells `flaskd start`, at `descriptor`, that the instance serves. -1: it has not started us.

    `systemctl` is the command that restarts our unit; "" if systemd has not started us.
    """

    def __init__(self, descriptor: int = -1, *, systemctl: str = "") -> None:
        self._detached = descriptor >= 0
        self._descriptor = descriptor
        self._systemctl = systemctl

    @classmethod
    def from_environment(cls, environ: MutableMapping[str, str]) -> "Starter":
        """Find it, and remove the variable from `environ`: workers have nothing to tell."""
        text = environ.pop(VARIABLE, "")
        if not (text.isascii() and text.isdigit()):
            return cls(systemctl=restart_command(environ, os.getpid(), own_cgroup()))
        try:
            os.set_inheritable(int(text), False)
        except OSError:  # somebody has set the variable
            return cls()
        return cls(int(text))

    def restart_command(self, endpoints: Sequence[str]) -> str:
        """Return the command that restarts the instance with these endpoints; "" if only who started it can."""
        if self._detached and endpoints:
            return f"{client_command(endpoints, os.environ, os.geteuid())} restart"
        return self._systemctl

    def ready(self) -> None:
        """Say that the instance serves. Harmless twice."""
        if self._descriptor >= 0:
            with contextlib.suppress(OSError):  # it has been killed
                os.write(self._descriptor, READY)
            os.close(self._descriptor)
            self._descriptor = -1
