"""Middleware that limits the size of request bodies, with any engine."""

import io
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from werkzeug.exceptions import RequestEntityTooLarge

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_LENGTH: Final = re.compile(r"[0-9]{1,18}")  # `isdecimal` also accepts digits of other scripts


class BodyLimit:
    """Answers 413 to a request whose body is larger than `limit` bytes.

    If the client announced the length, the application never sees the request. It can read any other body up to the limit,
    where the read raises RequestEntityTooLarge: Flask turns that into a 413, and this class does for other applications.
    """

    def __init__(self, app: "WSGIApplication", limit: int) -> None:
        self._app = app
        self._limit = limit

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """Answer one request."""
        announced = _announced(environ)
        if announced is None:
            environ["wsgi.input"] = io.BufferedReader(_Bounded(environ["wsgi.input"], self._limit))
        elif announced > self._limit:
            return _refuse(environ, start_response)
        try:
            return self._app(environ, start_response)
        except RequestEntityTooLarge:
            return _refuse(environ, start_response)


class _Bounded(io.RawIOBase):
    """Reads at most `limit` bytes of a stream; if there are more, each further read raises RequestEntityTooLarge."""

    def __init__(self, stream: Any, limit: int) -> None:
        super().__init__()
        self._stream = stream
        self._left = limit

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self._left >= 0:
            data = self._stream.read(min(len(buffer), self._left + 1))  # one more shows whether there is more
            self._left -= len(data)
        if self._left < 0:
            raise RequestEntityTooLarge
        buffer[: len(data)] = data
        return len(data)


def _announced(environ: "WSGIEnvironment") -> int | None:
    """Return the announced length of the body; None if only reading shows it, so that no spelling evades the limit."""
    if "HTTP_TRANSFER_ENCODING" in environ:
        return None
    length = (environ.get("CONTENT_LENGTH") or "0").strip(" \t")
    return int(length) if _LENGTH.fullmatch(length) else None


def _refuse(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
    response = RequestEntityTooLarge().get_response(environ)
    return response(environ, start_response)
