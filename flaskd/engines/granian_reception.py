"""Takes requests from granian, and sees to it that each is answered: the outermost of what runs on its threads."""

import logging
from collections.abc import Callable
from typing import Any

from flaskd.engines import goodbye
from flaskd.engines.bodies import BrokenBody, SlowBody
from flaskd.engines.granian_environ import environ_of
from flaskd.engines.granian_exchange import Exchange, Gone, Server
from flaskd.engines.granian_input import Input
from flaskd.engines.granian_wsgi import Traffic
from flaskd.engines.http1 import Refused
from flaskd.engines.responses import BadResponse
from flaskd.engines.turns import Turns

log = logging.getLogger("flaskd.http")


def reception(
    call: Callable[[Any, dict[str, Any]], int],
    traffic: Traffic,
    turns: Turns,
    server: Server,
    *,
    max_head: int,
) -> Callable[[Any], None]:
    """Make what granian calls with a "watcher" of each request; it raises nothing, for granian does not look."""

    def answer(exchange: Exchange) -> None:
        try:
            try:
                call(exchange, environ_of(exchange.scope, exchange, max_head=max_head))
            except BaseException as error:  # noqa: BLE001 - logged there; SystemExit is the end of the request, not of us
                _answer_for(exchange, error)
            if exchange.body is not None:
                traffic.lingering.discard(exchange.body)
            exchange.let_go()
        except BaseException:  # the thread's outer edge
            log.exception("a request could not be answered")

    def take(watcher: Any) -> None:
        exchange = Exchange(watcher, server)
        del watcher  # the traceback of an error would keep it, and it keeps granian's threads
        turns.do(answer, exchange)

    return take


def _answer_for(exchange: Exchange, error: BaseException) -> None:
    """Answer in the application's place where it has not. What it began and did not end is broken off."""
    method, path = exchange.scope["method"], exchange.scope["path"]
    match error:
        case Refused():
            _answer(exchange, error.status, error.reason)
            asks = any(name == b"expect" for name, _ in exchange.scope["headers"])
            exchange.body = Input(
                exchange, None, asks=asks, timeout=goodbye.TIME
            )  # what it may send all the same
        case BrokenBody() | SlowBody():
            _answer(exchange, error.code or 400, error.description)
        case Gone():
            log.debug("%s %s: %s", method, path, error)
            _answer(exchange, 500, "")
        case BadResponse():
            log.error("%s %s: %s", method, path, error)
            _answer(exchange, 500, "The server failed to answer.")
        case _:
            log.error("%s %s failed", method, path, exc_info=error)
            _answer(exchange, 500, "The server failed to answer.")


def _answer(exchange: Exchange, status: int, reason: str) -> None:
    """Answer in the application's place, if it has not begun to."""
    if exchange.begun:
        if not exchange.ended:
            exchange.break_off()
        return
    body = f"{reason}\n".encode()
    head = [("Content-Type", "text/plain"), ("Content-Length", str(len(body))), ("Connection", "close")]
    exchange.response_bytes(status, head, body)
