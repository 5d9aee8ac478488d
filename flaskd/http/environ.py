"""The WSGI environ of a request (PEP 3333; RFC 3875, section 4.1)."""

import socket
import sys
from typing import TYPE_CHECKING, Any, Final

from flaskd.http.syntax import Head

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

MAX_KEYS: Final = 512
"""Names of headers that are remembered; clients make them up."""


class HeaderKeys(dict[str | bytes, str]):
    """The key of each header in the environ; empty for a name with an underscore, because A_B would become A-B."""

    def __missing__(self, name: str | bytes) -> str:
        text = (name.decode("latin-1") if isinstance(name, bytes) else name).upper()
        key = "" if "_" in text else text.replace("-", "_")
        if key and key not in {"CONTENT_TYPE", "CONTENT_LENGTH"}:
            key = f"HTTP_{key}"
        if len(self) < MAX_KEYS:
            self[name] = key
        return key


_keys: Final = HeaderKeys()


def join_values(key: str, first: str, second: str) -> str:
    """Join the values of a header that came twice (RFC 9110, section 5.3; of Cookie, RFC 6265, section 5.4)."""
    return f"{first}{'; ' if key == 'HTTP_COOKIE' else ', '}{second}"


def server_environ(
    listener: socket.socket, software: str, *, multiprocess: bool, scheme: str = "http"
) -> "WSGIEnvironment":
    """Return the part of the environ that all requests to a listener share.

    A Unix socket has no host and no port, so it gets localhost and 80, which make a URL where there is no Host header.
    """
    unix = listener.family == socket.AF_UNIX
    host, port = ("localhost", 80) if unix else listener.getsockname()[:2]
    return {
        "SCRIPT_NAME": "",
        "SERVER_NAME": host,
        "SERVER_PORT": str(port),
        "SERVER_SOFTWARE": software,
        "wsgi.errors": sys.stderr,
        "wsgi.multiprocess": multiprocess,
        "wsgi.multithread": True,
        "wsgi.run_once": False,
        "wsgi.url_scheme": scheme,
        "wsgi.version": (1, 0),
    }


def request_environ(server: "WSGIEnvironment", head: Head, address: Any, body: Any) -> "WSGIEnvironment":
    """Make the environ of a request; `server` is from `server_environ`, `address` the client's, and `body` ends by itself."""
    environ: WSGIEnvironment = {
        **server,
        "REQUEST_METHOD": head.method,
        "PATH_INFO": head.path,
        "QUERY_STRING": head.query,
        "RAW_URI": head.target,
        "REQUEST_URI": head.target,
        "SERVER_PROTOCOL": head.version,
        "REMOTE_ADDR": "",
        "wsgi.input": body,
        "wsgi.input_terminated": True,
    }
    if isinstance(address, tuple):  # not a Unix socket's
        environ["REMOTE_ADDR"], environ["REMOTE_PORT"] = address[0], str(address[1])
    for name, value in head.fields:
        key = _keys[name]
        if key:
            environ[key] = join_values(key, environ[key], value) if key in environ else value
    if head.length is not None:
        environ["CONTENT_LENGTH"] = str(head.length)
    elif head.chunked:
        environ.pop("CONTENT_LENGTH", None)  # it does not count (RFC 9112, section 6.3)
    return environ
