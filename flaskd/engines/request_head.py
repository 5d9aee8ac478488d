"""Receive the head of a request: as many bytes as it may have, in as much time as it may take.

The time is that of the whole head. A timeout for each read would give a client that sends a byte a minute a thread for ever.
"""

import re
import time
from typing import Final

from flaskd.engines.http1 import Refused, may_begin, parse_head
from flaskd.engines.timed_socket import TimedSocket

PIECE: Final = 65_536

# Also ends that are none (a bare LF), so that they are refused rather than waited for.
_END: Final = re.compile(rb"\n\r?\n")
_REQUEST_LINE_ENDS: Final = (b" HTTP/1.1\r\n", b" HTTP/1.0\r\n")


def receive_head(connection: TimedSocket, *, limit: int, deadline: float) -> tuple[bytes, bytes] | None:
    """Return a request's head through its empty line, not parsed, and what came behind it.

    None where there is no complete head: the client has left, or has taken until `deadline` (time.monotonic). Raises Refused
    for more than `limit` bytes, and as soon as it is seen that no request is coming.
    """
    data = bytearray()
    skipped = 0  # empty lines before the request (RFC 9112, section 2.2)
    line_is_good = False
    while True:
        try:
            piece = connection.receive(PIECE, deadline - time.monotonic())
        except OSError:  # also TimeoutError
            return None
        if not piece:
            return None
        searched = max(0, len(data) - 2)
        data += piece
        if not searched and data.startswith((b"\r", b"\n")):
            rest = data.lstrip(b"\r\n")
            skipped += len(data) - len(rest)
            data = rest
        if not may_begin(data[:1]):
            raise Refused(400, "This is not HTTP")
        end = _END.search(data, searched)
        size = end.end() if end else len(data)
        if size + skipped > limit:
            raise _too_large(data[:limit], limit)
        if end:
            return bytes(data[:size]), bytes(data[size:])
        if not line_is_good and b"\n" in data:
            line = bytes(data[: data.index(b"\n") + 1])
            if not line.endswith(_REQUEST_LINE_ENDS):
                parse_head(line + b"\r\n")  # which raises Refused
            line_is_good = True


def _too_large(data: bytearray, limit: int) -> Refused:
    if b"\n" in data:
        return Refused(431, f"The request's head is larger than {limit} bytes")
    return Refused(414, f"The request line is longer than {limit} bytes")
