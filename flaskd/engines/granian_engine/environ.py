"""The WSGI environ (PEP 3333) of a request that granian has read, told as ASGI's scope; what is no request is refused.

hyper has parsed the head by then, and answered what it does not understand itself, with 400 or 431 and no body. What it lets
pass and RFC 9112 does not is refused here (`http1.Refused`), with the same words as by the other engines. The scope has names
in lower case, values as they were sent, and an empty Host in front where there was none.
"""

import functools
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from flaskd.engines.choice import MAX_HEAD
from flaskd.http.syntax import HOST, Refused, check_coding

VERSIONS: Final = {"1": "HTTP/1.0", "1.1": "HTTP/1.1"}
ONCE: Final = {"HTTP_HOST": "Host", "CONTENT_LENGTH": "Content-Length"}
MAX_KEYS: Final = 512  # names that are remembered; clients make them up
NO_HOST: Final = (b"host", b"")


class _Keys(dict[bytes, str]):
    """The environ's keys of headers; empty for one with an underscore, which would be taken for another."""

    def __missing__(self, name: bytes) -> str:
        text = name.decode("latin-1").upper()
        key = "" if "_" in text else f"HTTP_{text.replace('-', '_')}"
        if len(self) < MAX_KEYS:
            self[name] = key
        return key


_keys: Final = _Keys({b"content-type": "CONTENT_TYPE", b"content-length": "CONTENT_LENGTH"})


@functools.lru_cache(maxsize=512)
def _check_host(host: str) -> None:
    if not HOST.fullmatch(host):
        raise Refused(400, "The request has no valid Host")


def environ_of(scope: dict[str, Any], stream: Any, *, max_head: int = MAX_HEAD) -> dict[str, Any]:
    """Make the environ of a request; `stream` is in it as `wsgi.input`. Raises Refused.

    hyper counts no head exactly: it looks at `max_head` before it reads on, and may read as much again.
    """
    raw_path = scope["raw_path"].decode("latin-1")
    query = scope["query_string"].decode("latin-1")
    target = f"{raw_path}?{query}" if query else raw_path
    version = scope["http_version"]
    method = scope["method"]
    environ: dict[str, Any] = {
        "REQUEST_METHOD": method,
        "PATH_INFO": unquote_to_bytes(raw_path).decode("latin-1") if "%" in raw_path else raw_path,
        "QUERY_STRING": query,
        "RAW_URI": target,
        "REQUEST_URI": target,
        "SERVER_PROTOCOL": VERSIONS.get(version, "HTTP/1.1"),
        "wsgi.url_scheme": scope["scheme"],
        "wsgi.input": stream,
    }
    environ["SERVER_NAME"], environ["SERVER_PORT"] = scope["server"]
    environ["REMOTE_ADDR"], environ["REMOTE_PORT"] = scope["client"]
    headers = scope["headers"]
    size = len(target) + 20
    for name, value in headers:
        size += len(name) + len(value) + 4
        key = _keys[name]
        if not key:
            continue
        text = str(value, "latin-1")
        if key in environ:
            if key in ONCE:
                raise Refused(400, f"The request has no valid {ONCE[key]}")
            text = f"{environ[key]}{'; ' if key == 'HTTP_COOKIE' else ','}{text}"
        environ[key] = text
    if size > max_head:
        raise Refused(431, f"The request's head is larger than {max_head} bytes")
    if not environ["HTTP_HOST"] and headers[0] == NO_HOST:
        if version != "1":
            raise Refused(400, "The request has no Host")
        del environ["HTTP_HOST"]
    else:
        _check_host(environ["HTTP_HOST"])
    if not raw_path.startswith("/"):
        _check_target(method, raw_path)
    if "HTTP_TRANSFER_ENCODING" in environ:
        check_coding(environ["HTTP_TRANSFER_ENCODING"], version != "1")
    elif "CONTENT_LENGTH" in environ:
        _check_length(environ["CONTENT_LENGTH"])
    if "HTTP_EXPECT" in environ and environ["HTTP_EXPECT"].lower() != "100-continue":
        raise Refused(417, "The only expectation that is met is 100-continue")
    return environ


def _check_target(method: str, path: str) -> None:
    if method == "CONNECT":
        raise Refused(501, "This server is no proxy")
    if path != "*" or method != "OPTIONS":
        raise Refused(400, "The request has no valid target")


def _check_length(length: str) -> None:
    if not (length.isascii() and length.isdigit()):
        raise Refused(400, "The request has no valid Content-Length")
