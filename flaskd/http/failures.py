"""What an application's exception means, the same with every engine: a status, a text for the client, a line in the log.

Werkzeug's exceptions have a status of their own, and so have `BrokenBody` and `SlowBody`; everything else is 500. What is
the client's own fault is no news to an operator.
"""

import http.client
import logging
from typing import TYPE_CHECKING, Final

from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from flaskd.http import request_id
from flaskd.http.bodies import BrokenBody, SlowBody
from flaskd.http.responses import BadResponse

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

UNEXPLAINED: Final = "The application failed to answer."

log = logging.getLogger("flaskd.http")


class ClientLeft(OSError):
    """The client closed its connection before it had its response, or did not take it in its time."""


def status_of(error: BaseException) -> int:
    """Return the status that answers `error`, where nothing has been sent yet."""
    code = error.code if isinstance(error, HTTPException) else None
    return code if code is not None and 400 <= code <= 599 else 500


def explain(error: BaseException, environ: "WSGIEnvironment", *, begun: bool) -> tuple[int, str]:
    """Say in the log what went wrong, where it is the application's fault; returns what to answer.

    `begun`: some of the response was sent, so that its client sees it break off.
    """
    status = status_of(error)
    if isinstance(error, BadResponse):
        log.error("cannot answer %s: %s", named(environ), error)
    elif status >= 500 or (begun and not isinstance(error, BrokenBody | SlowBody | RequestEntityTooLarge)):
        log.error("the application failed at %s", named(environ), exc_info=error)
    else:
        log.debug("answered %d to %s: %s", status, named(environ), error)
    text = error.description if isinstance(error, HTTPException) and error.code == status else UNEXPLAINED
    return status, text or http.client.responses.get(status, UNEXPLAINED)


def named(environ: "WSGIEnvironment") -> str:
    """Return what the log calls a request: its method, its path, and its id where it has one."""
    name = f"{environ.get('REQUEST_METHOD')} {environ.get('PATH_INFO')!a}"
    return ", request ".join([name, *(value for _, value in request_id.header(environ))])
