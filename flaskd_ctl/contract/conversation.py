"""What is said between a client and an instance, without saying it: ids, encoding, replies, deadlines.

JSON-RPC 2.0 as in `protocol`, read with plain `json` so that the command line does not pay for msgspec;
`client` and `aio` make typed structs of the results. No socket, clock or thread here: bytes go in and
meanings come out, time is handed in.

A plain stream is cut into messages by `Lines`; over ZeroMQ each message comes whole. `Conversation` knows
which calls are open. `Patience` knows until when it is worth listening: for a first word, and after that as
long as the daemon itself says that it may take.
"""

from __future__ import annotations

import json
from typing import Any, Final, NamedTuple

from flaskd_ctl.errors import BY_NAME, ControlError, Failed, ParseError, TooLarge

MAX_MESSAGE: Final = 1024 * 1024
"""`protocol.MAX_MESSAGE`, stated again since `protocol` costs msgspec's import (a test holds them equal)."""

MARGIN: Final = 15.0
"""Seconds that a daemon gets beyond its own deadline: to cut what is left, clean up, end its process."""


class Reply(NamedTuple):
    """The answer to the call `id`."""

    id: int
    result: dict[str, Any]


class Refusal(NamedTuple):
    """The call `id` failed; None where the daemon could not read which call it was."""

    id: int | None
    error: ControlError


class Note(NamedTuple):
    """A notification (`method` is "event" or "progress") that belongs to the call `id`."""

    id: int
    method: str
    event: dict[str, Any]


Heard = Reply | Refusal | Note


class Lines:
    """Cut a byte stream into messages, one a line; at most `limit` bytes wait for their end."""

    def __init__(self, limit: int = MAX_MESSAGE) -> None:
        self._limit = limit
        self._rest = bytearray()

    @property
    def cut_off(self) -> str:
        """What to say when the stream ends here: "" between two messages."""
        return f"in the middle of a reply ({len(self._rest)} bytes had come)" if self._rest else ""

    def feed(self, data: bytes) -> list[bytes]:
        """Take what came and return the messages that are whole now; raise TooLarge for one without end."""
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
    """The calls that are open on one connection, and the meaning of what comes back."""

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
        """Read one message; None if it belongs to no call of ours. Raise ParseError for another protocol."""
        if len(message) > MAX_MESSAGE:
            raise TooLarge(f"a reply is longer than the protocol's {MAX_MESSAGE} bytes")
        try:
            read = json.loads(message)
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
    """Until when to listen, in the caller's monotonic seconds.

    `first` seconds for the first word; `whole`, where the caller set it, bounds everything and is then the
    time for the first word too.
    """

    def __init__(self, now: float, *, first: float, whole: float | None = None) -> None:
        self._began = now
        self._first = first
        self._nudged = False
        self._end = None if whole is None else now + whole
        self._until = now + (first if whole is None else whole)

    @property
    def deadline(self) -> float:
        """When to give up."""
        return self._until if self._end is None else min(self._until, self._end)

    def spent(self, now: float) -> float:
        """Seconds since the beginning."""
        return now - self._began

    def extend(self, now: float, seconds: float) -> None:
        """Listen until `seconds` from now and MARGIN more, yet not beyond the caller's own bound."""
        self._until = now + max(0.0, seconds) + MARGIN

    def heard(self, now: float) -> None:
        """Give a daemon that has said something, and will say more, `first` seconds for its next word."""
        self._nudged = False
        self._until = now + self._first

    def nudge(self, now: float) -> bool:
        """Give a silent daemon `first` seconds to answer a ping.

        False when it has had them already, or the caller's own bound is reached.
        """
        if self._nudged or (self._end is not None and now >= self._end):
            return False
        self.heard(now)
        self._nudged = True
        return True

    def forever(self) -> None:
        """Listen as long as it takes, yet not beyond the caller's own bound."""
        self._until = float("inf")


def error_from_wire(error: dict[str, Any]) -> ControlError:
    """Make the exception that the wire's `error` stands for; a name and code unknown to us are a Failed."""
    data = error.get("data")
    data = dict(data) if isinstance(data, dict) else {}
    kind = BY_NAME.get(str(data.pop("name", "")))
    if kind is None:
        kind = next((known for known in BY_NAME.values() if known.code == error.get("code")), Failed)
    return kind(str(error["message"]), hint=str(data.pop("hint", "") or ""), data=data)


def _not_protocol(message: bytes) -> ParseError:
    """Quote the beginning of what came in place of a reply, escaped: it may go to a terminal."""
    shown = ascii(message[:60].decode("utf-8", "replace"))[1:-1] + ("…" if len(message) > 60 else "")
    return ParseError(
        f"what answers does not speak flaskd's protocol; it said: {shown}",
        hint="check the --endpoint; ipc:// is ZeroMQ and unix:// the plain stream",
    )
