"""The ZeroMQ transport: a ROUTER that serves both REQ and DEALER peers.

A REQ sends [identity, empty, message] and takes exactly one reply; a DEALER sends [identity, message], with or without the
empty frame, and takes notifications too. libzmq owns the listening descriptor that we hand it, closes it, and must not
unlink the path (that stays `claim`'s). What libzmq does not bound is told in docs/control-socket.md.
"""

import asyncio
import contextlib
import socket
from collections.abc import Coroutine
from typing import Any, Final

import zmq
import zmq.asyncio

from flaskd.control import peer
from flaskd.control.registry import Registry, failure
from flaskd_ctl import errors
from flaskd_ctl.protocol import MAX_MESSAGE, Actor

MOST_AT_ONCE: Final = 256  # requests of all peers under way
HELD: Final = 16  # messages of one peer that libzmq keeps for us (of 1 MiB at most)
UNSENT: Final = 256  # messages to one peer that libzmq keeps
HANDSHAKE_MS: Final = 5_000  # a peer that does not greet by then is dropped
HEARTBEAT_MS: Final = 30_000  # only while a peer is connected
LINGER_MS: Final = 1_000


class Router:
    """The ROUTER socket from `open` to `close`, on the control loop."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._tasks: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(MOST_AT_ONCE)

    def open(self, listening: socket.socket, path: str) -> None:
        """Serve on a listening Unix socket, which is libzmq's to close from now on."""
        self._context = zmq.asyncio.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        for option, value in (
            (zmq.ROUTER_MANDATORY, 1),
            (zmq.MAXMSGSIZE, MAX_MESSAGE),
            (zmq.RCVHWM, HELD),
            (zmq.SNDHWM, UNSENT),
            (zmq.HANDSHAKE_IVL, HANDSHAKE_MS),
            (zmq.HEARTBEAT_IVL, HEARTBEAT_MS),
            (zmq.LINGER, LINGER_MS),
        ):
            self._socket.setsockopt(option, value)
        self._socket.setsockopt(zmq.USE_FD, listening.detach())
        self._socket.bind(f"ipc://{path}")
        self._socket.setsockopt(zmq.USE_FD, -1)  # a second bind with it would abort the process
        self._receiving = asyncio.create_task(self._receive())

    async def stop_receiving(self) -> None:
        """Take no further requests."""
        self._receiving.cancel()
        await asyncio.wait({self._receiving})

    @property
    def tasks(self) -> "set[asyncio.Task[None]]":
        """What is under way."""
        return self._tasks

    def close(self) -> None:
        """Close, giving what was sent a moment to leave."""
        self._socket.close()
        self._context.term()

    async def _receive(self) -> None:
        while True:
            await self._slots.acquire()
            frames = await self._socket.recv_multipart(copy=False)
            asker = ZmqPeer(
                self, peer.of_address(_peer_address(frames[-1])), [frame.bytes for frame in frames[:-1]]
            )
            self.spawn(self._answer(asker, frames[-1].bytes))
            await asyncio.sleep(0)  # a flood is always readable: without this nobody else would have a turn

    async def _answer(self, asker: "ZmqPeer", message: bytes) -> None:
        try:
            if len(asker.envelope) == 1 or asker.envelope[1:] == [b""]:
                reply = await self._registry.answer(message, asker)
            else:
                error = errors.InvalidRequest(f"a request is one frame, this had {len(asker.envelope)}")
                asker.envelope, reply = asker.envelope[:1], failure(None, error)
        finally:
            self._slots.release()
        if reply is not None:
            with contextlib.suppress(ConnectionError):  # the asker left
                await asker.send(reply)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` beside the receiving."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def send(self, frames: list[bytes]) -> bool:
        """Send to a peer: False where it reads too slowly; ConnectionError where it is gone."""
        try:
            await self._socket.send_multipart(frames, flags=zmq.NOBLOCK)
        except zmq.Again:
            return False
        except zmq.ZMQError as error:
            raise ConnectionResetError(str(error)) from None
        return True


class ZmqPeer:
    """Where one request came from, and where its reply goes."""

    def __init__(self, router: Router, caller: Actor, envelope: list[bytes]) -> None:
        self.caller = caller
        self.envelope = envelope
        self._router = router

    def takes_notifications(self) -> bool:
        """Tell a DEALER, which sends no empty frame, from a REQ, which has to."""
        return len(self.envelope) == 1

    async def send(self, message: bytes) -> bool:
        """Send one message."""
        return await self._router.send([*self.envelope, message])

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work`; ZeroMQ tells of a peer that left when something is sent to it."""
        self._router.spawn(work)


def _peer_address(frame: Any) -> str:
    try:
        return str(frame.get("Peer-Address"))
    except (zmq.ZMQError, KeyError):
        return ""
