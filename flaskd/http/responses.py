"""Checks what an application passes to `start_response`, before any of it is sent; the same for every engine.

Nothing of it may end a line unintentionally (CWE-113), frame the message in another way than the server does, or be invalid in
HTTP. A refused head is answered with 500 and logged. Hop-by-hop fields, which are the server's own (PEP 3333; RFC 9110, section
7.6.1), are left out.
"""

import functools
import re
from typing import Any, Final, NamedTuple

from flaskd.http.syntax import NAME

HOP_BY_HOP: Final = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "trailers",
        "transfer-encoding",
        "upgrade",
    }
)

MAX_NAMES: Final = 512
"""Names of headers that are remembered; an application may make them up."""

_STATUS: Final = re.compile(r"[1-9][0-9]{2}(?: [\t\x20-\x7e\x80-\xff]*)?")
_NAME: Final = re.compile(NAME)
_NO_VALUE: Final = re.compile(r"[^\t\x20-\x7e\x80-\xff]")
_MAX_DIGITS: Final = 18  # of a Content-Length


class BadResponse(ValueError):
    """The application's status or headers cannot be sent."""


class Start(NamedTuple):
    """A response's head. `status` has a number, a space and a reason, which may be empty; `headers` no hop-by-hop fields.

    `length` is the application's Content-Length, None without one. `bodiless`: the status allows no body (RFC 9112, section
    6.3). `close`: the application wants the connection closed after the response.
    """

    code: int
    status: str
    headers: list[tuple[str, str]]
    length: int | None
    bodiless: bool
    close: bool


@functools.lru_cache
def code_of(status: str) -> int:
    """Return the number of a status such as "200 OK"; raises BadResponse for anything else."""
    if not isinstance(status, str) or not _STATUS.fullmatch(status):
        raise BadResponse(f"{status!r} is no HTTP status: 100 to 999 and a reason")
    return int(status[:3])


class _Special(dict[str, str]):
    """The name in lower case of a header that is not just passed on; "" for any other that is valid."""

    def __missing__(self, name: str) -> str:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise BadResponse(f"{name!r} is no name of a header")
        lower = name.lower()
        special = lower if lower in HOP_BY_HOP or lower == "content-length" else ""
        if len(self) < MAX_NAMES:
            self[name] = special
        return special


_special: Final = _Special()


def check_start(status: str, headers: Any) -> Start:
    """Check the arguments of `start_response`; raises BadResponse, whose text says what is wrong."""
    code = code_of(status)
    bodiless = code < 200 or code in (204, 304)
    length: int | None = None
    close = False
    sent = []
    for name, value in headers:
        special = _special[name]
        # The first two checks are fast, and enough for nearly all values.
        if not isinstance(value, str) or (
            not (value.isascii() and value.isprintable()) and _NO_VALUE.search(value)
        ):
            raise BadResponse(f"the header {name} cannot have the value {value!r}")
        if special == "content-length":
            digits = value.strip(" \t")
            valid = digits.isascii() and digits.isdigit() and len(digits) <= _MAX_DIGITS  # isdigit() knows ²
            if not valid or (length is not None and length != int(digits)):
                raise BadResponse(f"the header Content-Length cannot have the value {value!r}")
            if length is not None or code < 200 or code == 204:  # RFC 9110, section 8.6
                continue
            length = int(digits)
        elif special:
            close = close or (special == "connection" and "close" in value.lower())
            continue
        sent.append((name, value))
    status = status if len(status) > 3 else f"{status} "
    return tuple.__new__(Start, (code, status, sent, length, bodiless, close))  # no frame, as Start() takes
