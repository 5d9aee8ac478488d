"""The id of a request for client, application and operator: `X-Request-ID`."""

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

VALID: Final = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")
"""A valid X-Request-ID of a client's; the ledger replaces any other."""


def header(environ: "WSGIEnvironment") -> list[tuple[str, str]]:
    """Return the header for a response that the application does not make itself; empty if the request has no id."""
    found = str(environ.get("HTTP_X_REQUEST_ID", ""))
    return [("X-Request-ID", found)] if VALID.fullmatch(found) else []
