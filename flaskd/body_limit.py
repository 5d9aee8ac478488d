"""A bound on the size of request bodies, in front of any application and behind any engine."""

import io
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from werkzeug.exceptions import RequestEntityTooLarge

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


class BodyLimit:
    """Answers 413 for a request whose body is larger than `limit` bytes.

    Where the client says beforehand how much it sends, the application never sees the request. A chunked body is read by the
    application up to the limit; there RequestEntityTooLarge is raised, which is a 413 in Flask, and here for other
    applications.
    """

    def __init__(self, app: "WSGIApplication", limit: int) -> None:
        self._app = app
        self._limit = limit

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """Answer one request."""
        if "HTTP_TRANSFER_ENCODING" in environ:
            environ["wsgi.input"] = io.BufferedReader(_Bounded(environ["wsgi.input"], self._limit))
        elif _announced(environ) > self._limit:
            return _refuse(environ, start_response)
        try:
            return self._app(environ, start_response)
        except RequestEntityTooLarge:
            return _refuse(environ, start_response)


class _Bounded(io.RawIOBase):
    def __init__(self, stream: Any, limit: int) -> None:
        super().__init__()
        self._stream = stream
        self._left = limit

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._stream.read(min(len(buffer), self._left + 1))  # one more tells whether there is more
        self._left -= len(data)
        if self._left < 0:
            raise RequestEntityTooLarge
        buffer[: len(data)] = data
        return len(data)


def _announced(environ: "WSGIEnvironment") -> int:
    length = environ.get("CONTENT_LENGTH") or "0"
    return int(length) if length.isdecimal() else 0  # what is no number, the application answers


def _refuse(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
    response = RequestEntityTooLarge().get_response(environ)
    return response(environ, start_response)
