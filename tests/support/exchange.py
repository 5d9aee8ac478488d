"""One client connection: connect, send, read the response, and say exactly how it ended."""

import asyncio
import base64
import dataclasses
import errno
import json
import random
import socket
import ssl
import time
from collections.abc import Callable
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from tests.support.http1 import BadResponseError, Response
from tests.support.outcome import Outcome, Record
from tests.support.wire import CutError, Wire, trusting

TOLERANCE: Final = 0.05
"""Seconds by which a request may be sent later than promised before its loss is excused."""


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """How much load, for how long at most, how patient. Seconds; `rate` is connections a second, `posts` a share of requests.

    `authority` is a PEM file: who has signed the certificate of an https target.
    """

    mode: Literal["closed", "open"] = "closed"
    clients: int = 12
    rate: float = 80.0
    seed: int = 0
    seconds: float = 30.0
    count: int = 20_000
    send_delay: float = 0.4
    think: float = 2.0
    timeout: float = 15.0
    connect_timeout: float = 6.0
    authority: str = ""
    posts: float = 0.0


LETTERS: Final = bytes(97 + index % 26 for index in range(40_000))


@dataclasses.dataclass(frozen=True, slots=True)
class Ask:
    """One request and how to recognise its answer."""

    path: str
    check: Callable[[Response], bool]
    body: bytes | None = None  # of a POST


def ask(rng: random.Random, *, posts: float = 0.0) -> Ask:
    """Choose a request: mostly slow ones, else some text, a stream, many chunks; each knows its own answer.

    Of a share of `posts` the answer says what was sent: no balancer may send one of these twice.
    """
    number = str(rng.randrange(1 << 30))
    if posts and rng.random() < posts:
        return Ask("/post", lambda got: json.loads(got.body)["data"] == number, number.encode())
    kind = rng.random()
    if kind < 0.6:
        return Ask(f"/delay/0.02?n={number}", lambda got: json.loads(got.body)["args"] == {"n": number})
    if kind < 0.75:
        text = (number * 200).encode()
        return Ask(f"/base64/{base64.urlsafe_b64encode(text).decode()}", lambda got: got.body == text)
    if kind < 0.85:
        return Ask("/range/40000?chunk_size=2000", lambda got: got.body == LETTERS)
    return Ask(
        f"/stream/3?n={number}",
        lambda got: [json.loads(line)["args"] for line in got.body.splitlines()] == [{"n": number}] * 3,
    )


class _GoneError(Exception):
    """The exchange ended without a response."""

    def __init__(self, outcome: Outcome, detail: str) -> None:
        super().__init__(detail)
        self.outcome = outcome


