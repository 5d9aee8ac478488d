"""Takes requests from granian, and sees to it that each is answered: the outermost of what runs on its threads."""

import functools
import logging
from collections.abc import Callable
from typing import Any

from flaskd.engines import goodbye
from flaskd.engines.bodies import BrokenBody, SlowBody
from flaskd.engines.granian_environ import environ_of
from flaskd.engines.granian_exchange import Exchange, Gone
from flaskd.engines.granian_input import Input
from flaskd.engines.granian_wsgi import Traffic
from flaskd.engines.http1 import Refused
from flaskd.engines.responses import BadResponse
from flaskd.engines.sightings import Sightings
from flaskd.engines.turns import Turns

log = logging.getLogger("flaskd.http")


def reception(
    call: Callable[[Any, dict[str, Any]], int],
    traffic: Traffic,
    turns: Turns,
    *,
    max_head: int,
    write_timeout: float,
    connections: Sightings,
) -> Callable[[Any], None]:
    """Make what granian calls with a "watcher" of each request; it raises nothing, for granian does not look."""

    def answer(exchange: Exchange) -> None:
        try:
            _answered(exchange, call, max_head=max_head)
            traffic.lingering.discard(exchange.body)
            exchange.let_go()
        except BaseException:  # the thread's outer edge
            log.exception("a request could not be answered")

    def take(watcher: Any) -> None:
        exchange = Exchange(watcher, write_timeout=write_timeout, connections=connections)
        del watcher  # the traceback of an error would keep it, and it keeps granian's threads
        turns.do(functools.partial(answer, exchange))

    return take


def _answered(exchange: Exchange, call: Callable[[Any, dict[str, Any]], int], *, max_head: int) -> None:
    """Have the application answer; in its place where it does not. What it began and did not end is broken off."""
    scope = exchange.scope
    try:
        call(exchange, environ_of(scope, exchange, max_head=max_head))
    except Refused as refused:
        _answer(exchange, refused.status, refused.reason)
        asks = any(name == b"expect" for name, _ in scope["headers"])
        exchange.body = Input(
            exchange, None, asks=asks, timeout=goodbye.TIME
        )  # what it may send all the same
    except (BrokenBody, SlowBody) as error:
        _answer(exchange, error.code or 400, error.description)
    except Gone as gone:
        log.debug("a response was not taken: %s", gone)
        _answer(exchange, 500, "")
    except BadResponse as error:
        log.error("%s %s: %s", scope["method"], scope["path"], error)  # noqa: TRY400 - the sentence says it
        _answer(exchange, 500, "The server failed to answer.")
    except BaseException:  # SystemExit, too: it is the request's end, and not the thread's
        log.exception("%s %s failed", scope["method"], scope["path"])
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
