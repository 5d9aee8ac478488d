"""WSGI (PEP 3333) for the requests that granian brings, each an exchange and an environ.

hyper frames responses. It needs to know as early as possible that a response is complete: one part with a known length is sent
with its head in one piece.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from flaskd.engines.granian_engine.body import Body, body_of
from flaskd.engines.granian_engine.exchange import Exchange, Headers
from flaskd.engines.granian_engine.server import Server
from flaskd.engines.shared.answering import Response, answer
from flaskd.http.failures import ClientLeft
from flaskd.http.responses import BadResponse
from flaskd.process import forks

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication


class ExchangeResponse(Response):
    """A response that goes to an exchange; `body` is the request's. `claim` is asked before each part if it may be sent."""

    __slots__ = ("_body", "_claim", "_exchange", "_headers", "_server")

    joins_lists = True

    def __init__(
        self,
        exchange: Exchange,
        server: Server,
        method: str,
        *,
        body: Body | None = None,
        claim: Callable[[], bool] | None = None,
    ) -> None:
        self.prepare(method)
        self._exchange = exchange
        self._server = server
        self._body = body
        self._claim = claim
        self._headers: Headers = []

    def break_off(self) -> None:
        """Break the exchange off, unless the response is complete or another one was sent."""
        super().break_off()
        if self.broken and not (self.inherited or self._answered_late() or self._exchange.ended):
            self._exchange.break_off()

    def _head(self, size: int | None) -> bytes:
        start = self._begin()
        if start.code < 200:  # hyper does not send one
            raise BadResponse(f"{start.status!r} is no status of a final response")
        self._headers = start.headers
        server = self._server
        if (
            start.close
            or not server.keepalive
            or (self._body is not None and not self._body.whole)
            or server.load_share.lets_go(server.load, server.counter.count_of)
        ):
            # RFC 9112, section 9.6: the client is to leave, or what follows is no request.
            self._headers = [*start.headers, ("Connection", "close")]
        return b""

    def _send_part(self, head: bytes, data: bytes, *, first: bool) -> None:
        if forks.depth != self._depth:
            raise ClientLeft("the client is the parent's")
        if self._claim is not None and not self._claim():
            raise ClientLeft("it was answered meanwhile")
        start = self._start
        assert start is not None
        complete = self._complete or self._left == 0
        if first and (start.bodiless or (complete and self._has_body)):
            self._exchange.response_bytes(start.code, self._headers, data)
            return
        if first or data:
            self._exchange.response_write(start.code, self._headers, data)
        if complete or not self._has_body:  # after HEAD without a length, so that hyper adds none of its own
            self._send_end()

    def _send_end(self) -> None:
        if not self._exchange.ended:
            # With the end of a response in pieces, granian releases the request.
            self._server.discarder.discard(self._body)
            self._exchange.response_end()

    def _answered_late(self) -> bool:
        return self._claim is not None and not self._claim()


def respond(app: "WSGIApplication", exchange: Exchange, environ: dict[str, Any], server: Server) -> None:
    """Call `app` with the request of `environ`, and send its response; raises nothing."""
    body = body_of(environ, timeout=server.options.body_timeout)
    method = environ["REQUEST_METHOD"]
    late = server.options.late
    request = id(exchange)
    server.running[request] = server.caller_ids.caller
    try:
        if late is None:
            answer(app, environ, ExchangeResponse(exchange, server, method, body=body))
        else:
            with late.within(environ, exchange.response_bytes) as claim:
                answer(app, environ, ExchangeResponse(exchange, server, method, body=body, claim=claim))
    finally:
        del server.running[request]
