"""Answers requests in the application's place when they take too long.

The application's thread cannot be stopped: it goes on, and its answer is dropped. Whichever of the two takes the request out
of a dictionary answers it, so it is answered once. granian's protocol object takes a response from any thread (a channel
behind a mutex; granian 2.8, src/asgi/io.rs), and so does the waitress engine's channel (under a lock). The Werkzeug engine
does not: over TLS no other thread may write while the connection's own one reads.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

from flaskd.http import request_id

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

Respond = Callable[[int, list[tuple[str, str]], bytes], object]

STATUS: Final = 503
ANSWERED: Final = "flaskd.answered"
"""The key in the environ of a request that was answered in the application's place; its value is the status."""

BODY: Final = b"The server took too long.\n"
HEADERS: Final = [
    ("Content-Type", "text/plain"),
    ("Content-Length", str(len(BODY))),
    ("Connection", "close"),  # what is left of the request's body would be taken for the next request
]


class LateAnswers:
    """The requests that the application has not begun to answer. For any thread.

    `number_of` returns the number of the request that an environ belongs to.
    """

    def __init__(self, number_of: "Callable[[WSGIEnvironment], int]") -> None:
        self._number_of = number_of
        self._waiting: dict[int, tuple[Respond, dict[str, Any]]] = {}

    @contextlib.contextmanager
    def within(self, environ: dict[str, Any], respond: Respond) -> Iterator[Callable[[], bool]]:
        """Allow `respond` to answer the request of `environ` until the block ends or the application answers.

        Yields a function to call before each part of the application's answer; it returns whether that part may be sent.
        """
        key = id(environ)
        self._waiting[key] = respond, environ
        ours = False

        def claim() -> bool:
            nonlocal ours
            ours = ours or self._waiting.pop(key, None) is not None  # one call: no other thread in between
            return ours

        try:
            yield claim
        finally:
            self._waiting.pop(key, None)

    def answer(self, number: int) -> bool:
        """Answer this request; returns False if the application was quicker."""
        for key, (respond, environ) in self._waiting.copy().items():
            if self._number_of(environ) == number and self._waiting.pop(key, None) is not None:
                environ[ANSWERED] = STATUS
                respond(STATUS, [*HEADERS, *request_id.header(environ)], BODY)
                return True
        return False
