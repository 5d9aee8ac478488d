"""Orders that come by no control socket: from signals, from the application, from the program around a `Server`.

Whoever gives them needs no role: the kernel let it through, or the application is the owner's. Each is written down with its
outcome, as those that come by the socket are.
"""

import contextlib
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any

import msgspec

from flaskd.audit.entry import told
from flaskd.control.commands import Daemon
from flaskd_ctl.errors import WrongState
from flaskd_ctl.protocol import Actor, ShutdownParams, ShutdownResult, StateResult


class Orders:
    """Give orders to `daemon`, each with an entry in its audit; what they raise is the daemon's."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon

    def drain(self, by: Actor) -> "Future[StateResult]":
        """Go out of rotation."""
        return self._daemon.audit.ordered("drain", {}, by, lambda: self._daemon.order_drain(by))

    def resume(self, by: Actor) -> "Future[StateResult]":
        """Go back into rotation."""
        return self._daemon.audit.ordered("resume", {}, by, lambda: self._daemon.order_resume(by))

    def shutdown(self, by: Actor, asked: ShutdownParams) -> "Future[ShutdownResult]":
        """Stop as it was `asked`."""
        return self._daemon.audit.ordered(
            "shutdown",
            told("shutdown", asked),
            by,
            lambda: self._daemon.order_shutdown(
                by, grace=asked.grace, lame_duck=asked.lame_duck, wait_unrouted=asked.wait_unrouted
            ),
        )

    def of_application(self, by: Actor, event: Mapping[str, Any]) -> None:
        """Do what a worker's application asked for; what a worker says is whatever its application lets it say."""
        match event.get("what"):
            case "drain":
                self.drain(by)
            case "resume":
                self.resume(by)
            case "shutdown":
                said = {
                    name: event[name] for name in ("grace", "lame_duck", "wait_unrouted") if name in event
                }
                try:
                    asked = msgspec.convert(said, ShutdownParams)
                except msgspec.ValidationError as error:
                    self._daemon.audit.refuse("shutdown", {}, by, f"that cannot be: {error}", role="")
                else:
                    with contextlib.suppress(WrongState):  # the audit has said so
                        self.shutdown(by, asked)
