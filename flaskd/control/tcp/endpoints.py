"""The control plane over TCP: a ROUTER of its own, with CURVE, behind the gateway.

    TCP ── Gateway ── Unix socket, 0600, in the instance's directory ── libzmq (CURVE) ── Router
                                                                          └── ZapHandler ── the authorized keys

It shares nothing with the ROUTER of the local socket but the commands: neither identities nor queues.
"""

import asyncio
import contextlib
import os
import resource
import socket
from collections.abc import Iterable, Sequence
from typing import Any, Final, Self

import zmq

from flaskd.control.registry import Registry
from flaskd.control.tcp.authorized import AuthorizedKeys, ZapHandler, options
from flaskd.control.tcp.gateway import BACKLOG, DESCRIPTORS, Gateway
from flaskd.control.tcp.keygen import check_curve
from flaskd.control.transports.router import Router
from flaskd.errors import BindError, ConfigError
from flaskd.listening import listeners
from flaskd.process import forks
from flaskd.process.descriptors import duplicates, open_descriptors
from flaskd_ctl.contract.endpoint import Place, check_path
from flaskd_ctl.contract.keys import read_pair

OTHERS: Final = 256
"""Descriptors that the process needs besides the gateway's: local connections, workers, files."""


class TcpEndpoints:
    """Our TCP endpoints: bound from `__enter__` to `__exit__`, served between `open` and `close`.

    `urls` have the real ports. Entering raises BindError, ConfigError or BadKey.
    """

    def __init__(self, endpoints: Sequence[str], *, key: str, authorized: str, place: Place) -> None:
        self._endpoints = endpoints
        self._key = key
        self._authorized = AuthorizedKeys(authorized)
        self._path = check_path(place.tcp)
        self._listeners: list[listeners.Listener] = []
        self._addresses: set[tuple[Any, ...]] = set()  # that are ours now
        self._stack = contextlib.ExitStack()

    def check(self) -> None:
        """Look at the keys; raise ConfigError or BadKey for what will not do."""
        check_curve()
        check_descriptors()
        self._secret = read_pair(self._key).secret
        self._authorized.check()

    def __enter__(self) -> Self:
        self.check()
        with contextlib.ExitStack() as stack:
            for url in self._endpoints:
                listener = _bind(url)
                stack.callback(listener.close)
                self._listeners.append(listener)
            self._inner = listeners.bind(f"unix:{self._path}", backlog=BACKLOG)
            stack.callback(self._inner.close)
            os.chmod(self._path, 0o600)
            self._stack = stack.pop_all()
        self._addresses = {listener.socket.getsockname() for listener in self._listeners}
        forks.close_in_children(self)
        return self

    def __exit__(self, *exc: object) -> None:
        self._addresses = set()  # others' from now on
        self._stack.close()

    @property
    def urls(self) -> list[str]:
        """Where we are reached."""
        return [listener.url for listener in self._listeners]

    @property
    def tasks(self) -> "set[asyncio.Task[None]]":
        """What is under way for callers from other hosts."""
        return self._router.tasks

    async def open(self, registry: Registry) -> None:
        """Begin to answer."""
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._zap = ZapHandler(context, self._authorized)
        self._router = Router(registry, self._authorized.caller)
        ours = socket.socket(fileno=os.dup(self._inner.socket.fileno()))  # libzmq closes what it is given
        self._router.open(ours, self._path, context=context, options=options(self._secret))
        self._gateway = Gateway(self._path)
        await self._gateway.open(self._listeners)

    async def stop_accepting(self) -> None:
        """Let nobody new in, and take no further requests; what is under way goes on."""
        await self._gateway.stop_accepting()
        self._router.stop_receiving()

    async def close(self, *, timeout: float) -> None:
        """Send what is left, end each connection; returns when that is done, or the time is over."""
        self._zap.close()
        self._router.leave()
        await self._gateway.end(timeout=timeout)
        self._router.close()

    def descriptors(self) -> Iterable[int]:
        """Name, for `forks`, the listeners and both sides of every connection."""
        return [number for number in open_descriptors() if self._is_ours(number)] if self._addresses else []

    def _is_ours(self, descriptor: int) -> bool:
        for sock in duplicates([descriptor]):
            with contextlib.suppress(OSError):
                name = sock.getsockname()
                if name in self._addresses or name == self._path or sock.getpeername() == self._path:
                    return True
                # Bound to any address, so that each connection has one of its own: the port is ours.
                return sock.family != socket.AF_UNIX and name[1] in {
                    address[1] for address in self._addresses
                }
        return False


def _bind(url: str) -> listeners.Listener:
    try:
        return listeners.bind(url.removeprefix("tcp://"), backlog=BACKLOG, scheme="tcp")
    except BindError as error:
        raise BindError(str(error), hint=error.hint.replace("--bind", "--control-endpoints")) from None


def check_descriptors() -> None:
    """Raise ConfigError where the process may not have the descriptors that strangers can take."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if limit != resource.RLIM_INFINITY and limit < DESCRIPTORS + OTHERS:
        raise ConfigError(
            f"tcp:// endpoints need {DESCRIPTORS + OTHERS} descriptors, this process may have {limit}",
            hint="raise LimitNOFILE= or `ulimit -n`, or leave out --control-endpoints",
        )
