"""One connection of the Werkzeug engine: its request is received, given to the application and answered.

Of Werkzeug's handler only what fills the environ is used. Its reading and writing are those of a development server: it takes
half a request for a whole one, its de-chunker can be made to loop for ever, and `wsgi.input` does not end with the body.
"""

import contextlib
import http.client
import io
import logging
import time
from typing import TYPE_CHECKING, Any

from werkzeug.serving import WSGIRequestHandler

from flaskd.engines.shared.answering import ClientLeft, Response, answer
from flaskd.engines.werkzeug_engine.body import PIECE, Body
from flaskd.engines.werkzeug_engine.timed_sender import TimedSender
from flaskd.engines.werkzeug_engine.timed_socket import TimedSocket
from flaskd.http.file_wrapper import FileWrapper
from flaskd.http.request_head import HeadReader
from flaskd.http.syntax import Head, Refused

if TYPE_CHECKING:
    import socket

    from _typeshed.wsgi import WSGIEnvironment

    from flaskd.engines.werkzeug_engine.front import Front

log = logging.getLogger("flaskd.http")


class Connection:
    """An accepted connection, and what its handler says of it.

    `busy` from the moment its request's head is complete until its response is. How it is to be closed: `unread`, more of the
    request may come; `reset`, its client must not take the end for an orderly one; `taken`, the application speaks on it.
    """

    __slots__ = ("address", "busy", "front", "reset", "since", "socket", "taken", "unread")

    def __init__(self, sock: "socket.socket", address: Any, front: "Front") -> None:
        self.socket = sock
        self.address = address
        self.front = front
        self.since = time.monotonic()
        self.busy = False
        self.unread = False
        self.reset = False
        self.taken = False


class Handler(WSGIRequestHandler):
    """Answers the one request of a connection."""

    server: "Front"

    def __init__(self, connection: Connection, address: Any, front: "Front") -> None:
        self.flaskd = connection
        super().__init__(connection.socket, address, front)

    def setup(self) -> None:
        """Prepare for `handle`."""
        self.connection = self.flaskd.socket
        self.rfile = io.BytesIO()  # Werkzeug puts it into the environ, where the body takes its place
        self.timed = TimedSocket(self.connection)

    def finish(self) -> None:
        """Do nothing: the engine closes the connection."""

    def handle(self) -> None:
        """Receive the request, and answer it; half a request is never carried out."""
        options = self.server.engine.options
        sender = TimedSender(self.timed, options.write_timeout)
        try:
            received = self._receive_head()
        except Refused as refusal:
            log.debug("refused a request with %d: %s", refusal.status, refusal.reason)
            self.flaskd.unread = True
            with contextlib.suppress(ClientLeft):
                self._respond(sender).refuse(refusal.status, refusal.reason)
            return
        if received is None:
            return
        head, rest = received
        self.flaskd.busy = True
        response = self._respond(sender, method=head.method, version=head.version)

        def ask_for_body() -> None:
            if head.continues and not response.began:
                sender.send(b"HTTP/1.1 100 Continue\r\n\r\n")  # RFC 9110, section 15.2.1

        body = Body(self.timed, head, rest, timeout=options.body_timeout, on_first_wait=ask_for_body)
        try:
            answer(self.server.app, self._environ(head, body), response)
        finally:
            self.flaskd.unread = body.unread
            self.flaskd.reset = response.reset or sender.gone
            self.flaskd.taken = self.timed.taken

    def _receive_head(self) -> tuple[Head, bytes] | None:
        """Return the request's head and what came behind it; None where its time is over, or its client has left.

        The time is that of the whole head, with the TLS handshake before it. A timeout for each read would give a client that
        sends a byte a minute a thread for ever.
        """
        options = self.server.engine.options
        deadline = time.monotonic() + options.head_timeout
        self.timed.handshake(options.head_timeout)
        reader = HeadReader(options.max_head)
        while True:
            try:
                piece = self.timed.receive(PIECE, deadline - time.monotonic())
            except OSError:  # also TimeoutError
                return None
            if not piece:
                return None
            count = reader.feed(piece)
            if reader.head is not None:
                return reader.head, piece[count:]

    def _respond(self, sender: TimedSender, *, method: str = "GET", version: str = "HTTP/1.0") -> Response:
        return Response(sender, method=method, version=version, server=self.version_string())

    def _environ(self, head: Head, body: Body) -> "WSGIEnvironment":
        """Make PEP 3333's environ: Werkzeug's, with the target and the body as they were sent."""
        self.command = head.method
        self.path = "/"  # what Werkzeug makes of a target is not used
        self.request_version = head.version
        self.requestline = f"{head.method} {head.target} {head.version}"
        self.headers = http.client.HTTPMessage()
        cookies = []
        for name, value in head.fields:
            lower = name.lower()
            if lower == "cookie":
                cookies.append(value)
            elif lower != "content-length":  # which does not count where the body is chunked
                self.headers[name] = value
        environ = super().make_environ()
        environ["PATH_INFO"] = head.path
        environ["QUERY_STRING"] = head.query
        environ["REQUEST_URI"] = environ["RAW_URI"] = head.target
        environ["REMOTE_PORT"] = str(environ["REMOTE_PORT"])
        if cookies:
            environ["HTTP_COOKIE"] = "; ".join(
                cookies
            )  # RFC 6265, section 5.4; other fields are joined with commas
        if head.length is not None:
            environ["CONTENT_LENGTH"] = str(head.length)
        environ["wsgi.input"] = io.BufferedReader(body, PIECE) if body.unread or head.length else io.BytesIO()
        environ["wsgi.input_terminated"] = True
        environ["wsgi.file_wrapper"] = FileWrapper
        environ["werkzeug.socket"] = self.timed.lend()
        return environ

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Do nothing: the ledger writes the access log, for every engine alike."""
