"""The bytes of one client connection, plain or TLS, where each way in which they can end is told apart."""

import asyncio
import contextlib
import functools
import socket
import ssl
from typing import Any, Final

CHUNK: Final = 65536


class CutError(Exception):
    """The connection ended without close_notify: what came before may be all or not (RFC 8446, section 6.1)."""


class Wire:
    """A socket on the running loop; with `context`, TLS by OpenSSL on top of it, which checks the name `host`.

    Every method may raise OSError as the socket does, ssl.SSLError for what is no TLS or not trusted.
    """

    def __init__(
        self, family: socket.AddressFamily, *, context: ssl.SSLContext | None = None, host: str = ""
    ) -> None:
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        self._socket.setblocking(False)
        self._loop = asyncio.get_running_loop()
        self._arrived, self._leaving = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls: ssl.SSLObject | None = None
        if context is not None:
            self._tls = context.wrap_bio(self._arrived, self._leaving, server_hostname=host)

    def close(self) -> None:
        """Give the descriptor back."""
        self._socket.close()

    async def connect(self, address: Any) -> None:
        """Connect; the handshake of TLS is another matter."""
        if self._socket.family != socket.AF_UNIX:
            await self._loop.sock_connect(self._socket, address)
            return
        while True:  # a full queue is EAGAIN here, with nothing to wait on (connect(2), Unix domain)
            with contextlib.suppress(BlockingIOError):
                self._socket.connect(address)
                return
            await asyncio.sleep(0.005)

    async def shake_hands(self) -> None:
        """Agree on keys; raise CutError if the server ends it in between."""
        while self._tls:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._flush()
                await self._more()
            else:
                await self._flush()
                return

    async def send(self, data: bytes) -> None:
        """Send all of it."""
        if self._tls is None:
            await self._loop.sock_sendall(self._socket, data)
            return
        self._tls.write(data)
        await self._flush()

    async def receive(self) -> bytes:
        """Return what arrives next, nothing at the proper end; raise CutError at any other."""
        if self._tls is None:
            return await self._loop.sock_recv(self._socket, CHUNK)
        while True:
            try:
                return self._tls.read(CHUNK)
            except ssl.SSLWantReadError:
                await self._more()

    async def quiet(self, seconds: float) -> bool:
        """Tell whether nothing comes for so long: data nobody asked for, and an end, make a kept connection useless."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._nothing_came():
                    await self._readable()
                return False
        return self._nothing_came()

    def _nothing_came(self) -> bool:
        try:
            if self._tls is None:
                self._socket.recv(1, socket.MSG_PEEK)
                return False
            with contextlib.suppress(BlockingIOError):
                while data := self._socket.recv(CHUNK):
                    self._arrived.write(data)
                return False
            self._tls.read(1)  # session tickets and the like are read on the way, and are nothing
            return False
        except (BlockingIOError, ssl.SSLWantReadError):
            return True
        except OSError:
            return False

    async def _readable(self) -> None:
        happened = asyncio.Event()
        self._loop.add_reader(self._socket, happened.set)
        try:
            await happened.wait()
        finally:
            self._loop.remove_reader(self._socket)

    async def _more(self) -> None:
        data = await self._loop.sock_recv(self._socket, CHUNK)
        if not data:
            raise CutError("ended without close_notify")
        self._arrived.write(data)

    async def _flush(self) -> None:
        if data := self._leaving.read():
            await self._loop.sock_sendall(self._socket, data)


@functools.cache
def trusting(authority: str) -> ssl.SSLContext:
    """Return a context that trusts the certificates in this PEM file alone."""
    return ssl.create_default_context(cafile=authority)
