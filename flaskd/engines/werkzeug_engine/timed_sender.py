"""Sends a response on a TimedSocket, to a client that may be slow or may have left."""

import contextlib
import errno
import time
from collections.abc import Callable
from typing import Any, Final

from flaskd.engines.shared.framing import Transport
from flaskd.engines.werkzeug_engine.timed_socket import TimedSocket
from flaskd.http.bodies import MinRateTimeout
from flaskd.http.failures import ClientLeft
from flaskd.http.file_wrapper import Region

NO_SENDFILE: Final = {errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP}
"""Errors of sendfile(2) for a file system that it cannot read from."""


class TimedSender(Transport):
    """Sends while the client takes its response in `write_timeout`, as `MinRateTimeout` counts.

    `gone`: it does not, or has left. The connection has to be reset then, because the kernel would keep the bytes for it.
    """

    def __init__(self, connection: TimedSocket, write_timeout: float) -> None:
        self._connection = connection
        self._timeout = MinRateTimeout(write_timeout)
        self.gone = False
        self.takes_files = not connection.encrypted  # encrypted bytes pass through OpenSSL

    def taken(self) -> bool:
        """Tell whether the application has written to the socket by itself."""
        return self._connection.taken

    def send(self, data: bytes) -> None:
        """Send all of `data`, unless the connection is taken; raises ClientLeft."""
        if self._connection.taken:
            return
        view = memoryview(data)
        while view:
            view = view[self._timed(self._connection.send, view) :]

    def send_file(self, region: Region, size: int) -> int:
        """Send it with sendfile(2); less than `size` if the file has become shorter."""
        sent = 0
        while sent < size:
            try:
                count = self._timed(
                    self._connection.send_file, region.descriptor, region.offset + sent, size - sent
                )
            except ClientLeft as error:
                if sent or getattr(error.__cause__, "errno", None) not in NO_SENDFILE:
                    raise
                self.gone = False
                break
            if not count:
                break
            sent += count
        return sent

    def _timed(self, send: Callable[..., int], *args: Any) -> int:
        """Call `send` with the time that the client has left."""
        if self.gone:
            raise ClientLeft("the client is gone")
        try:
            try:
                return send(*args, 0.0)
            except TimeoutError:
                return self._send_slowly(send, *args)
        except OSError as error:  # also TimeoutError
            self.gone = True
            raise ClientLeft(str(error)) from error

    def _send_slowly(self, send: Callable[..., int], *args: Any) -> int:
        """Send to a slow client, and measure what it takes, not what the kernel has room for.

        The kernel reports room only when a third of its buffer is free (sk_stream_is_writeable), which may be a megabyte.
        """
        while self._timeout.remaining > 0:
            before, unsent = time.monotonic(), self._connection.unsent
            count = None
            with contextlib.suppress(TimeoutError):
                count = send(*args, self._timeout.remaining)
            taken = unsent + (count or 0) - self._connection.unsent
            self._timeout.transferred(max(0, taken), time.monotonic() - before)
            if count is not None:
                return count
        raise TimeoutError("the client does not take the response")
