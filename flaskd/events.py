"""The bus that carries what happens from the owner to whoever listens: control subscribers, systemd, the log."""

import threading
from collections.abc import Callable

from flaskd.guard import log_failure
from flaskd_ctl.protocol import Event

Listener = Callable[[Event], None]


class Bus:
    """Publishes each event to every listener, in order, on the publisher's thread. Listeners must be quick.

    One that raises is logged, and keeps the event from nobody: a stop does not end with a line that cannot be written.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()  # protects _listeners
        self._listeners: tuple[Listener, ...] = ()

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` for each event from now on; returns the function that ends it."""
        with self._lock:
            self._listeners = (*self._listeners, listener)

        def unsubscribe() -> None:
            with self._lock:
                self._listeners = tuple(other for other in self._listeners if other is not listener)

        return unsubscribe

    def publish(self, event: Event) -> None:
        """Tell every listener."""
        for listener in self._listeners:
            with log_failure(f"tell everybody of {type(event).__name__}"):
                listener(event)
