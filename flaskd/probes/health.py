"""Answers of the health port (`--health HOST:PORT`): liveness and readiness. Pure.

`/livez` is 200 while the supervisor's loop answers. It ignores workers: a restart of the instance would not help, since it
replaces workers itself. `/readyz` is 200 while the instance is in rotation and a worker serves, otherwise 503. Both have the
state in their body. A probe changes nothing: only GET and HEAD.
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
    """Return the response to an HTTP request of which `asked` has arrived; None until its head is complete."""
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
