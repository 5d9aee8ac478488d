"""The WSGI environ (PEP 3333) of a request that granian has read and hands over as an ASGI scope; refuses invalid requests.

hyper has parsed the head by then, and has answered what it does not understand itself: with 400 or 431 and no body. What it
accepts and RFC 9112 does not is refused here, with the same texts as by the other engines. The scope has names in lower case,
values as they were sent, and an empty Host in front if there was none.
"""

import functools
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from flaskd.engines.choice import MAX_HEAD
from flaskd.http.environ import HeaderKeys, join_values
from flaskd.http.syntax import HOST, Refused, check_coding

ONCE: Final = {"HTTP_HOST": "Host", "CONTENT_LENGTH": "Content-Length"}
NO_HOST: Final = (b"host", b"")
EACH: Final = dict.fromkeys(
    (
        "REQUEST_METHOD",
        "PATH_INFO",
        "QUERY_STRING",
        "RAW_URI",
        "REQUEST_URI",
        "SERVER_PROTOCOL",
        "wsgi.input",
    ),
    "",
)
"""The keys that `environ_of` always sets: a dictionary that has them already is quicker to copy and set than to extend."""

_keys: Final = HeaderKeys()


def environ_of(
    scope: dict[str, Any], stream: Any, base: dict[str, Any], *, max_head: int = MAX_HEAD
) -> dict[str, Any]:
    """Make the environ of a request; raises Refused. `base` is what all requests share, and EACH; `stream` is `wsgi.input`.

    hyper does not count a head exactly: it looks at `max_head` before it reads on, and may read as much again.
    """
    raw_path = scope["raw_path"].decode("latin-1")
    query = scope["query_string"].decode("latin-1")
    method = scope["method"]
    modern = scope["http_version"] != "1"
    target = f"{raw_path}?{query}" if query else raw_path
    environ = base.copy()
    environ["REQUEST_METHOD"] = method
    environ["PATH_INFO"] = unquote_to_bytes(raw_path).decode("latin-1") if "%" in raw_path else raw_path
    environ["QUERY_STRING"] = query
    environ["RAW_URI"] = environ["REQUEST_URI"] = target
    environ["SERVER_PROTOCOL"] = "HTTP/1.1" if modern else "HTTP/1.0"
    environ["wsgi.input"] = stream
    if "REMOTE_ADDR" not in base:
        environ["REMOTE_ADDR"], environ["REMOTE_PORT"] = scope["client"]
    size = len(target) + 20
    for name, value in scope["headers"]:
        size += len(name) + len(value) + 4
        key = _keys[name]
        if not key:
            continue
        text = value.decode("latin-1")
        if key in environ:
            if key in ONCE:
                raise Refused(400, f"The request has no valid {ONCE[key]}")
            text = join_values(key, environ[key], text)
        environ[key] = text
    if size > max_head:
        raise Refused(431, f"The request's head is larger than {max_head} bytes")
    # What hyper accepts and we do not.
    if not environ["HTTP_HOST"] and scope["headers"][0] == NO_HOST:
        if modern:
            raise Refused(400, "The request has no Host")
        del environ["HTTP_HOST"]
    else:
        _check_host(environ["HTTP_HOST"])
    if not raw_path.startswith("/"):
        if method == "CONNECT":
            raise Refused(501, "This server is no proxy")
        if raw_path != "*" or method != "OPTIONS":
            raise Refused(400, "The request has no valid target")
    if "HTTP_TRANSFER_ENCODING" in environ:
        check_coding(environ["HTTP_TRANSFER_ENCODING"], modern)
    elif "CONTENT_LENGTH" in environ:
        length = environ["CONTENT_LENGTH"]
        if not (length.isascii() and length.isdigit()):
            raise Refused(400, "The request has no valid Content-Length")
    if "HTTP_EXPECT" in environ and environ["HTTP_EXPECT"].lower() != "100-continue":
        raise Refused(417, "The only expectation that is met is 100-continue")
    return environ


@functools.lru_cache(maxsize=512)
def _check_host(host: str) -> None:
    if not HOST.fullmatch(host):
        raise Refused(400, "The request has no valid Host")
