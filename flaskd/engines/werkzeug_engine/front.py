"""Werkzeug's server object, one for each listener of the Werkzeug engine: it has the application, and ends connections."""

import logging
import socket
from typing import TYPE_CHECKING

from werkzeug.serving import ThreadedWSGIServer

from flaskd.engines.shared import closing
from flaskd.engines.werkzeug_engine.handler import Connection, Handler
from flaskd.listening.listeners import prepare

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

    from flaskd.engines.werkzeug_engine.engine import WerkzeugEngine

log = logging.getLogger("flaskd.http")


class Front(ThreadedWSGIServer):
    """Werkzeug's server object for one listener: it has the application and answers; the engine accepts."""

    def __init__(self, engine: "WerkzeugEngine", listener: socket.socket, app: "WSGIApplication") -> None:
        unix = listener.family == socket.AF_UNIX
        host, port = ("unix://", 0) if unix else listener.getsockname()[:2]
        super().__init__(host, port, app, handler=Handler, fd=listener.fileno())
        self.socket.close()  # a duplicate that nothing would close in a forked child
        self.socket = listener
        prepare(listener, write_timeout=engine.options.write_timeout)
        if unix:
            self.server_address = (
                "localhost",
                80,
            )  # for SERVER_NAME and SERVER_PORT; clients send their own Host
        self.engine = engine
        self.ssl_context = (
            engine.options.tls.context if engine.options.tls else None
        )  # what Werkzeug tells the scheme from

    def answer(self, connection: Connection) -> None:
        """Handle one connection from its first byte to its close."""
        try:
            if self.ssl_context is not None:
                self.engine.secure(connection, self.ssl_context)
            Handler(connection, connection.address, self)
        except OSError as error:  # no handshake, or a client that left
            log.debug("a connection failed: %s", error)
        except BaseException:
            log.exception("a connection failed")
        finally:
            connection.busy = False
            if connection.reset:
                closing.reset_when_closed(connection.socket)
            else:
                closing.close_our_side(connection.socket)
                if connection.unread or connection.taken:
                    closing.discard(connection.socket)
            if connection.taken:  # a thread of the application's may still wait for its client
                closing.shut(connection.socket, socket.SHUT_RDWR)
            self.close_request(connection.socket)

    def shutdown(self) -> None:
        """Let the accept loop end; Werkzeug's own would wait for a loop that never ran."""
        self.engine.stop_accepting()
