"""libzmq's ROUTER, for callers from other hosts: it serves both REQ and DEALER peers.

A REQ sends [identity, empty, message] and takes exactly one reply; a DEALER sends [identity, message], with or without the
empty frame, and takes notifications too. libzmq owns the listening descriptor that we hand it (ZMQ_USE_FD) and closes it. What
libzmq does not bound, the gateway does (`flaskd.control.tcp.gateway`).
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Final

import zmq

from flaskd.control.registry import Registry, failure
from flaskd_ctl import errors
from flaskd_ctl.protocol import MAX_MESSAGE, Actor

MOST_AT_ONCE: Final = 256  # requests of all peers under way
MAX_UNREAD: Final = 16  # messages of one peer that libzmq keeps for us (of 1 MiB at most)
MAX_UNSENT: Final = 256  # messages to one peer that libzmq keeps
HANDSHAKE_MS: Final = 5_000  # a peer that does not greet by then is dropped
HEARTBEAT_MS: Final = 30_000  # only while a peer is connected
LINGER_MS: Final = 1_000
NOW: Final = int(zmq.NOBLOCK)  # as numbers: an enum's `|` costs as much as reading a frame
MORE: Final = int(zmq.NOBLOCK | zmq.SNDMORE)


USER_ID: Final = "User-Id"
"""The property of each message that holds what the ZAP handler answered: the key."""


class Router:
    """The ROUTER socket from `open` to `close`, on the running loop.

    libzmq tells by a descriptor that something happened (zmq_getsockopt(3), ZMQ_FD). It does so once, when there was nothing
    before: so we read until nothing is left, and look again after each time we send.
    """

    def __init__(self, registry: Registry, caller: Callable[[str], Actor]) -> None:
        """Take for a caller what `caller` makes of its key; it raises NotPermitted for one who may ask nothing any more."""
        self._registry = registry
        self.caller = caller
        self._tasks: set[asyncio.Task[None]] = set()
        self._look: asyncio.Handle | None = None
        self._receiving = False

    def open(
        self,
        listening: socket.socket,
        path: str,
        *,
        context: "zmq.Context[zmq.Socket[bytes]]",
        options: Iterable[tuple[int, Any]],
    ) -> None:
        """Serve on a listening Unix socket, which is libzmq's to close from now on; `options` are further socket options."""
        self._loop = asyncio.get_running_loop()
        self._context = context
        self._socket = self._context.socket(zmq.ROUTER)
        for option, value in (
            (zmq.ROUTER_MANDATORY, 1),
            (zmq.MAXMSGSIZE, MAX_MESSAGE),
            (zmq.RCVHWM, MAX_UNREAD),
            (zmq.SNDHWM, MAX_UNSENT),
            (zmq.HANDSHAKE_IVL, HANDSHAKE_MS),
            (zmq.HEARTBEAT_IVL, HEARTBEAT_MS),
            (zmq.LINGER, LINGER_MS),
            *options,
        ):
            self._socket.setsockopt(option, value)
        self._socket.setsockopt(zmq.USE_FD, listening.detach())
        self._socket.bind(f"ipc://{path}")
        self._socket.setsockopt(zmq.USE_FD, -1)  # a second bind with it would abort the process
        self._receiving = True
        self._loop.add_reader(self._socket.FD, self._receive)
        self._look_soon()

    def stop_receiving(self) -> None:
        """Take no further requests."""
        self._receiving = False
        self._loop.remove_reader(self._socket.FD)

    @property
    def tasks(self) -> "set[asyncio.Task[None]]":
        """What is under way."""
        return self._tasks

    def leave(self) -> None:
        """Close the socket: what was sent leaves, then each connection ends."""
        self._socket.close()

    def close(self) -> None:
        """Close, giving what was sent a moment to leave."""
        self.leave()
        self._context.term()

    def _look_soon(self) -> None:
        """Look into the socket with the loop's next round: a flood is always readable, and others have to have a turn."""
        if self._look is None and self._receiving and len(self._tasks) < MOST_AT_ONCE:
            self._look = self._loop.call_soon(self._receive)

    def _receive(self) -> None:
        if self._look is not None:
            self._look.cancel()
            self._look = None
        if not self._receiving or len(self._tasks) >= MOST_AT_ONCE:
            return
        try:
            frames = self._socket.recv_multipart(NOW, copy=False)
        except zmq.Again:
            return
        envelope = [frame.bytes for frame in frames[:-1]]
        told = _property(frames[-1], USER_ID)
        try:
            self._take(ZmqPeer(self, told, envelope), frames[-1].bytes)
        except errors.NotPermitted as error:
            with contextlib.suppress(ConnectionError):
                self.send([*envelope, failure(None, error)])
        self._look_soon()

    def _take(self, asker: "ZmqPeer", message: bytes) -> None:
        if len(asker.envelope) == 1 or asker.envelope[1:] == [b""]:
            reply = self._registry.answer(message, asker)
        else:
            error = errors.InvalidRequest(f"a request is one frame, this had {len(asker.envelope)}")
            asker.envelope, reply = asker.envelope[:1], failure(None, error)
        if isinstance(reply, Coroutine):
            self.spawn(self._answer_later(asker, reply))
        elif reply is not None:
            with contextlib.suppress(ConnectionError):  # the asker left
                self.send([*asker.envelope, reply])

    async def _answer_later(self, asker: "ZmqPeer", answer: Coroutine[Any, Any, bytes | None]) -> None:
        reply = await answer
        if reply is not None:
            with contextlib.suppress(ConnectionError):
                self.send([*asker.envelope, reply])

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` beside the receiving."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def send(self, frames: list[bytes]) -> bool:
        """Send to a peer: False where it reads too slowly; ConnectionError where it is gone."""
        try:
            for frame in frames[:-1]:
                self._socket.send(frame, MORE)
            self._socket.send(frames[-1], NOW)
        except zmq.Again:
            return False
        except zmq.ZMQError as error:
            raise ConnectionResetError(str(error)) from None
        finally:
            self._look_soon()
        return True

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        self._look_soon()


class ZmqPeer:
    """Where one request came from, and where its reply goes."""

    def __init__(self, router: Router, told: str, envelope: list[bytes]) -> None:
        self.caller = router.caller(told)
        self.groups: frozenset[int] | None = None  # libzmq does not keep them
        self._told = told
        self.envelope = envelope
        self._router = router

    def takes_notifications(self) -> bool:
        """Tell a DEALER, which sends no empty frame, from a REQ, which has to."""
        return len(self.envelope) == 1

    async def send(self, message: bytes) -> bool:
        """Send one message; to who may ask nothing any more, that instead."""
        try:
            self._router.caller(self._told)
        except errors.NotPermitted as error:
            self._router.send([*self.envelope, failure(None, error)])
            raise ConnectionResetError(str(error)) from None
        return self._router.send([*self.envelope, message])

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work`; ZeroMQ tells of a peer that left when something is sent to it."""
        self._router.spawn(work)


def _property(frame: Any, name: str) -> str:
    try:
        return str(frame.get(name))
    except (zmq.ZMQError, KeyError):
        return ""
