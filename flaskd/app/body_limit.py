"""A bound on the size of request bodies, in front of any application and behind any engine."""

import io
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from werkzeug.exceptions import RequestEntityTooLarge

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_LENGTH: Final = re.compile(r"[0-9]{1,18}")  # `isdecimal` would take digits of other scripts, too


class BodyLimit:
    """Answers 413 for a request whose body is larger than `limit` bytes.

    Where the client says beforehand how much it sends, the application never sees the request. Any other body is read by the
    application up to the limit; there RequestEntityTooLarge is raised, which is a 413 in Flask, and here for other
    applications.
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
    """Reads `limit` bytes of a stream; where there are more, each further read raises RequestEntityTooLarge."""

    def __init__(self, stream: Any, limit: int) -> None:
        super().__init__()
        self._stream = stream
        self._left = limit

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self._left >= 0:
            data = self._stream.read(min(len(buffer), self._left + 1))  # one more tells whether there is more
            self._left -= len(data)
        if self._left < 0:
            raise RequestEntityTooLarge
        buffer[: len(data)] = data
        return len(data)


def _announced(environ: "WSGIEnvironment") -> int | None:
    """Return the length of the body; None where its end has to be found by reading, so that no spelling passes the limit."""
    if "HTTP_TRANSFER_ENCODING" in environ:
        return None
    length = (environ.get("CONTENT_LENGTH") or "0").strip(" \t")
    return int(length) if _LENGTH.fullmatch(length) else None


def _refuse(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
    response = RequestEntityTooLarge().get_response(environ)
    return response(environ, start_response)
