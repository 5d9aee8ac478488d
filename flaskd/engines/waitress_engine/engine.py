"""The waitress engine: waitress's connections in an event loop of our own, and threads that only run the application."""

import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import msgspec

from flaskd.engines.protocol import Activity, LiveOptions, Options
from flaskd.engines.waitress_engine import private
from flaskd.engines.waitress_engine.channel import Server
from flaskd.engines.waitress_engine.loop import EventLoop
from flaskd.http.environ import server_environ
from flaskd.listening.listeners import prepare, prepare_again
from flaskd.process import forks

if TYPE_CHECKING:
    import socket

    from _typeshed.wsgi import WSGIApplication


class WaitressEngine:
    """See `flaskd.engines.protocol.Engine`. At most `threads` requests are in the application at a time."""

    name = "waitress"
    reports_changes = True

    def __init__(self, options: Options) -> None:
        self.version = private.probed()
        self._options = options
        self._loop = EventLoop(options)
        self._listeners: Sequence[socket.socket] = ()
        self._thread: threading.Thread | None = None

    def serve(
        self, app: "WSGIApplication", listeners: "Sequence[socket.socket]", *, on_change: Callable[[], None]
    ) -> None:
        """Begin to accept on `listeners`."""
        software = f"waitress/{self.version}"
        self._listeners = listeners
        for listener in listeners:
            prepare(listener, write_timeout=self._options.write_timeout)
            environ = server_environ(listener, software, multiprocess=self._options.multiprocess)
            self._loop.acceptor.add(listener, Server(app, environ))
        self._loop.on_change = on_change
        forks.close_in_children(self._loop)
        self._thread = threading.Thread(target=self._loop.run, name="flaskd-accept", daemon=True)
        self._thread.start()

    def change_options(self, options: LiveOptions) -> None:
        """Use other options from the next request or connection on."""
        self._options = changed = msgspec.structs.replace(self._options, **options._asdict())
        prepare_again(self._listeners, write_timeout=options.write_timeout)
        self._loop.change_options(changed)

    def activity(self) -> Activity:
        """Count open connections, except those that only linger."""
        channels = [channel for channel in list(self._loop.channels.values()) if channel.lingering is None]
        return Activity(len(channels), sum(channel.busy() for channel in channels))

    def set_keepalive(self, *, enabled: bool) -> None:
        """Keep connections open after a response, or send `Connection: close` with each."""
        self._loop.keepalive = enabled

    def stop_accepting(self) -> None:
        """Stop accepting; returns when the loop has let go of the listeners."""
        self._loop.acceptor.stop()
        self._loop.acceptor.wait()

    def close_idle(self, older_than: float) -> None:
        """Close connections that have waited for a complete request head for more than `older_than` seconds."""
        limit = time.monotonic() - older_than
        self._loop.call_soon(lambda: self._loop.close_idle(limit))

    def stop(self) -> None:
        """Close idle connections, and the others after their responses."""
        self.stop_accepting()
        self.set_keepalive(enabled=False)
        self._loop.stopping = True
        self.close_idle(0)

    def abort(self) -> int:
        """Reset each connection; a thread that is in the application goes on until it wants to write."""
        channels = [channel for channel in list(self._loop.channels.values()) if channel.lingering is None]
        busy = sum(bool(channel.busy() or channel.total_outbufs_len) for channel in channels)
        self._loop.acceptor.stop()
        self._loop.stopping = True
        self._loop.call_soon(self._loop.abort)
        if self._thread is not None:
            self._thread.join()
        return busy
