"""The transport for other hosts: libzmq's ROUTER, which serves both REQ and DEALER peers.

A REQ sends [identity, empty, message] and accepts exactly one reply. A DEALER sends [identity, message], with or without the
empty frame, and accepts notifications too. libzmq owns the listening descriptor that we give it and closes it. It does
not limit connections: the gateway in front of it does (`flaskd.control.tcp.gateway`).
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

MAX_REQUESTS: Final = 256  # requests of all peers under way
MAX_UNREAD: Final = 16  # messages of one peer that libzmq keeps for us (of 1 MiB at most)
MAX_UNSENT: Final = 256  # messages to one peer that libzmq keeps
HANDSHAKE_MS: Final = 5_000  # a peer that has not sent its greeting by then is disconnected
LINGER_MS: Final = 1_000
NOW: Final = int(zmq.NOBLOCK)  # as numbers: an enum's `|` costs as much as reading a frame
MORE: Final = int(zmq.NOBLOCK | zmq.SNDMORE)


USER_ID: Final = "User-Id"
"""The property of each message that contains the ZAP handler's answer: the key."""

Identify = Callable[[str], Actor]
"""Makes an Actor of a key. Raises NotPermitted for one that has lost its access."""


class Router:
    """The transport, open from the start, on the running loop.

    libzmq reports by a descriptor that something happened (zmq_getsockopt(3), ZMQ_FD), but only once if there was nothing
    before. So we read until nothing is left, and read again after each message that we send.
    """

    def __init__(
        self,
        registry: Registry,
        listening: socket.socket,
        path: str,
        *,
        identify: Identify,
        context: "zmq.Context[zmq.Socket[bytes]]",
        options: Iterable[tuple[int, Any]],
    ) -> None:
        """Serve on a listening Unix socket, as `listen` does. `options` are further socket options."""
        self.identify = identify
        self.serving = True
        self.tasks: set[asyncio.Task[None]] = set()
        self._registry = registry
        self._loop = asyncio.get_running_loop()
        self._context = context
        self._socket = _router_socket(self._context, options)
        self.listen(listening, path)
        self._loop.add_reader(self._socket.FD, self._receive)
        self._scheduled: asyncio.Handle | None = self._loop.call_soon(self._receive)

    def listen(self, listening: socket.socket, path: str) -> None:
        """Accept from a listening Unix socket, which libzmq closes.

        A socket that was removed from this path stays open until the end: zmq_unbind(3) would end its connections.
        """
        self._socket.setsockopt(zmq.USE_FD, listening.detach())
        self._socket.bind(f"ipc://{path}")
        self._socket.setsockopt(zmq.USE_FD, -1)  # a second bind with it would abort the process

    async def stop_accepting(self) -> None:
        """Take no more requests."""
        self.serving = False
        self._loop.remove_reader(self._socket.FD)

    def close_socket(self) -> None:
        """Close the socket: libzmq sends what is left, then ends each connection."""
        self._socket.close()

    async def close(self) -> None:
        """Close, and wait a moment until what is left has been sent."""
        self.close_socket()
        self._context.term()

    def _receive_soon(self) -> None:
        """Read in the loop's next turn: during a flood the socket is always readable, and others need a turn too."""
        if self._scheduled is None and self.serving and len(self.tasks) < MAX_REQUESTS:
            self._scheduled = self._loop.call_soon(self._receive)

    def _receive(self) -> None:
        if self._scheduled is not None:
            self._scheduled.cancel()
            self._scheduled = None
        if not self.serving or len(self.tasks) >= MAX_REQUESTS:
            return
        try:
            *envelope, message = self._socket.recv_multipart(NOW, copy=False)
        except zmq.Again:
            return
        identity = _property(message, USER_ID)
        self._answer([frame.bytes for frame in envelope], identity, message.bytes)
        self._receive_soon()

    def _answer(self, envelope: list[bytes], identity: str, message: bytes) -> None:
        reply: bytes | Coroutine[Any, Any, bytes | None] | None
        try:
            sender = ZmqPeer(self, identity, envelope)
            if len(envelope) == 1 or envelope[1:] == [b""]:
                reply = self._registry.answer(message, sender)
            else:
                error = errors.InvalidRequest(f"a request is one frame, this had {len(envelope)}")
                envelope, reply = envelope[:1], failure(None, error)
        except errors.NotPermitted as refused:
            reply = failure(None, refused)
        if isinstance(reply, Coroutine):
            self.spawn(self._answer_later(envelope, reply))
        else:
            self._reply(envelope, reply)

    async def _answer_later(self, envelope: list[bytes], reply: Coroutine[Any, Any, bytes | None]) -> None:
        self._reply(envelope, await reply)

    def _reply(self, envelope: list[bytes], reply: bytes | None) -> None:
        if reply is not None:
            with contextlib.suppress(ConnectionError):  # the peer has disconnected
                self.send([*envelope, reply])

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` as a task."""
        task = self._loop.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self._task_done)

    def send(self, frames: list[bytes]) -> bool:
        """Send to a peer. Return False if it reads too slowly; raises ConnectionError if it is gone."""
        try:
            for frame in frames[:-1]:
                self._socket.send(frame, MORE)
            self._socket.send(frames[-1], NOW)
        except zmq.Again:
            return False
        except zmq.ZMQError as error:
            raise ConnectionResetError(str(error)) from None
        finally:
            self._receive_soon()
        return True

    def _task_done(self, task: "asyncio.Task[None]") -> None:
        self.tasks.discard(task)
        self._receive_soon()


class ZmqPeer:
    """The sender of one request. Raises NotPermitted if it has lost its access."""

    def __init__(self, router: Router, identity: str, envelope: list[bytes]) -> None:
        self.caller = router.identify(identity)
        self.groups: frozenset[int] | None = None  # libzmq does not keep them
        self._identity = identity
        self._envelope = envelope
        self._router = router

    def takes_notifications(self) -> bool:
        """Return whether it is a DEALER, which sends no empty frame; a REQ always does."""
        return len(self._envelope) == 1

    async def until_writable(self) -> None:
        """Return at once: what a peer does not read is dropped, or libzmq's."""

    async def until_gone(self) -> None:
        """Never return: libzmq does not tell."""
        await asyncio.Event().wait()

    async def send(self, message: bytes) -> bool:
        """Send one message. A peer that has lost its access gets the error instead."""
        try:
            self._router.identify(self._identity)
        except errors.NotPermitted as error:
            self._router.send([*self._envelope, failure(None, error)])
            raise ConnectionResetError(str(error)) from None
        return self._router.send([*self._envelope, message])

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work`; that a ZeroMQ peer has disconnected shows only when something is sent to it."""
        self._router.spawn(work)


def _router_socket(
    context: "zmq.Context[zmq.Socket[bytes]]", options: Iterable[tuple[int, Any]]
) -> "zmq.Socket[bytes]":
    sock = context.socket(zmq.ROUTER)
    for option, value in (
        (zmq.ROUTER_MANDATORY, 1),
        (zmq.MAXMSGSIZE, MAX_MESSAGE),
        (zmq.RCVHWM, MAX_UNREAD),
        (zmq.SNDHWM, MAX_UNSENT),
        (zmq.HANDSHAKE_IVL, HANDSHAKE_MS),
        (zmq.LINGER, LINGER_MS),
        *options,
    ):
        sock.setsockopt(option, value)
    return sock


def _property(frame: Any, name: str) -> str:
    try:
        return str(frame.get(name))
    except (zmq.ZMQError, KeyError):
        return ""
