"""Takes requests from granian and makes sure that each is answered: the outermost code on granian's threads."""

import logging
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from flaskd.engines.granian_engine.body import Body
from flaskd.engines.granian_engine.environ import environ_of
from flaskd.engines.granian_engine.exchange import Exchange
from flaskd.engines.granian_engine.server import Server
from flaskd.engines.granian_engine.wsgi import gateway
from flaskd.engines.shared import closing
from flaskd.http import request_id
from flaskd.http.failures import ClientLeft, explain
from flaskd.http.syntax import Refused

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication, WSGIEnvironment

log = logging.getLogger("flaskd.http")


def dispatcher(app: "WSGIApplication", base: "WSGIEnvironment", server: Server) -> Callable[[Any], None]:
    """Return what granian calls with a "watcher" of each request. It raises nothing, because granian ignores errors.

    `base` is the part of the environ that all requests share.
    """
    call = gateway(app, base, server)

    def answer(exchange: Exchange) -> None:
        try:
            _answer(exchange, call, max_head=server.options.max_head)
            server.discarder.discard(exchange.body)
            exchange.release()
        except BaseException:  # the thread's outer edge
            log.exception("a request could not be answered")

    def take(watcher: Any) -> None:
        exchange = Exchange(watcher, server)
        del watcher  # the traceback of an error would keep it, and it keeps granian's threads
        server.queue.run(answer, exchange)

    return take


def _answer(exchange: Exchange, call: Callable[[Any, dict[str, Any]], None], *, max_head: int) -> None:
    """Call the application, and answer in its place if it does not; a response that it began and did not end is broken off."""
    scope = exchange.scope
    environ: dict[str, Any] = {}
    try:
        environ = environ_of(scope, exchange, max_head=max_head)
        call(exchange, environ)
    except Refused as refused:
        _answer_instead(exchange, refused.status, refused.reason)
        asks = any(name == b"expect" for name, _ in scope["headers"])
        # The client may send a body all the same.
        exchange.body = Body(exchange, None, asks=asks, timeout=closing.LINGERING_TIME)
    except ClientLeft as left:
        log.debug("a response was not taken: %s", left)
        _answer_instead(exchange, 500, "")
    except BaseException as error:  # noqa: BLE001 - SystemExit, too: it is the request's end, and not the thread's
        status, text = explain(error, environ, begun=exchange.begun)
        _answer_instead(exchange, status, text, request_id.header(environ))


def _answer_instead(
    exchange: Exchange, status: int, text: str, headers: Iterable[tuple[str, str]] = ()
) -> None:
    """Answer in the application's place if it has not begun to."""
    if not exchange.begun:
        body = f"{text}\n".encode("utf-8", "replace")
        head = [("Content-Type", "text/plain"), ("Content-Length", str(len(body))), ("Connection", "close")]
        exchange.response_bytes(status, [*head, *headers], body)
    elif not exchange.ended:
        exchange.break_off()