class Connection:
    """One client connection and what it has seen."""

    def __init__(self, target: str, plan: Plan) -> None:
        self._plan = plan
        family, self._address, self._host = address(target)
        secure = target.startswith("https:")
        self._wire = Wire(
            family,
            context=trusting(plan.authority) if secure else None,
            host=self._address[0] if secure else "",
        )
        self._established = False
        self._connected_in = 0.0
        self._born = 0.0
        self._used = 0
        self._answered = 0.0

    def close(self) -> None:
        """Give the descriptor back."""
        self._wire.close()

    async def exchange(self, asked: Ask, *, pieces: list[float] | None = None) -> tuple[Record, bool]:
        """Send one request and read its response, after connecting if need be.

        Return what became of it, and whether the connection may be used again. `pieces` are pauses in
        seconds, one before each equal part of the request.
        """
        reused = self._used > 0
        idle = time.monotonic() - self._answered if reused else 0.0
        self._used += 1
        begun = time.monotonic()
        sent = begun
        response = Response()
        outcome, detail = Outcome.OK, ""
        try:
            if not self._established:
                await self._connect()
                begun = self._born
            sent = await self._send(asked, pieces or [0.0], response)
            await self._receive(response)
            if response.status != 200 or response.surplus or not _checked(asked, response):
                outcome, detail = Outcome.WRONG, f"status {response.status}, {len(response.body)} bytes"
        except _GoneError as gone:
            outcome, detail = gone.outcome, str(gone)
        except BadResponseError as error:
            outcome, detail = Outcome.WRONG, str(error)
        record = Record(
            outcome=outcome,
            path=asked.path[:60],
            reused=reused,
            established=self._established,
            received=response.received,
            connected_in=round(self._connected_in, 3),
            sent_after=round(sent - begun, 3),
            took=round(time.monotonic() - begun, 3),
            detail=detail,
            late=sent - begun > (self._plan.send_delay + TOLERANCE if pieces else TOLERANCE)
            or idle > (self._plan.think if pieces else 0.0) + TOLERANCE,
        )
        self._answered = time.monotonic()
        return record, outcome is Outcome.OK and response.reusable

    async def idle(self, seconds: float) -> bool:
        """Keep the connection open for a while; tell whether it still is, as far as a client can see."""
        return await self._wire.quiet(seconds)

    async def _connect(self) -> None:
        begun = time.monotonic()
        try:
            async with asyncio.timeout(self._plan.connect_timeout):
                await self._wire.connect(self._address)
        except TimeoutError:
            raise _GoneError(Outcome.TIMED_OUT, "the connect was neither accepted nor refused") from None
        except (ConnectionRefusedError, FileNotFoundError) as error:
            raise _GoneError(Outcome.REFUSED, str(error)) from None
        except ConnectionError as error:
            raise _GoneError(Outcome.RESET, f"connect: {error}") from None
        finally:
            self._connected_in = time.monotonic() - begun
        self._established = True
        await self._shake_hands()
        self._born = time.monotonic()

    async def _shake_hands(self) -> None:
        try:
            async with asyncio.timeout(self._plan.timeout):
                await self._wire.shake_hands()
        except TimeoutError:
            raise _GoneError(Outcome.TIMED_OUT, "the handshake did not end") from None
        except CutError as error:
            raise _GoneError(Outcome.TRUNCATED, f"handshake: {error}") from None
        except ssl.SSLError as error:
            raise _GoneError(Outcome.WRONG, f"handshake: {error}") from None
        except ConnectionError as error:
            raise _GoneError(Outcome.RESET, f"handshake: {error}") from None

    async def _send(self, asked: Ask, pieces: list[float], response: Response) -> float:
        """Send the request; return when its last byte went out. A server may answer and close before that."""
        sends = asked.body is not None
        data = f"{'POST' if sends else 'GET'} {asked.path} HTTP/1.1\r\nHost: {self._host}\r\nAccept: */*\r\n".encode()
        if asked.body is not None:
            data += f"Content-Type: text/plain\r\nContent-Length: {len(asked.body)}\r\n".encode()
        data += b"\r\n" + (asked.body or b"")
        step = -(-len(data) // len(pieces))
        try:
            for index, pause in enumerate(pieces):
                if pause:
                    await asyncio.sleep(pause)
                await self._wire.send(data[index * step : (index + 1) * step])
        except ConnectionError as error:
            raise _GoneError(Outcome.RESET, f"sending: {error}") from None
        return time.monotonic()

    async def _receive(self, response: Response) -> None:
        try:
            async with asyncio.timeout(self._plan.timeout):
                while not response.complete:
                    data = await self._wire.receive()
                    if data:
                        response.feed(data)
                        continue
                    response.eof()
                    if not response.complete:
                        raise _GoneError(Outcome.TRUNCATED, f"ended after {response.received} bytes")
        except TimeoutError:
            raise _GoneError(Outcome.TIMED_OUT, f"{response.received} bytes, then silence") from None
        except CutError as error:  # also where the end of the connection would be the end of the body
            raise _GoneError(Outcome.TRUNCATED, f"{error}, after {response.received} bytes") from None
        except ssl.SSLError as error:
            raise _GoneError(Outcome.WRONG, f"receiving: {error}") from None
        except OSError as error:
            if error.errno not in {errno.ECONNRESET, errno.EPIPE, errno.ENOTCONN}:
                raise
            raise _GoneError(Outcome.RESET, f"receiving: {error}") from None


def address(target: str) -> tuple[socket.AddressFamily, Any, str]:
    """Read `http://host:port`, `https://…` or `unix:/path` into a family, an address for connect, and a Host header."""
    if target.startswith("unix:"):
        return socket.AF_UNIX, "/" + target.removeprefix("unix:").lstrip("/"), "localhost"
    parts = urlsplit(target)
    family = socket.AF_INET6 if ":" in (parts.hostname or "") else socket.AF_INET
    return family, (parts.hostname, parts.port), parts.netloc


def _checked(asked: Ask, response: Response) -> bool:
    try:
        return asked.check(response)
    except (ValueError, KeyError, TypeError):
        return False
