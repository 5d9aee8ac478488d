"""Answers of the health port (`--health HOST:PORT`): liveness, readiness and metrics. Pure.

`/livez` is 200 while the supervisor's loop answers. It ignores workers: a restart of the instance would not help, since it
replaces workers itself. `/readyz` is 200 while the instance is in rotation and a worker serves, otherwise 503. Both have the
state in their body. A probe changes nothing: only GET and HEAD.
"""

from collections.abc import Callable, Coroutine
from typing import Final, Protocol

from flaskd.probes.rotation import Rotation

PATHS: Final = ("/livez", "/readyz", "/metrics")


class Metrics(Protocol):
    """Has the page of metrics."""

    async def get(self, accept: str) -> tuple[int, str, bytes]:
        """Return status, media type and content for a reader with this Accept header."""


REASONS: Final = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    501: "Not Implemented",
    503: "Service Unavailable",
}


def answer(
    asked: bytes, rotation: Callable[[], Rotation], metrics: Metrics | None = None
) -> bytes | Coroutine[None, None, bytes] | None:
    """Return the response to an HTTP request of which `asked` has arrived, now or later; None until its head is complete."""
    head, complete, _ = asked.partition(b"\r\n\r\n")
    if not complete:
        return None
    first, *lines = head.decode("latin-1").split("\r\n")
    words = first.split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        return _response(400, "this is not HTTP/1\n")
    method, target, _ = words
    path = target.partition("?")[0]
    if path not in PATHS:
        return _response(404, f"there is {', '.join(PATHS[:-1])} and {PATHS[-1]}\n", method=method)
    if method not in {"GET", "HEAD"}:
        return _response(405, "a probe is a GET or a HEAD\n", "Allow: GET, HEAD")
    if path == "/metrics" and metrics is not None:
        return _page(metrics, _accepted(lines), method)
    now = rotation()
    status = 200 if path == "/livez" or now.ready else 503
    return _response(status, f"{now.text}\n", method=method)


def _accepted(lines: list[str]) -> str:
    """Return the value of the Accept header."""
    pairs = (line.partition(":") for line in lines)
    return ",".join(value.strip() for name, _, value in pairs if name.strip().lower() == "accept")


async def _page(metrics: Metrics, accept: str, method: str) -> bytes:
    status, media_type, content = await metrics.get(accept)
    return _response(status, content, method=method, media_type=media_type)


def _response(
    status: int,
    body: str | bytes,
    *more: str,
    method: str = "GET",
    media_type: str = "text/plain; charset=utf-8",
) -> bytes:
    content = body.encode() if isinstance(body, str) else body
    head = [
        f"HTTP/1.1 {status} {REASONS[status]}",
        f"Content-Type: {media_type}",
        f"Content-Length: {len(content)}",
        "Cache-Control: no-store",
        "Connection: close",
        *more,
    ]
    return "\r\n".join([*head, "", ""]).encode() + (b"" if method == "HEAD" else content)
