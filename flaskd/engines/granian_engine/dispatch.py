"""Takes requests from granian and makes sure that each is answered: the outermost code on granian's threads."""

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from flaskd.engines.granian_engine.body import Body
from flaskd.engines.granian_engine.environ import EACH, environ_of
from flaskd.engines.granian_engine.exchange import Exchange
from flaskd.engines.granian_engine.server import Server
from flaskd.engines.granian_engine.wsgi import ExchangeResponse, respond
from flaskd.engines.shared import closing
from flaskd.http.syntax import Refused

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication, WSGIEnvironment

log = logging.getLogger("flaskd.http")


def dispatcher(app: "WSGIApplication", base: "WSGIEnvironment", server: Server) -> Callable[[Any], None]:
    """Return what granian calls with a "watcher" of each request. It raises nothing, because granian ignores errors.

    `base` is the part of the environ that all requests share.
    """

    def answer(exchange: Exchange) -> None:
        try:
            try:
                environ = environ_of(exchange.scope, exchange, base, max_head=server.options.max_head)
            except Refused as refused:
                _refuse(exchange, server, refused)
            else:
                respond(app, exchange, environ, server)
            if exchange.body is not None:
                server.discarder.discard(exchange.body)
            exchange.release()
        except BaseException:  # the thread's outer edge
            log.exception("a request could not be answered")

    base = {**base, **EACH}
    make = object.__new__

    def take(watcher: Any) -> None:
        exchange = make(Exchange)  # before Python 3.13 a call of the class takes twice as long
        exchange.begin(watcher, server)
        del watcher  # the traceback of an error would keep it, and it keeps granian's threads
        server.queue.run(answer, exchange)

    return take


def _refuse(exchange: Exchange, server: Server, refused: Refused) -> None:
    ExchangeResponse(exchange, server, "GET").refuse(refused.status, refused.reason)
    expects = any(name == b"expect" for name, _ in exchange.scope["headers"])
    # The client may send a body all the same.
    exchange.body = Body(exchange, None, asks=expects, timeout=closing.LINGERING_TIME)
