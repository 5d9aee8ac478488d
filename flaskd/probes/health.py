"""The health listener's answers (`--health HOST:PORT`): does this daemon live, and should it be sent requests? Pure.

`/livez` is 200 while the supervisor's loop answers. Workers do not come into it: to end the instance because of them would
mend nothing, since it replaces them itself. `/readyz` is 200 while the instance is in rotation and a worker serves, else 503.
Both tell the state in their body. A probe changes nothing: GET and HEAD only.
"""

from collections.abc import Callable
from typing import Final

from flaskd.probes.rotation import Rotation

PATHS: Final = ("/livez", "/readyz")

REASONS: Final = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    503: "Service Unavailable",
}


def answer(asked: bytes, rotation: Callable[[], Rotation]) -> bytes | None:
    """Return the response to an HTTP request of which `asked` has come so far; None while its head is not complete."""
    head, complete, _ = asked.partition(b"\r\n\r\n")
    if not complete:
        return None
    words = head.partition(b"\r\n")[0].decode("latin-1").split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        return _response(400, "this is not HTTP/1\n")
    method, target, _ = words
    path = target.partition("?")[0]
    if path not in PATHS:
        return _response(404, f"there is {' and '.join(PATHS)}\n", method=method)
    if method not in {"GET", "HEAD"}:
        return _response(405, "a probe is a GET or a HEAD\n", "Allow: GET, HEAD")
    now = rotation()
    status = 200 if path == "/livez" or now.ready else 503
    return _response(status, f"{now.text}\n", method=method)


def _response(status: int, body: str, *more: str, method: str = "GET") -> bytes:
    head = [
        f"HTTP/1.1 {status} {REASONS[status]}",
        "Content-Type: text/plain; charset=utf-8",
        f"Content-Length: {len(body)}",
        "Cache-Control: no-store",
        "Connection: close",
        *more,
    ]
    return "\r\n".join([*head, "", "" if method == "HEAD" else body]).encode()
