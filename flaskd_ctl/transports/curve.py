"""The transport to another host: ZeroMQ over TCP with CURVE, which authenticates both sides and encrypts.

A plain connect(2) goes first, as on this host: it shows at once that nothing listens, or that the host cannot be reached.
Nothing is sent before the handshake has ended, since that shows a wrong key: a server drops a client that encrypts for
another key without a word, and refuses one whose own key it does not know (ZeroMQ RFC 26 and 27).
"""

from __future__ import annotations

import errno
import socket
import time
from functools import partial
from typing import Any, Final

import zmq

from flaskd_ctl.contract.endpoint import Target, host_and_port
from flaskd_ctl.contract.keys import read_pair, read_public
from flaskd_ctl.errors import BadPlace, ControlError, NotPermitted, NotRunning, TimedOut, Unreachable
from flaskd_ctl.transports.backend import Backend
from flaskd_ctl.transports.remote_exit import AskStatus, RemoteExit
from flaskd_ctl.transports.zeromq import ENDS, ZeroMQConnection

HEARTBEAT_MS: Final = 30_000
"""A host that has been silent for twice as long counts as gone."""

PAUSES: Final = (0.1, 0.4)
"""Seconds before the next attempts, if the other side ends the handshake: it does so too when it has too many connections."""

HANDSHAKE: Final = zmq.EVENT_HANDSHAKE_SUCCEEDED
EVENTS: Final = ENDS | HANDSHAKE


class HandshakeEnded(NotPermitted):
    """The other side ended the handshake without a reason: it has another key, or too many connections."""


class CurveConnection(ZeroMQConnection):
    """A connection to an instance of another host."""

    def __init__(self, backend: Backend, target: Target, ask_status: AskStatus, *, url: str) -> None:
        super().__init__(
            backend, target.endpoint.path, None, url=url, options=options_for(target), events=EVENTS
        )
        self._target = target
        self._ask_status = ask_status

    @classmethod
    async def reach(
        cls, backend: Backend, target: Target, ask_status: AskStatus, *, deadline: float
    ) -> CurveConnection:
        """Connect and shake hands; raise NotRunning, NotPermitted, Unreachable, TimedOut, BadKey or BadPlace."""
        options_for(target)  # bad keys come first
        for pause in PAUSES:
            try:
                return await cls._attempt(backend, target, ask_status, deadline=deadline)
            except HandshakeEnded:
                again_at = time.monotonic() + pause
                if again_at >= deadline:
                    raise
            await backend.wait(deadline=again_at)
        return await cls._attempt(backend, target, ask_status, deadline=deadline)

    @classmethod
    async def _attempt(
        cls, backend: Backend, target: Target, ask_status: AskStatus, *, deadline: float
    ) -> CurveConnection:
        url = await backend.call(lambda: probe(target, deadline=deadline))
        connection = cls(backend, target, ask_status, url=url)
        try:
            await connection._shake_hands(deadline)
        except BaseException:
            connection.close()
            raise
        return connection

    async def _shake_hands(self, deadline: float) -> None:
        while True:
            while self._monitor.poll(0):
                event = self.monitor_event()
                if event & HANDSHAKE:
                    return
                if event & ENDS:
                    raise await self.backend.call(partial(refused, self._target, event, deadline=deadline))
            if not await self.backend.wait(self._monitor.FD, deadline=deadline):
                raise unfinished(self._target)

    def watch_exit(self) -> RemoteExit:
        """Watch for the end of what listens there: the process on another host cannot be seen."""
        return RemoteExit(self.backend, self._target, self._ask_status)


def options_for(target: Target) -> list[tuple[int, Any]]:
    """Read the keys and return them as socket options. Raises BadKey."""
    own = read_pair(target.key)
    return [
        (zmq.CURVE_SERVERKEY, read_public(target.server_key)),
        (zmq.CURVE_PUBLICKEY, own.public),
        (zmq.CURVE_SECRETKEY, own.secret),
        (zmq.HEARTBEAT_IVL, HEARTBEAT_MS),
        (zmq.IPV6, 1),
    ]


def probe(target: Target, *, deadline: float) -> str:
    """Check that something listens; return the URL for libzmq, with the address that was reached.

    Raises NotRunning, Unreachable, TimedOut, or BadPlace if the host has no address.
    """
    host, port = host_and_port(target.endpoint.path)
    left = min(max(deadline - time.monotonic(), 0.001), 86_400.0)
    try:
        with socket.create_connection((host, port), timeout=left) as link:
            address, port = link.getpeername()[:2]
    except OSError as error:
        raise explain(error, target) from None
    return f"tcp://[{address}]:{port}" if ":" in address else f"tcp://{address}:{port}"


def explain(error: OSError, target: Target) -> ControlError:
    """Make the error for a failed connection to another host."""
    where = target.endpoint.url
    if isinstance(error, socket.gaierror):
        if error.errno == socket.EAI_AGAIN:
            return Unreachable(
                f"cannot look up the host of {where}: no name server answers", hint="try again later"
            )
        return BadPlace(f"the host of {where} has no address ({error.strerror})", hint="check the endpoint")
    if isinstance(error, TimeoutError):
        return TimedOut(
            f"nothing answered at {where}",
            hint="the host may be down, or a firewall may drop the packets",
        )
    if isinstance(error, ConnectionRefusedError | ConnectionResetError):
        return NotRunning(
            f"nothing listens at {where}",
            hint="the instance may not be running, or have other --control-endpoints",
        )
    if error.errno in {errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN, errno.EHOSTDOWN}:
        return Unreachable(f"cannot reach {where} ({error.strerror})", hint="the host may be down")
    return BadPlace(f"cannot connect to {where}: {error.strerror or error}", hint="check the endpoint")


def refused(target: Target, event: int, *, deadline: float) -> ControlError:
    """Make the error for a handshake that ended; if nothing listens any more, the instance has ended."""
    where = target.endpoint.url
    if event & zmq.EVENT_HANDSHAKE_FAILED_AUTH:
        return NotPermitted(
            f"{where} does not let the key in {target.key} in",
            hint="put its public part, NAME.key, into the instance's directory of authorized keys",
        )
    try:
        probe(target, deadline=deadline)
    except ControlError as gone:
        return gone
    return HandshakeEnded(
        f"the key in {target.server_key} does not fit {where}: it ended the handshake",
        hint="get the instance's public key again; or something else listens there, or it has too many connections",
    )


def unfinished(target: Target) -> TimedOut:
    """Make the error for a peer that listens and does not finish the handshake."""
    return TimedOut(
        f"what listens at {target.endpoint.url} accepts connections, but did not finish the handshake",
        hint="its process may be stopped or stuck, or it may not be flaskd",
    )
