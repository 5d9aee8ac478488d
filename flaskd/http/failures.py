"""Turns an exception of the application's into a status, a text for the client, and a line in the log.

Werkzeug's exceptions have a status of their own, and so do `BrokenBody`, `SlowBody` and `RequestCancelled`; everything else is
500. Errors that the client has caused are logged for debugging only.
"""

import http.client
import logging
from typing import TYPE_CHECKING, Final

from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from flaskd.http import request_id
from flaskd.http.bodies import BrokenBody, SlowBody
from flaskd.http.cancelling import RequestCancelled
from flaskd.http.responses import BadResponse

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

UNEXPLAINED: Final = "The application failed to answer."

log = logging.getLogger("flaskd.http")


class ClientLeft(OSError):
    """The client closed its connection before it had its response, or did not take it in its time."""


def status_of(error: BaseException) -> int:
    """Return the status that answers `error` if nothing was sent yet."""
    code = error.code if isinstance(error, HTTPException | RequestCancelled) else None
    return code if code is not None and 400 <= code <= 599 else 500


def explain(error: BaseException, environ: "WSGIEnvironment", *, begun: bool) -> tuple[int, str]:
    """Log what went wrong, as an error if it is the application's; returns the status and the text to answer.

    `begun`: part of the response was sent, so its client sees it break off.
    """
    status = status_of(error)
    if isinstance(error, BadResponse):
        log.error("cannot answer %s: %s", named(environ), error)
    elif isinstance(error, RequestCancelled):
        log.warning("cancelled %s", named(environ))
    elif status >= 500 or (begun and not isinstance(error, BrokenBody | SlowBody | RequestEntityTooLarge)):
        log.error("the application failed at %s", named(environ), exc_info=error)
    else:
        log.debug("answered %d to %s: %s", status, named(environ), error)
    text: str | None = UNEXPLAINED
    if isinstance(error, HTTPException | RequestCancelled) and error.code == status:
        text = error.description
    return status, text or http.client.responses.get(status, UNEXPLAINED)


def named(environ: "WSGIEnvironment") -> str:
    """Return the request's name in the log: its method, its path, and its id if it has one."""
    name = f"{environ.get('REQUEST_METHOD')} {environ.get('PATH_INFO')!a}"
    return ", request ".join([name, *(value for _, value in request_id.header(environ))])
