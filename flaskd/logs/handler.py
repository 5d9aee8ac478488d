"""What `flaskd run` installs at the root logger, in the supervisor and in each worker, before the application is loaded.

An application that configures logging itself replaces it, or gives its loggers handlers of their own: these write as the
application wants it, and what they write to stdout or stderr is a printed line like any other.
"""

import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterator
from typing import Final

from flaskd.console import say
from flaskd.console.priority import Priority
from flaskd.logs.record import encode

LEVELS: Final = ("debug", "info", "warning", "error")
"""Levels that can be set."""

OWN: Final = "flaskd"
"""The logger of what is said to people."""

_SAID_AS: Final = {
    Priority.ERR: logging.ERROR,
    Priority.WARNING: logging.WARNING,
    Priority.NOTICE: logging.INFO,
    Priority.INFO: logging.INFO,
    Priority.DEBUG: logging.DEBUG,
}


def set_level(level: str) -> None:
    """Log records of this level and above, in this process; loggers with a level of their own keep it."""
    logging.getLogger().setLevel(level.upper())


class RecordHandler(logging.Handler):
    """Writes each record with `write`, with the id of its thread's request, which `request_id` returns ("": none)."""

    def __init__(self, write: Callable[[bytes], object], request_id: Callable[[], str] = str) -> None:
        super().__init__()
        self._write = write
        self._request_id = request_id

    def redirect(self, write: Callable[[bytes], object]) -> None:
        """Write with another function from now on."""
        self._write = write

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record. Its text is what the handler's formatter makes: the message, and below it the traceback."""
        try:
            text = self.format(record)
            line = encode(
                record.created, record.levelno, record.name, request_id=self._request_id(), text=text
            )
        except Exception:  # noqa: BLE001 - as every handler of `logging`: an application's record may raise anything
            self.handleError(record)
            return
        with contextlib.suppress(OSError):  # nobody reads it any more
            self._write(line)

    def say(self, line: str, priority: Priority) -> None:
        """Write what is said to people, if the level of the root logger lets it through."""
        level = _SAID_AS[priority]
        if not logging.getLogger().isEnabledFor(level):
            return
        own = line.startswith(f"{OWN}: ")
        text = line.removeprefix(f"{OWN}: ")
        encoded = encode(time.time(), level, OWN if own else "", request_id="", text=text)
        self.acquire()
        try:
            with contextlib.suppress(OSError):
                self._write(encoded)
        finally:
            self.release()


def install(
    write: Callable[[bytes], object], level: str, request_id: Callable[[], str] = str
) -> RecordHandler:
    """Send the records of this process, and what it says to people, to `write`; return the handler at the root logger."""
    handler = RecordHandler(write, request_id)
    logging.getLogger().addHandler(handler)
    set_level(level)
    say.send_to(handler.say)
    return handler


@contextlib.contextmanager
def installed(write: Callable[[bytes], object], level: str) -> Iterator[None]:
    """Install a handler, and undo that on leaving: what is said then goes to stderr."""
    handler = install(write, level)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)
        say.send_to(None)


def to_descriptor(descriptor: int) -> Callable[[bytes], None]:
    """Return a function that writes everything to a descriptor, waiting while its reader does not read."""

    def write(data: bytes) -> None:
        while data:
            data = data[os.write(descriptor, data) :]

    return write
