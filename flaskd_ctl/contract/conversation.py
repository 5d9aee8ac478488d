"""The client's side of the protocol, sans I/O: request ids, encoding, replies, deadlines.

JSON-RPC 2.0 as in `protocol`, read with plain `json` so that the command line need not import msgspec; `Client` and
`AsyncClient` make typed structs of the results. There is no socket, clock or thread here: the caller passes in bytes and times.

`Lines` splits a plain stream into messages; over ZeroMQ each message comes whole. `Conversation` knows which calls are open.
`Patience` knows how long to listen: at first for a response, then as long as the daemon itself says that it may take.
"""

from __future__ import annotations

import json
from typing import Any, Final, NamedTuple

from flaskd_ctl.contract import strict_json
from flaskd_ctl.errors import BY_NAME, ControlError, Failed, ParseError, TooLarge

MAX_MESSAGE: Final = 1024 * 1024
"""`protocol.MAX_MESSAGE`, repeated because `protocol` imports msgspec (a test keeps them equal)."""

MARGIN: Final = 15.0
"""Seconds that a daemon has after its own deadline to cut the remaining requests, clean up and exit."""


class Reply(NamedTuple):
    """The result of the call `id`."""

    id: int
    result: dict[str, Any]


class Refusal(NamedTuple):
    """The error of the call `id`; None if the daemon could not read the id."""

    id: int | None
    error: ControlError


class Note(NamedTuple):
    """A notification (`method` is "event" or "progress") that belongs to the call `id`."""

    id: int
    method: str
    event: dict[str, Any]


Heard = Reply | Refusal | Note


class Lines:
    """Split a byte stream into messages, one a line, of at most `limit` bytes."""

    def __init__(self, limit: int = MAX_MESSAGE) -> None:
        self._limit = limit
        self._rest = bytearray()

    @property
    def cut_off(self) -> str:
        """What to report if the stream ends here: "" between two messages."""
        return f"in the middle of a reply ({len(self._rest)} bytes had come)" if self._rest else ""

    def feed(self, data: bytes) -> list[bytes]:
        """Take bytes and return the messages that are complete; raise TooLarge for one that is too long."""
        searched = len(self._rest)
        self._rest += data
        end = self._rest.rfind(b"\n", searched)
        messages: list[bytes] = []
        if end >= 0:
            messages = [line for line in bytes(self._rest[:end]).split(b"\n") if line.strip()]
            del self._rest[: end + 1]
        if any(len(message) > self._limit for message in (*messages, self._rest)):
            raise TooLarge(f"a reply is longer than the protocol's {self._limit} bytes")
        return messages


class Conversation:
    """The open calls of one connection; decodes what comes back."""

    def __init__(self) -> None:
        self._last = 0
        self._open: dict[int, str] = {}

    @property
    def open(self) -> dict[int, str]:
        """The calls that have no reply yet: method by id."""
        return dict(self._open)

    def call(self, method: str, params: dict[str, Any] | None = None) -> tuple[int, bytes]:
        """Begin a call; return its id and the message to send (without a line end)."""
        self._last += 1
        request: dict[str, Any] = {"jsonrpc": "2.0", "id": self._last, "method": method}
        if params:
            request["params"] = params
        message = json.dumps(request, separators=(",", ":"), allow_nan=False).encode()
        if len(message) > MAX_MESSAGE:
            raise TooLarge(f"the parameters of {method} are longer than the protocol's {MAX_MESSAGE} bytes")
        self._open[self._last] = method
        return self._last, message

    def hear(self, message: bytes) -> Heard | None:
        """Decode one message; None if it belongs to no call of ours. Raise ParseError if it is not of this protocol."""
        if len(message) > MAX_MESSAGE:
            raise TooLarge(f"a reply is longer than the protocol's {MAX_MESSAGE} bytes")
        try:
            read = strict_json.loads(message)
        except (ValueError, RecursionError):
            raise _not_protocol(message) from None
        if not isinstance(read, dict) or read.get("jsonrpc") != "2.0":
            raise _not_protocol(message)
        if "method" in read:
            return self._note(read, message)
        number = read.get("id")
        if "error" in read:
            return self._refusal(number, read["error"], message)
        if not isinstance(read.get("result"), dict) or type(number) is not int:
            raise _not_protocol(message)
        return Reply(number, read["result"]) if self._open.pop(number, None) else None

    def _note(self, read: dict[str, Any], message: bytes) -> Note | None:
        params = read.get("params")
        if not isinstance(params, dict) or not isinstance(params.get("event"), dict):
            raise _not_protocol(message)
        number = params.get("id")
        # `events` is answered at once and its notifications follow, so a call need not be open to get them.
        if type(number) is not int or not 0 < number <= self._last:
            return None
        return Note(number, str(read["method"]), params["event"])

    def _refusal(self, number: Any, error: Any, message: bytes) -> Refusal | None:
        if not isinstance(error, dict) or not isinstance(error.get("message"), str):
            raise _not_protocol(message)
        if number is None:
            return Refusal(None, error_from_wire(error))
        if type(number) is not int or self._open.pop(number, None) is None:
            return None
        return Refusal(number, error_from_wire(error))


class Patience:
    """How long to listen, in the caller's monotonic seconds.

    `first`: seconds for the first response. `whole`: seconds for everything, the first response included, if the caller set it.
    """

    def __init__(self, now: float, *, first: float, whole: float | None = None) -> None:
        self._started = now
        self._first = first
        self._pinged = False
        self._end = None if whole is None else now + whole
        self._until = now + (first if whole is None else whole)

    @property
    def deadline(self) -> float:
        """When to give up."""
        return self._until if self._end is None else min(self._until, self._end)

    def spent(self, now: float) -> float:
        """Seconds since the beginning."""
        return now - self._started

    def extend(self, now: float, seconds: float) -> None:
        """Listen until `seconds` from now and MARGIN more, within the caller's limit."""
        self._until = now + max(0.0, seconds) + MARGIN

    def heard(self, now: float) -> None:
        """Give a daemon that has sent a message `first` seconds for the next one."""
        self._pinged = False
        self._until = now + self._first

    def extend_for_ping(self, now: float) -> bool:
        """Give a silent daemon `first` seconds to answer a ping.

        Return False if it has had them already, or at the caller's limit.
        """
        if self._pinged or (self._end is not None and now >= self._end):
            return False
        self.heard(now)
        self._pinged = True
        return True

    def forever(self) -> None:
        """Listen as long as it takes, within the caller's limit."""
        self._until = float("inf")


def error_from_wire(error: dict[str, Any]) -> ControlError:
    """Make the exception of an `error` on the wire; Failed if its name and code are unknown."""
    data = error.get("data")
    data = dict(data) if isinstance(data, dict) else {}
    kind = BY_NAME.get(str(data.pop("name", "")))
    if kind is None:
        kind = next((known for known in BY_NAME.values() if known.code == error.get("code")), Failed)
    return kind(str(error["message"]), hint=str(data.pop("hint", "") or ""), data=data)


def _not_protocol(message: bytes) -> ParseError:
    """Quote the beginning of the message, escaped: it may go to a terminal."""
    shown = ascii(message[:60].decode("utf-8", "replace"))[1:-1] + ("…" if len(message) > 60 else "")
    return ParseError(
        f"the response is not in flaskd's protocol: {shown}",
        hint="check the --endpoint; ipc:// is ZeroMQ and unix:// the plain stream",
    )
