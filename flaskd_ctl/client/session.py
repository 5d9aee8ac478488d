"""One connection and the calls on it, untyped and blocking: the command line's, and under `Client`.

`Session` joins a transport to a `Conversation` and turns what transports raise (TimeoutError, EOFError) into sentences.
What takes longer than an answer is built on it: `stopping` is the end of an instance, `following` any other long command.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Protocol, Self

from flaskd_ctl.contract.conversation import Conversation, Note, Patience, Refusal, Reply
from flaskd_ctl.contract.endpoint import Target
from flaskd_ctl.contract.times import span
from flaskd_ctl.errors import ConnectionLost, TimedOut

if TYPE_CHECKING:
    from flaskd_ctl.transports.process_exit import Watcher

FIRST_WORD: Final = 10.0
"""Seconds that a daemon has for its first word, unless the caller says otherwise."""

CHANGES: Final = ("reload", "scale", "restart_worker")
"""What may wait, without a word, for a change that is under way."""

OnProgress = Callable[[dict[str, Any]], None]


class Connection(Protocol):
    """What a transport offers; deadlines are monotonic seconds. Raises TimeoutError, EOFError."""

    path: str
    pid: int | None

    def send(self, message: bytes, *, deadline: float) -> None:
        """Send one message."""

    def receive(self, *, deadline: float) -> bytes:
        """Return the next message."""

    def ended(self) -> bool:
        """Tell, without waiting, whether the peer is gone."""

    def departure(self) -> Watcher:
        """Begin to watch for the peer's end, before it is asked for."""

    def close(self) -> None:
        """Close the connection."""


class Session:
    """An open connection to one instance; a context manager."""

    def __init__(self, target: Target, *, deadline: float) -> None:
        self.target = target
        self._conversation = Conversation()
        self._method = "connect"
        self.connection = _connect(target, deadline=deadline)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.connection.close()

    @property
    def awaits(self) -> bool:
        """Whether a call has no reply yet."""
        return bool(self._conversation.open)

    def begin(self, method: str, params: dict[str, Any] | None = None, *, patience: Patience) -> int:
        """Send a call and return its id."""
        self._method = method
        return self._send(method, params, patience)

    def nudge(self, patience: Patience) -> None:
        """Ping a daemon that is silent about the call that has begun; the reply is heard like any other."""
        self._send("ping", None, patience)

    def listen(self, patience: Patience) -> Reply | Note:
        """Return the next thing heard; a refusal is raised."""
        while True:
            try:
                message = self.connection.receive(deadline=patience.deadline)
            except TimeoutError:
                raise self._timed_out(patience) from None
            except EOFError as end:
                raise lost(self.target, self._method, str(end)) from None
            heard = self._conversation.hear(message)
            if isinstance(heard, Refusal):
                raise heard.error
            if heard is not None:
                return heard

    def call(
        self, method: str, params: dict[str, Any] | None = None, *, patience: Patience
    ) -> dict[str, Any]:
        """Call and return the result."""
        self.begin(method, params, patience=patience)
        while True:
            heard = self.listen(patience)
            if isinstance(heard, Reply):
                return heard.result

    def events(self, *, patience: Patience) -> Iterator[dict[str, Any]]:
        """Subscribe; yield the subscription's result, then each event, until the instance has stopped."""
        yield self.call("events", patience=patience)
        patience.forever()
        while True:
            try:
                heard = self.listen(patience)
            except ConnectionLost:
                raise ConnectionLost(
                    f"the events of {self.target.name} broke off before it said that it has stopped",
                    hint="its process may have died: try `flaskd_ctl status`",
                ) from None
            except TimedOut:
                seconds = patience.spent(time.monotonic())
                raise TimedOut(
                    f"the events of {self.target.name} were followed for {span(seconds)}, as was asked for"
                ) from None
            if isinstance(heard, Note):
                yield heard.event
                if is_last(heard.event):
                    return

    def until_end(self, *, deadline: float) -> None:
        """Wait until the peer ends the connection, whatever it says until then, or until the deadline."""
        with contextlib.suppress(EOFError, TimeoutError):
            while True:
                self.connection.receive(deadline=deadline)

    def _send(self, method: str, params: dict[str, Any] | None, patience: Patience) -> int:
        number, message = self._conversation.call(method, params)
        try:
            self.connection.send(message, deadline=patience.deadline)
        except TimeoutError:
            raise self._timed_out(patience) from None
        except EOFError:
            raise lost(self.target, self._method) from None
        return number

    def _timed_out(self, patience: Patience) -> TimedOut:
        return timed_out(self.target, self._method, patience.spent(time.monotonic()), self.connection.pid)


def ask(
    target: Target,
    method: str,
    params: dict[str, Any] | None = None,
    *,
    first: float = FIRST_WORD,
    whole: float | None = None,
) -> dict[str, Any]:
    """Connect, call, and return the result."""
    patience = Patience(time.monotonic(), first=first, whole=whole)
    with Session(target, deadline=patience.deadline) as session:
        return session.call(method, params, patience=patience)


def is_last(event: dict[str, Any]) -> bool:
    """Tell whether nothing comes after this event."""
    return event.get("event") == "state" and event.get("state") == "stopped"


def timed_out(target: Target, method: str, seconds: float, pid: int | None) -> TimedOut:
    """Say who did not answer what, for how long."""
    who = f"pid {pid}" if pid else "its process"
    last_resort = f"; `kill -9 {pid}` ends it in any case" if pid and method == "kill" else ""
    queued = "whether it waits for another change (`flaskd_ctl workers`), or " if method in CHANGES else ""
    return TimedOut(
        f"{target.name} did not answer `{method}` for {span(seconds)}, though something listens at "
        f"{target.endpoint.path}",
        hint=f"see {queued}whether {who} is stopped or stuck{last_resort}",
        data={"pid": pid} if pid else None,
    )


def lost(target: Target, method: str, detail: str = "") -> ConnectionLost:
    """Say that the peer went away."""
    return ConnectionLost(
        f"{target.name} closed the connection before it answered `{method}`{', ' if detail else ''}{detail}",
        hint="whether it was done is not known; try `flaskd_ctl status`",
    )


def _connect(target: Target, *, deadline: float) -> Connection:
    if target.endpoint.scheme == "ipc":
        from flaskd_ctl.transports.zeromq import ZeroMQConnection  # costs 30 ms: only for those who ask

        return ZeroMQConnection(target.endpoint.path, deadline=deadline)
    if target.endpoint.scheme == "tcp":
        from flaskd_ctl.transports.curve import CurveConnection

        return CurveConnection(target, deadline=deadline, ask=ask)
    if target.endpoint.scheme == "ssh":
        from flaskd_ctl.discovery.targets import ssh_ways
        from flaskd_ctl.transports.ssh import SshConnection

        return SshConnection(target, ssh_ways(target.remote_command), deadline=deadline)
    from flaskd_ctl.transports.unix import StreamConnection

    return StreamConnection(target.endpoint.path, deadline=deadline)
