"""Answers the requests of channels, on the threads of the pool: the environ, the application, the response."""

import contextlib
import functools
from collections.abc import Callable
from http import HTTPStatus
from typing import Final

from flaskd.engines.shared.answering import answer
from flaskd.engines.shared.framing import FramedResponse, Transport
from flaskd.engines.waitress_engine.channel import Channel, Ending
from flaskd.engines.waitress_engine.private import ADJUSTMENTS
from flaskd.engines.waitress_engine.request import Request
from flaskd.http.environ import request_environ
from flaskd.http.failures import ClientLeft
from flaskd.http.late_answers import ANSWERED
from flaskd.http.syntax import Head, Refused
from flaskd.process import forks

NAME: Final = "waitress"
"""The value of `Server` in each response."""


class Output(Transport):
    """Sends a response on a channel, its last one without `head`; `claim` is asked before each part if it may be sent."""

    def __init__(
        self, channel: Channel, head: Head | None = None, claim: Callable[[], bool] | None = None
    ) -> None:
        self._channel = channel
        self._head = head
        self._claim = claim

    def may_keep(self) -> bool:
        """Tell whether the request allows it, and keep-alive is on."""
        if self._head is None or self._head.close or not self._channel.loop.keepalive:
            return False
        loop = self._channel.loop
        # A request that has come already would not be answered.
        return not loop.load_share.lets_go(loop.load, needed=self._channel.more_has_come)

    def send(self, data: bytes) -> None:
        """Send, or buffer what the kernel does not take; raises ClientLeft."""
        if self._claim is not None and not self._claim():
            raise ClientLeft("it was answered meanwhile")
        self._channel.write_soon(data)


def respond(channel: Channel) -> None:
    """Answer the channel's first request."""
    request = channel.requests[0]
    depth = forks.depth
    close = not channel.connected or _answer(channel, request)
    if forks.depth == depth:  # else a lock may have been another thread's when the application forked
        channel.answered(request, close=close)


def _answer(channel: Channel, request: Request) -> bool:
    """Send the response; returns whether the connection ends with it."""
    head = request.head
    if request.error is not None or head is None:
        error = request.error or Refused(400, "This is not HTTP")
        channel.ending = Ending.LINGER
        with contextlib.suppress(ClientLeft):
            _response(Output(channel), head).refuse(error.status, error.reason)
        return True
    app = channel.shared.app
    environ = request_environ(channel.shared.environ, head, channel.addr, request.stream())
    if head.chunked:  # it has come whole, so the application gets a plain body
        environ["CONTENT_LENGTH"] = str(request.size)
        del environ["HTTP_TRANSFER_ENCODING"]
    late = channel.loop.options.late
    if late is None:
        response = _response(Output(channel, head), head)
        answer(app, environ, response)
    else:
        with late.within(environ, functools.partial(_answer_late, channel, head)) as claim:
            response = _response(Output(channel, head, claim), head)
            answer(app, environ, response)
    if response.reset and ANSWERED not in environ:
        channel.ending = Ending.RESET
    if channel.current_outbuf_count:  # so that a buffer does not live, and grow, as long as its connection
        channel.current_outbuf_count = ADJUSTMENTS.outbuf_high_watermark
    return response.close


def _response(output: Output, head: Head | None) -> FramedResponse:
    method, version = (head.method, head.version) if head else ("GET", "HTTP/1.1")
    return FramedResponse(output, method=method, version=version, server=NAME)


def _answer_late(
    channel: Channel, head: Head, status: int, headers: list[tuple[str, str]], body: bytes
) -> None:
    """Answer in the application's place, on any thread, and have the connection closed."""
    response = _response(Output(channel), head)
    with contextlib.suppress(ClientLeft):
        response.start(f"{status} {HTTPStatus(status).phrase}", headers)
        response.write(body, whole=True)
    channel.close_when_flushed = True
    channel.loop.update_soon(channel)
