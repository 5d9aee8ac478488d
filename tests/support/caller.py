"""Blocking HTTP clients: one that holds a request at one exact point, and one that only asks."""

import contextlib
import socket
import urllib.error
import urllib.request
from typing import Self

from tests.support.daemons import PATIENCE
from tests.support.exchange import address
from tests.support.http1 import Response


class Caller:
    """One connection to a server: send what you like, when you like, and read what comes."""

    def __init__(self, target: str, *, receive_buffer: int | None = None) -> None:
        family, where, self.host = address(target)
        self.socket = socket.socket(family, socket.SOCK_STREAM)
        self.socket.settimeout(PATIENCE)
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        try:
            self.socket.connect(where)
        except BaseException:
            self.socket.close()
            raise
        self.response = Response()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def get(self, path: str) -> Self:
        """Send a whole GET request, the next one on this connection where one was answered."""
        self.response = Response()
        return self.send(f"GET {path} HTTP/1.1\r\nHost: {self.host}\r\n\r\n".encode())

    def post(self, path: str, body: bytes = b"", *, length: int | None = None) -> Self:
        """Send a POST request that announces `length` bytes and brings these."""
        size = len(body) if length is None else length
        head = f"POST {path} HTTP/1.1\r\nHost: {self.host}\r\nContent-Length: {size}\r\n\r\n"
        return self.send(head.encode() + body)

    def send(self, data: bytes) -> Self:
        """Send some bytes."""
        self.socket.sendall(data)
        return self

    def read(self, *, until: int | None = None) -> Response:
        """Read the response to its end, or until so many bytes of its body are here; EOFError if it is cut off."""
        while not self.response.complete and (until is None or len(self.response.body) < until):
            data = self.socket.recv(65536)
            if not data:
                self.response.eof()
                if not self.response.complete:
                    raise EOFError(f"cut off after {self.response.received} bytes")
            self.response.feed(data)
        return self.response

    def text(self) -> str:
        """Read the whole response, which must be a success, and return its body."""
        response = self.read()
        assert response.status == 200, response.status
        return response.body.decode()

    def closed_by_peer(self) -> bool:
        """Wait for the other end to close, having sent nothing; False if it sent something."""
        with contextlib.suppress(ConnectionResetError):
            return self.socket.recv(1) == b""
        return True


def call(target: str, path: str) -> str:
    """GET `path` over a connection of its own; return the body."""
    with Caller(target) as caller:
        return caller.get(path).text()


def visit(url: str) -> None:
    """Ask an application and read what it answers, also if that is an error."""
    try:
        with urllib.request.urlopen(url, timeout=150) as response:
            response.read()
    except urllib.error.HTTPError as error:
        error.close()
