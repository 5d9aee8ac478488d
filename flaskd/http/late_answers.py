"""An answer in the application's place, where it has not begun one when its time is over.

The application's thread cannot be stopped: it goes on, and what it answers is dropped. Who answers is decided once for each
request, by who takes it out of a dictionary. granian's protocol object takes one response, from any thread (a channel behind a
mutex; granian 2.8, src/asgi/io.rs); waitress writes from any thread, under a lock. Werkzeug writes on the connection from its
handler's thread, and under TLS nobody else may write while that one reads.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

from flaskd.http import request_id

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

Call = Callable[[Any, dict[str, Any]], int]
Respond = Callable[[int, list[tuple[str, str]], bytes], object]

STATUS: Final = 503
ANSWERED: Final = "flaskd.answered"
"""The key in a request's environ with the status that it was given in the application's place."""

BODY: Final = b"The server took too long.\n"
HEADERS: Final = [
    ("Content-Type", "text/plain"),
    ("Content-Length", str(len(BODY))),
    ("Connection", "close"),  # what is left of the request's body would be taken for the next request
]


class LateAnswers:
    """The requests that the application has not begun to answer. From any thread.

    `number_of` tells by which number the one of an environ is known.
    """

    def __init__(self, number_of: "Callable[[WSGIEnvironment], int]") -> None:
        self._number_of = number_of
        self._waiting: dict[int, tuple[Respond, dict[str, Any]]] = {}

    @contextlib.contextmanager
    def within(self, environ: dict[str, Any], respond: Respond) -> Iterator[Callable[[], bool]]:
        """Let the request of `environ` be answered by calling `respond`, until the block ends or the application answers.

        What it yields has to be asked before each part of the application's answer: whether that may be sent.
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

    def around(self, call: Call) -> Call:
        """Let what granian calls, with a protocol object and an environ, be answered late."""

        def run(proto: Any, environ: dict[str, Any]) -> int:
            with self.within(environ, proto.response_bytes) as claim:
                try:
                    return call(_Guarded(proto, claim), environ)
                except Exception:
                    if ANSWERED in environ:
                        return STATUS
                    raise

        return run

    def answer(self, number: int) -> bool:
        """Answer this request; False where the application was quicker."""
        for key, (respond, environ) in self._waiting.copy().items():
            if self._number_of(environ) == number and self._waiting.pop(key, None) is not None:
                environ[ANSWERED] = STATUS
                respond(STATUS, [*HEADERS, *request_id.header(environ)], BODY)
                return True
        return False


class _Guarded:
    """A protocol object whose response is dropped if the request has one already."""

    __slots__ = ("_claim", "_proto")

    def __init__(self, proto: Any, claim: Callable[[], bool]) -> None:
        self._proto = proto
        self._claim = claim

    def response_bytes(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        if self._claim():
            self._proto.response_bytes(status, headers, body)

    def response_write(self, status: int, headers: list[tuple[str, str]], piece: bytes) -> None:
        if self._claim():
            self._proto.response_write(status, headers, piece)

    def response_iter(self, status: int, headers: list[tuple[str, str]], body: Any) -> None:
        if self._claim():
            self._proto.response_iter(status, headers, body)
        else:
            body.close()
