"""One connection of the Werkzeug engine: receives its one request, calls the application and sends the response."""

import contextlib
import io
import logging
import socket
import ssl
import threading
import time
from typing import TYPE_CHECKING, Any

import msgspec

from flaskd.engines.protocol import Options
from flaskd.engines.shared import closing
from flaskd.engines.shared.answering import answer
from flaskd.engines.shared.framing import FramedResponse
from flaskd.engines.werkzeug_engine.body import PIECE, Body
from flaskd.engines.werkzeug_engine.timed_sender import TimedSender
from flaskd.engines.werkzeug_engine.timed_socket import TimedSocket
from flaskd.http.environ import request_environ
from flaskd.http.failures import ClientLeft
from flaskd.http.file_wrapper import FileWrapper
from flaskd.http.request_head import HeadReader
from flaskd.http.syntax import Head, Refused

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication, WSGIEnvironment

log = logging.getLogger("flaskd.http")


class Server(msgspec.Struct, eq=False):
    """What the connections to one listener share. `name` is sent as `Server`; `lock` protects each connection's `socket`."""

    app: "WSGIApplication"
    options: Options
    environ: "WSGIEnvironment"
    name: str
    lock: threading.Lock


class Connection:
    """An accepted connection.

    `busy` from the moment its request's head is complete until its response is. How to close it: `unread`, more of the request
    may come; `reset`, the client must not take the end for an orderly one; `taken`, the application speaks on it.
    """

    __slots__ = ("_address", "_server", "busy", "reset", "since", "socket", "taken", "unread")

    def __init__(self, sock: socket.socket, address: Any, server: Server) -> None:
        self.socket = sock
        self.since = time.monotonic()
        self.busy = False
        self.unread = False
        self.reset = False
        self.taken = False
        self._address = address
        self._server = server

    def handle(self) -> None:
        """Handle the connection from its first byte to its close; raises nothing."""
        tls = self._server.options.tls
        try:
            if tls is not None:
                self._wrap(tls.context)
            self._handle(TimedSocket(self.socket))
        except OSError as error:  # no handshake, or a client that left
            log.debug("a connection failed: %s", error)
        except BaseException:
            log.exception("a connection failed")
        finally:
            self.busy = False
            self._close()

    def _wrap(self, context: ssl.SSLContext) -> None:
        """Prepare for TLS. The handshake comes later, on this thread too: one silent client must not stop the accept loop."""
        with self._server.lock:  # the descriptor moves to another object, where the engine has to find it
            self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    def _handle(self, timed: TimedSocket) -> None:
        """Receive the request and answer it; half a request never reaches the application."""
        options = self._server.options
        sender = TimedSender(timed, options.write_timeout)
        try:
            received = self._receive_head(timed)
        except Refused as refusal:
            log.debug("refused a request with %d: %s", refusal.status, refusal.reason)
            self.unread = True
            with contextlib.suppress(ClientLeft):
                self._response(sender).refuse(refusal.status, refusal.reason)
            return
        if received is None:
            return
        head, rest = received
        self.busy = True
        response = self._response(sender, method=head.method, version=head.version)

        def send_continue() -> None:
            if head.continues and not response.began:
                sender.send(b"HTTP/1.1 100 Continue\r\n\r\n")  # RFC 9110, section 15.2.1

        body = Body(timed, head, rest, timeout=options.body_timeout, on_first_wait=send_continue)
        stream = io.BufferedReader(body, PIECE) if body.unread or head.length else io.BytesIO()
        environ = request_environ(self._server.environ, head, self._address, stream)
        environ["wsgi.file_wrapper"] = FileWrapper
        environ["werkzeug.socket"] = timed.lend()
        try:
            answer(self._server.app, environ, response)
        finally:
            self.unread = body.unread
            self.reset = response.reset or sender.gone
            self.taken = timed.taken

    def _receive_head(self, timed: TimedSocket) -> tuple[Head, bytes] | None:
        """Return the request's head and the bytes that came after it; None if its time is over or the client has left.

        The time is for the whole head and the TLS handshake before it. With a timeout for each read, a client that sends a byte
        a minute would hold a thread for ever.
        """
        options = self._server.options
        deadline = time.monotonic() + options.head_timeout
        timed.handshake(options.head_timeout)
        reader = HeadReader(options.max_head)
        while True:
            try:
                piece = timed.receive(PIECE, deadline - time.monotonic())
            except OSError:  # also TimeoutError
                return None
            if not piece:
                return None
            count = reader.feed(piece)
            if reader.head is not None:
                return reader.head, piece[count:]

    def _response(
        self, sender: TimedSender, *, method: str = "GET", version: str = "HTTP/1.0"
    ) -> FramedResponse:
        return FramedResponse(sender, method=method, version=version, server=self._server.name)

    def _close(self) -> None:
        if self.reset:
            closing.reset_when_closed(self.socket)
        else:
            closing.close_our_side(self.socket)
            if self.unread or self.taken:
                closing.discard(self.socket)
        if self.taken:  # a thread of the application's may still wait for its client
            closing.shut(self.socket, socket.SHUT_RDWR)
        self.socket.close()
