"""One connection of the Werkzeug engine: its request is received, given to the application and answered.

Of Werkzeug's handler only what fills the environ is used. Its reading and writing are those of a development server: it takes
half a request for a whole one, its de-chunker can be made to loop for ever, and `wsgi.input` does not end with the body.
"""

import http.client
import io
import logging
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.serving import WSGIRequestHandler

from flaskd import forks
from flaskd.engines.bodies import BrokenBody, SlowBody
from flaskd.engines.file_wrapper import FileWrapper, file_of, tell_sent
from flaskd.engines.http1 import Head, Refused, parse_head
from flaskd.engines.request_body import PIECE, Body
from flaskd.engines.request_head import receive_head
from flaskd.engines.response_writer import ClientGone, ResponseWriter, ShortResponse
from flaskd.engines.responses import BadResponse
from flaskd.engines.timed_socket import TimedSocket

if TYPE_CHECKING:
    import socket

    from _typeshed.wsgi import WSGIApplication, WSGIEnvironment

    from flaskd.engines.werkzeug_front import Front

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
        deadline = time.monotonic() + options.head_timeout
        self.timed.handshake(options.head_timeout)
        try:
            received = receive_head(self.timed, limit=options.max_head, deadline=deadline)
            if received is None:
                return
            head = parse_head(received[0])
        except Refused as refusal:
            self._refuse(refusal)
            return
        self.flaskd.busy = True
        response = self._writer(head)
        body = Body(
            self.timed,
            head,
            received[1],
            timeout=options.body_timeout,
            on_first_wait=response.say_continue if head.continues else lambda: None,
        )
        try:
            self._answer(head, body, response)
        finally:
            self.flaskd.unread = body.unread
            self.flaskd.reset = response.broken_off
            self.flaskd.taken = self.timed.taken

    def _refuse(self, refusal: Refused) -> None:
        log.debug("refused a request with %d: %s", refusal.status, refusal.reason)
        self.flaskd.unread = True
        self._writer(None).fail(refusal.status, refusal.reason)

    def _writer(self, head: Head | None) -> ResponseWriter:
        return ResponseWriter(
            self.timed,
            head_only=head is not None and head.method == "HEAD",
            modern=head is not None and head.version != "HTTP/1.0",
            write_timeout=self.server.engine.options.write_timeout,
            server=self.version_string(),
        )

    def _answer(self, head: Head, body: Body, response: ResponseWriter) -> None:
        """Call the application and send its response, or one that says why there is none."""
        environ = self._environ(head, body)
        depth = forks.depth
        try:
            _respond(self.server.app, environ, response)
        except ClientGone as error:
            log.debug("a client left before it had its response: %s", error)
        except BaseException as error:  # noqa: BLE001 - SystemExit, too: the thread serves on
            if isinstance(error, SystemExit) and forks.depth != depth:
                return  # a child that the application forked ends as it should
            code, text = _explain(error, head)
            if not response.begun:
                response.fail(code, text)

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


def _respond(app: "WSGIApplication", environ: "WSGIEnvironment", response: ResponseWriter) -> None:
    body = app(environ, response.start_response)
    try:
        file = file_of(body)
        region = file.region() if file is not None else None
        by_kernel = response.write_file(region) if region is not None else 0
        all_read = not by_kernel and _write_pieces(body, response)
        response.finish()
        if not all_read:
            tell_sent(body, by_kernel)
    finally:
        if hasattr(body, "close"):
            body.close()


def _write_pieces(body: Iterable[bytes], response: ResponseWriter) -> bool:
    """Send the body piece by piece; returns False where the response was full before its end."""
    for data in body:
        response.write(data)
        if response.full:
            return False
    return True


def _explain(error: BaseException, head: Head) -> tuple[int, str]:
    """Say in the log what went wrong, where it is the application's fault; returns what to answer."""
    asked = (head.method, head.target)
    match error:
        case BrokenBody() | SlowBody() | RequestEntityTooLarge():
            log.debug("%s %a: %s", *asked, error)
            return error.code or 400, error.description or ""
        case BadResponse() | ShortResponse():
            log.error("%s %a: %s", *asked, error)
        case _:
            log.error("%s %a: the application raised %s", *asked, type(error).__name__, exc_info=error)
    return 500, "The application failed to answer."
