"""The control plane over TCP: a ROUTER of its own, with CURVE, behind the gateway.

    TCP ── Gateway ── Unix socket, 0600, in the instance's directory ── libzmq (CURVE) ── Router
                                                                          └── ZapHandler ── the authorized keys

It shares only the commands with the local sockets.
"""

import asyncio
import contextlib
import os
import resource
import socket
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple, Self

import zmq

from flaskd.control.registry import Registry
from flaskd.control.tcp.authorized import AuthorizedKeys, ZapHandler, options
from flaskd.control.tcp.gateway import BACKLOG, DESCRIPTORS, Gateway
from flaskd.control.tcp.keygen import check_curve
from flaskd.control.transports.router import Router
from flaskd.errors import BindError, ConfigError
from flaskd.listening.addresses import bind
from flaskd.listening.listeners import Listener
from flaskd.process import forks
from flaskd.process.descriptors import duplicates, open_descriptors
from flaskd_ctl.contract.endpoint import Place, check_path
from flaskd_ctl.contract.keys import read_pair

OTHERS: Final = 384
"""Descriptors that the process needs besides the gateway's: local connections, workers, files."""


class TcpSettings(NamedTuple):
    """Where to listen, checked: URLs, the path of libzmq's own socket, the server's secret key, the authorized keys."""

    urls: Sequence[str]
    path: str
    secret: bytes
    authorized: AuthorizedKeys

    @classmethod
    def check(cls, urls: Sequence[str], *, key: str, authorized: str, place: Place) -> Self:
        """Read the keys. Raises ConfigError, BadKey or BadPlace for what cannot be used."""
        path = check_path(place.tcp)
        check_curve()
        check_descriptors()
        found = cls(urls, path, read_pair(key).secret, AuthorizedKeys(authorized))
        found.authorized.check()
        return found


class TcpEndpoints:
    """TCP endpoints that are bound and not yet served. `urls` have the real ports."""

    def __init__(self, settings: TcpSettings, bound: list[Listener], upstream: Listener) -> None:
        self.urls = [listener.url for listener in bound]
        self._settings = settings
        self._listeners = bound
        self._upstream = upstream
        self._addresses: set[Any] = {listener.socket.getsockname() for listener in bound}

    @classmethod
    @contextlib.contextmanager
    def bind(cls, settings: TcpSettings) -> Iterator[Self]:
        """Bind, and close on leaving. Raises BindError."""
        with contextlib.ExitStack() as stack:
            bound = [stack.enter_context(contextlib.closing(_bind(url))) for url in settings.urls]
            endpoints = cls(settings, bound, _bind_upstream(settings.path))
            stack.callback(lambda: endpoints._upstream.close())
            forks.close_in_children(endpoints)
            try:
                yield endpoints
            finally:
                endpoints._addresses.clear()  # they may belong to others from now on

    async def open(self, registry: Registry) -> "TcpServer":
        """Start to answer."""
        path, secret, authorized = self._settings[1:]
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        zap = ZapHandler(context, authorized)
        router = Router(
            registry,
            self._copy_of_upstream(),
            path,
            identify=authorized.caller,
            context=context,
            options=options(secret),
        )
        gateway = Gateway(path)
        await gateway.open(self._listeners)
        return TcpServer(gateway, router, zap)

    def missing(self) -> list[str]:
        """Return the path of libzmq's own socket, if the socket is no longer there."""
        return [] if self._upstream.in_place() else [self._settings.path]

    def renew(self, server: "TcpServer") -> None:
        """Create that socket again if it is missing. Raises BindError."""
        if self.missing():
            upstream = _bind_upstream(self._settings.path)
            self._upstream.close()
            self._upstream = upstream
            server.router.listen(self._copy_of_upstream(), self._settings.path)

    def _copy_of_upstream(self) -> socket.socket:
        return socket.socket(fileno=os.dup(self._upstream.socket.fileno()))  # libzmq closes what it is given

    def descriptors(self) -> Iterable[int]:
        """Return the listeners and both sides of every connection, for `forks`."""
        return [number for number in open_descriptors() if self._is_ours(number)] if self._addresses else []

    def _is_ours(self, descriptor: int) -> bool:
        path = self._settings.path
        for sock in duplicates([descriptor]):
            with contextlib.suppress(OSError):
                name = sock.getsockname()
                if name in self._addresses or name == path or sock.getpeername() == path:
                    return True
                # A listener bound to all addresses: each connection has its own address, but our port.
                return sock.family != socket.AF_UNIX and name[1] in {each[1] for each in self._addresses}
        return False


class TcpServer(NamedTuple):
    """The transport over TCP, open from the start."""

    gateway: Gateway
    router: Router
    zap: ZapHandler

    @property
    def serving(self) -> bool:
        """Whether it takes requests."""
        return self.router.serving

    @property
    def tasks(self) -> "set[asyncio.Task[None]]":
        """The requests under way."""
        return self.router.tasks

    async def stop_accepting(self) -> None:
        """Take no further connections or requests; requests under way continue."""
        await self.gateway.stop_accepting()
        await self.router.stop_accepting()

    async def close(self) -> None:
        """Send what is left, then end each connection."""
        self.zap.close()
        self.router.close_socket()
        await self.gateway.close()
        await self.router.close()


def _bind(url: str) -> Listener:
    try:
        return bind(url.removeprefix("tcp://"), backlog=BACKLOG, scheme="tcp")
    except BindError as error:
        raise BindError(str(error), hint=error.hint.replace("--bind", "--control-endpoints")) from None


def _bind_upstream(path: str) -> Listener:
    upstream = bind(f"unix:{path}", backlog=BACKLOG)
    os.chmod(path, 0o600)
    return upstream


def check_descriptors() -> None:
    """Raise ConfigError if the process may not have the descriptors that unauthenticated clients can take."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if limit != resource.RLIM_INFINITY and limit < DESCRIPTORS + OTHERS:
        raise ConfigError(
            f"tcp:// endpoints need {DESCRIPTORS + OTHERS} descriptors, this process may have {limit}",
            hint="raise LimitNOFILE= or `ulimit -n`, or remove --control-endpoints",
        )
