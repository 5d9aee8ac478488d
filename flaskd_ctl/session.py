"""One connection and the calls on it, untyped and blocking: the command line's, and under `Client`.

`Session` joins a transport to a `Conversation` and turns what transports raise (TimeoutError, EOFError) into
sentences. `stop` is the whole of a shutdown or kill: watch the process, ask, follow the progress, see it
gone.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Final, Protocol, Self

from flaskd_ctl.conversation import Conversation, Note, Patience, Refusal, Reply
from flaskd_ctl.departure import Departure
from flaskd_ctl.errors import ConnectionLost, TimedOut
from flaskd_ctl.instances import Target
from flaskd_ctl.times import span

FIRST_WORD: Final = 10.0
"""Seconds that a daemon has for its first word, unless the caller says otherwise."""

LAST_BREATH: Final = 0.5
"""Seconds that a process has to end after its connections have."""

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

    def begin(self, method: str, params: dict[str, Any] | None = None, *, patience: Patience) -> None:
        """Send a call."""
        self._method = method
        _, message = self._conversation.call(method, params)
        try:
            self.connection.send(message, deadline=patience.deadline)
        except TimeoutError:
            raise self._timed_out(patience) from None
        except EOFError:
            raise lost(self.target, method) from None

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
            if isinstance(heard, Note):
                yield heard.event
                if is_last(heard.event):
                    return

    def until_end(self, *, deadline: float) -> None:
        """Wait until the peer ends the connection, whatever it says until then, or until the deadline."""
        with contextlib.suppress(EOFError, TimeoutError):
            while True:
                self.connection.receive(deadline=deadline)

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


def stop(
    target: Target,
    method: str,
    params: dict[str, Any],
    *,
    first: float = FIRST_WORD,
    whole: float | None = None,
    wait: bool = True,
    on_progress: OnProgress | None = None,
) -> dict[str, Any] | None:
    """Ask for the end and see it: return the result once the instance is gone.

    Without `wait`, return as soon as the end has begun: the result if it is there already, else None. Raises
    TimedOut, ConnectionLost (it ended before it said how), and whatever the daemon refuses with.
    """
    patience = Patience(time.monotonic(), first=first, whole=whole)
    with (
        Session(target, deadline=patience.deadline) as session,
        Departure(session.connection.path, session.connection.pid) as departure,
    ):
        latest: dict[str, Any] = {}

        def note(event: dict[str, Any]) -> None:
            latest.update(event)
            if on_progress:
                on_progress(event)

        try:
            result = _hear_end(session, method, params, patience=patience, wait=wait, on_progress=note)
        except TimedOut:
            if latest and whole is not None:
                raise still_stopping(target, latest, whole) from None
            raise
        except ConnectionLost as error:
            return after_loss(error, method, target, departure)
        if result is None or not wait:
            return result
        patience.extend(time.monotonic(), 0)
        if see_gone(session, departure, process_exits=exits(result), deadline=patience.deadline):
            return result
        raise not_gone(target, departure)


def see_gone(session: Session, departure: Departure, *, process_exits: bool, deadline: float) -> bool:
    """Wait for the end: of the process by its descriptor, else of our connection and then of the socket.

    The connection goes first since a daemon ends those that it has together with its listener; a new one, made only to see
    whether somebody still listens, could be the one that it accepts last.
    """
    if departure.watches(process_exits=process_exits) is None:
        session.until_end(deadline=deadline)
    session.connection.close()
    return departure.wait(process_exits=process_exits, deadline=deadline)


def _hear_end(
    session: Session,
    method: str,
    params: dict[str, Any],
    *,
    patience: Patience,
    wait: bool,
    on_progress: OnProgress | None,
) -> dict[str, Any] | None:
    session.begin(method, params, patience=patience)
    while True:
        heard = session.listen(patience)
        if isinstance(heard, Reply):
            return heard.result
        patience.extend(time.monotonic(), slack(heard.event, params))
        if on_progress:
            on_progress(heard.event)
        if not wait:
            return None


def slack(event: dict[str, Any], params: dict[str, Any]) -> float:
    """Seconds that the daemon itself says it may still take, the lame duck included."""
    left = event.get("deadline_left")
    return (float(left) if isinstance(left, int | float) else 0.0) + float(params.get("lame_duck") or 0.0)


def exits(result: dict[str, Any]) -> bool:
    """Tell whether the process ends, rather than only the instance in it."""
    return bool(result.get("process_exits", True))


def is_last(event: dict[str, Any]) -> bool:
    """Tell whether nothing comes after this event."""
    return event.get("event") == "state" and event.get("state") == "stopped"


def timed_out(target: Target, method: str, seconds: float, pid: int | None) -> TimedOut:
    """Say who did not answer what, for how long."""
    who = f"pid {pid}" if pid else "its process"
    last_resort = f"; `kill -9 {pid}` ends it in any case" if pid and method == "kill" else ""
    return TimedOut(
        f"{target.name} did not answer `{method}` for {span(seconds)}, though something listens at "
        f"{target.endpoint.path}",
        hint=f"see whether {who} is stopped or stuck{last_resort}",
        data={"pid": pid} if pid else None,
    )


def still_stopping(target: Target, latest: dict[str, Any], seconds: float) -> TimedOut:
    """Say that the end has begun and takes longer than the caller would wait."""
    return TimedOut(
        f"{target.name} is still stopping after {span(seconds)} (seen last: {latest.get('phase')}, "
        f"{latest.get('in_flight')} in flight); it goes on",
        hint="wait for it with `flaskd_ctl wait --for stopped`, or cut what is left with `flaskd_ctl shutdown --grace 0`",
    )


def lost(target: Target, method: str, detail: str = "") -> ConnectionLost:
    """Say that the peer went away."""
    return ConnectionLost(
        f"{target.name} closed the connection before it answered `{method}`{', ' if detail else ''}{detail}",
        hint="whether it was done is not known; try `flaskd_ctl status`",
    )


def after_loss(error: ConnectionLost, method: str, target: Target, departure: Departure) -> dict[str, Any]:
    """Make the best of a connection lost while the end was awaited: if the process has ended, that is all `kill` wanted.

    A shutdown of which nobody told how it went is no success: raises ConnectionLost, saying what is known.
    """
    if departure.pidfd is None or not departure.wait(
        process_exits=True, deadline=time.monotonic() + LAST_BREATH
    ):
        raise error
    if method == "kill":
        return {"pid": departure.pid, "process_exits": True}
    raise ConnectionLost(
        f"{target.name} (pid {departure.pid}) ended before it said how: requests may have been cut",
        hint="see its log",
    )


def not_gone(target: Target, departure: Departure) -> TimedOut:
    """Say that the daemon reported its end and yet is there."""
    who = f"pid {departure.pid}" if departure.pidfd is not None else f"what listens at {departure.path}"
    return TimedOut(
        f"{target.name} has stopped serving, but {who} is still there",
        hint="something in the program may keep it from ending: see its log",
    )


def _connect(target: Target, *, deadline: float) -> Connection:
    if target.endpoint.scheme == "ipc":
        from flaskd_ctl.zeromq import ZeroMQConnection  # costs 30 ms: only for those who ask

        return ZeroMQConnection(target.endpoint.path, deadline=deadline)
    from flaskd_ctl.stream import StreamConnection

    return StreamConnection(target.endpoint.path, deadline=deadline)
