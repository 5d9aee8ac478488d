"""The private names of waitress that this engine uses, and a check that they are still what they were.

waitress (Pylons) is a WSGI server in pure Python. Of it we use the *channel*: a connection with a queue of whole requests,
which one thread at a time answers, and with an output buffer between that thread and the loop, which writes what a slow client
has not yet taken. Around it are our own loop (`loop`), a strict parser (`request`), and the framing of responses (`framing`).

What has to be known of waitress 3.0.2:

- `HTTPChannel` asks its server for `add_task`, `pull_trigger` and `active_channels`. Here a channel is its own server.
- `received` feeds `request`, an object of `parser_class`, and appends it to `requests` when it is `completed`, under
  `requests_lock`; the first one calls `add_task`, which has a thread answer it.
- `write_soon`, on that thread, appends to `outbufs` under `outbuf_lock`, and waits on it while `total_outbufs_len` is above
  `outbuf_high_watermark`. It raises `ClientDisconnected` if `connected` is false.
- `_flush_some_if_lockable` sends from the loop and notifies. Both send with `send`, whose errors we note for the loop to see:
  waitress would close the socket on the thread that got the error.
- `close_when_flushed` asks for the end. `handle_close` releases the buffers, the socket and its entries in the two maps.
"""

import functools
import importlib.metadata
import inspect
from typing import Final

from waitress.adjustments import Adjustments
from waitress.channel import HTTPChannel

from flaskd.errors import ConfigError

SUPPORTED: Final = "3.0"

PRIVATE: Final = {
    "__init__": "self server sock addr adj map",
    "received": "self data",
    "write_soon": "self data",
    "readable": "self",
    "handle_close": "self",
    "send_continue": "self",
    "_flush_some_if_lockable": "self do_close",
    "_flush_outbufs_below_high_watermark": "self",
    "add_channel": "self map",
    "del_channel": "self map",
}
"""The channel's methods that we call or replace, and their parameters."""


def probe() -> str:
    """Return waitress's version; raise ConfigError if it is not installed or its channel differs from what stands here."""
    try:
        version = importlib.metadata.version("waitress")
    except importlib.metadata.PackageNotFoundError:
        raise ConfigError("waitress is not installed", hint="pip install 'waitress>=3.0.2,<3.1'") from None
    for name, expected in PRIVATE.items():
        method = getattr(HTTPChannel, name, None)
        seen = " ".join(inspect.signature(method).parameters) if method else "nothing"
        if seen != expected or not version.startswith(f"{SUPPORTED}."):
            raise ConfigError(
                f"waitress {version} is not as known: HTTPChannel.{name} takes ({seen}), not ({expected})",
                hint="pip install 'waitress>=3.0.2,<3.1', or choose another --engine",
            )
    return version


@functools.cache
def probed() -> str:
    """Return what `probe` returns, which takes some milliseconds the first time. A forked worker has it already."""
    return probe()


ADJUSTMENTS: Final = Adjustments(log_socket_errors=False)
"""waitress's settings; `send_bytes` is 1, so that each piece of a stream is sent at once."""
