"""The id of a request, by which client, application and operator name it: `X-Request-ID`."""

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

VALID: Final = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")
"""What a client's X-Request-ID may be; the ledger replaces another."""


def header(environ: "WSGIEnvironment") -> list[tuple[str, str]]:
    """Return the header of a response that the application does not make itself; none where the request has no id."""
    found = str(environ.get("HTTP_X_REQUEST_ID", ""))
    return [("X-Request-ID", found)] if VALID.fullmatch(found) else []
