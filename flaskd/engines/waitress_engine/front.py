"""What the connections of one listener share in the waitress engine, and the environ of their requests."""

import functools
import socket
import sys
from typing import TYPE_CHECKING, Any

from flaskd.engines.waitress_engine.request import Request

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

    from flaskd.engines.waitress_engine.engine import WaitressEngine


class Front:
    """One listener: its connections, and what their requests say of it."""

    def __init__(self, engine: "WaitressEngine", listener: socket.socket) -> None:
        unix = listener.family == socket.AF_UNIX
        host, port = ("localhost", 80) if unix else listener.getsockname()[:2]
        self.engine = engine
        self.listener = listener
        self._unix = unix
        self._common = {
            "SCRIPT_NAME": "",
            "SERVER_NAME": host,
            "SERVER_PORT": str(port),
            "SERVER_SOFTWARE": f"waitress/{engine.version}",
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
            "wsgi.input_terminated": True,
        }

    def environ(self, request: Request, address: Any) -> "WSGIEnvironment":
        """Make the environ of a request (PEP 3333; RFC 3875, section 4.1)."""
        head = request.head
        assert head is not None
        environ: WSGIEnvironment = {
            **self._common,
            "REQUEST_METHOD": head.method,
            "PATH_INFO": head.path,
            "QUERY_STRING": head.query,
            "RAW_URI": head.target,
            "REQUEST_URI": head.target,
            "SERVER_PROTOCOL": head.version,
            "REMOTE_ADDR": "" if self._unix else address[0],
            "wsgi.input": request.stream(),
        }
        if not self._unix:
            environ["REMOTE_PORT"] = str(address[1])
        for name, value in head.fields:
            key = _key(name)
            if key in environ:
                environ[key] += f"; {value}" if key == "HTTP_COOKIE" else f", {value}"
            elif key:
                environ[key] = value
        if head.chunked:  # it has come whole, so the application gets a plain body
            environ["CONTENT_LENGTH"] = str(request.size)
            del environ["HTTP_TRANSFER_ENCODING"]
        elif head.length is not None:
            environ["CONTENT_LENGTH"] = str(head.length)
        return environ


@functools.lru_cache(maxsize=512)
def _key(name: str) -> str:
    """Return a header's key in the environ; none for a name with an underscore, which would be taken for a hyphen's."""
    if "_" in name:
        return ""
    key = name.upper().replace("-", "_")
    return key if key in {"CONTENT_TYPE", "CONTENT_LENGTH"} else f"HTTP_{key}"
