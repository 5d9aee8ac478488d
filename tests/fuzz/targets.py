"""The decoders of the control plane, each as a function of bytes that holds them to their laws."""

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import Callable, Coroutine
from typing import Any, Final

from flaskd.audit.log import Audit, quiet
from flaskd.control.access.policy import Rules
from flaskd.control.registry import Call, Registry
from flaskd.control.transports import zmtp
from flaskd.control.transports.connection import LocalConnection
from flaskd.control.transports.framing import Framing, LineFraming
from flaskd.control.transports.turns import Turns
from flaskd.control.transports.zmtp import ZmtpFraming
from flaskd.probes import health
from flaskd.probes.rotation import Rotation
from flaskd.shutdown.lifecycle import State
from flaskd_ctl.contract.commands import COMMANDS
from flaskd_ctl.contract.conversation import Conversation, Lines
from flaskd_ctl.errors import BY_NAME, ControlError
from flaskd_ctl.protocol import MAX_MESSAGE, Actor
from tests.fuzz.material import GREETING, READY

Check = Callable[[bytes], None]


class Asker:
    """A peer that may do everything, and to which nothing is sent."""

    caller = Actor(via="control", uid=os.geteuid(), gid=os.getegid(), pid=os.getpid())
    groups: frozenset[int] | None = frozenset()

    async def until_writable(self) -> None:
        pass

    async def until_gone(self) -> None:
        await asyncio.Event().wait()

    def takes_notifications(self) -> bool:
        return True

    async def send(self, message: bytes) -> bool:
        return True

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        work.close()


class Door:
    """Where a connection came in, that has room for all."""

    def __init__(self) -> None:
        self.registry = REGISTRY
        self.turns = Turns()
        self.buffer = memoryview(bytearray(65_536))

    def turn_away(self, connection: LocalConnection) -> None:
        pass

    leave = turn_away


class Wire(asyncio.Transport):
    """A transport that keeps what is written; `ours` is a socket whose other end is this process."""

    def __init__(self, ours: socket.socket) -> None:
        super().__init__({"socket": ours})
        self.written = bytearray()
        self.closing = False

    def write(self, data: Any) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.closing = True

    abort = close

    def pause_reading(self) -> None:
        pass

    resume_reading = pause_reading


def registry() -> Registry:
    """Serve every command: some at once, some later, with a result that says nothing."""

    async def later(call: Call[Any]) -> dict[str, Any]:
        return {}

    def now(call: Call[Any]) -> dict[str, Any]:
        return {}

    handlers = {name: later if number % 3 == 0 else now for number, name in enumerate(COMMANDS)}
    return Registry(Rules(owner=os.geteuid()), handlers, Audit("", report=quiet))


REGISTRY: Final = registry()


HEALTHY: Final = Rotation(State.RUNNING, serving=1, wanted=1, threads=1, in_flight=0)


def check_reply(reply: bytes) -> None:
    """Hold one reply to JSON-RPC 2.0, to the protocol's size, and to errors that somebody foresaw."""
    assert len(reply) <= MAX_MESSAGE
    read = json.loads(reply)
    assert read["jsonrpc"] == "2.0"
    assert "id" in read
    assert ("result" in read) != ("error" in read)
    if "error" in read:
        name = read["error"]["data"]["name"]
        assert name in BY_NAME
        assert name != "internal", read["error"]
        assert read["error"]["message"]


def request(data: bytes) -> None:
    """One message, as both transports pass it on: a reply that is right, or none for a notification."""
    answer = REGISTRY.answer(data, Asker())
    if isinstance(answer, Coroutine):
        answer = _at_once(answer)
    if answer is None:
        assert "id" not in json.loads(data)
    else:
        check_reply(answer)


def _at_once(work: Coroutine[Any, Any, bytes | None]) -> bytes | None:
    try:
        work.send(None)
    except StopIteration as ended:
        value: bytes | None = ended.value
        return value
    raise AssertionError("no handler here has to wait")


async def _stream(data: bytes, framing: Framing) -> bytes:
    """Send it in two parts and then the end; return what is written, when there was time for each message."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        door, wire = Door(), Wire(ours)
        peer = LocalConnection(door, framing, ours, Asker.caller)
        peer.connection_made(wire)
        for part in (data[: len(data) // 2], data[len(data) // 2 :]):
            for at in range(0, len(part), len(door.buffer)):
                piece = part[at : at + len(door.buffer)]
                peer.get_buffer(-1)[: len(piece)] = piece
                peer.buffer_updated(len(piece))
        if not wire.closing:
            peer.eof_received()
        while not (peer.idle or wire.closing):
            await asyncio.sleep(0)
        assert wire.closing or not peer.tasks
        peer.connection_lost(None)
        while peer.tasks:
            await asyncio.sleep(0)
        return bytes(wire.written)


async def _lines(data: bytes) -> None:
    replies = (await _stream(data, LineFraming())).splitlines()
    for reply in replies:
        check_reply(reply)
    assert len(replies) <= 1 + data.count(b"\n")


async def _zmtp(data: bytes) -> None:
    """After a good handshake, or before one: what is written is whole frames, and each message is a reply."""
    for start in (b"", GREETING + READY):
        written = await _stream(start + data, ZmtpFraming())
        assert written.startswith(zmtp.GREETING)
        written = written[len(zmtp.GREETING) :]
        while written:
            flags, size = written[0], 9 if written[0] & zmtp.LONG else 2
            end = size + int.from_bytes(written[1:size], "big")
            body, written = written[size:end], written[end:]
            if not flags & (zmtp.COMMAND | zmtp.MORE):
                check_reply(body)


def reply(data: bytes) -> None:
    """What a client hears: a meaning, nothing, or an error of the client's own family."""
    talk = Conversation()
    talk.call("ping")
    with contextlib.suppress(ControlError):
        for message in Lines().feed(data + b"\n"):
            talk.hear(message)
    with contextlib.suppress(ControlError):
        talk.hear(data)


def probe(data: bytes) -> None:
    """What the health listener is asked: a whole HTTP response, or nothing before the head is whole."""
    answer = health.answer(data, lambda: HEALTHY)
    assert (answer is None) == (b"\r\n\r\n" not in data)
    if isinstance(answer, bytes):
        head, blank, _ = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 ")
        assert blank


class Decoders:
    """All of them by name, with a loop for the one that lives on one."""

    def __enter__(self) -> dict[str, Check]:
        self._runner = asyncio.Runner()
        return {
            "request": request,
            "line": lambda data: self._runner.run(_lines(data)),
            "zmtp": lambda data: self._runner.run(_zmtp(data)),
            "reply": reply,
            "probe": probe,
        }

    def __exit__(self, *exc: object) -> None:
        self._runner.close()
