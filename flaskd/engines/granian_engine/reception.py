"""Takes requests from granian, and sees to it that each is answered: the outermost of what runs on its threads."""

import logging
from collections.abc import Callable, Iterable
from typing import Any

from flaskd.engines.granian_engine.body import Input
from flaskd.engines.granian_engine.environ import environ_of
from flaskd.engines.granian_engine.exchange import Exchange, Gone, Server
from flaskd.engines.granian_engine.turns import Turns
from flaskd.engines.granian_engine.wsgi import Traffic
from flaskd.engines.shared import closing
from flaskd.http import request_id
from flaskd.http.failures import explain
from flaskd.http.syntax import Refused

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
            _answered(exchange, call, max_head=max_head)
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


def _answered(exchange: Exchange, call: Callable[[Any, dict[str, Any]], int], *, max_head: int) -> None:
    """Have the application answer; in its place where it does not. What it began and did not end is broken off."""
    scope = exchange.scope
    environ: dict[str, Any] = {}
    try:
        environ = environ_of(scope, exchange, max_head=max_head)
        call(exchange, environ)
    except Refused as refused:
        _answer(exchange, refused.status, refused.reason)
        asks = any(name == b"expect" for name, _ in scope["headers"])
        exchange.body = Input(
            exchange, None, asks=asks, timeout=closing.TIME
        )  # what it may send all the same
    except Gone as gone:
        log.debug("a response was not taken: %s", gone)
        _answer(exchange, 500, "")
    except BaseException as error:  # noqa: BLE001 - SystemExit, too: it is the request's end, and not the thread's
        _answer(exchange, *explain(error, environ, begun=exchange.begun), request_id.header(environ))


def _answer(exchange: Exchange, status: int, text: str, headers: Iterable[tuple[str, str]] = ()) -> None:
    """Answer in the application's place, if it has not begun to."""
    if exchange.begun:
        if not exchange.ended:
            exchange.break_off()
        return
    body = f"{text}\n".encode("utf-8", "replace")
    head = [("Content-Type", "text/plain"), ("Content-Length", str(len(body))), ("Connection", "close")]
    exchange.response_bytes(status, [*head, *headers], body)
