"""Keeping an instance reachable: what somebody removes from its place is created again.

Cleaners of /tmp, the end of a login session or an administrator may remove the directory of an instance that runs. The kernel
reports it (inotify(7)); nothing is polled. We wait a moment, so that who removes one file after another has finished, look what
is missing, have it created again, and watch again. What is said of a directory also holds for those above it: renaming one of
them takes the place away. Not noticed are a file system that is mounted over the place, and a symbolic link in the path that is
changed; then only clients notice, since the process of the record lives.

Where it cannot be created again (another file is in the way, the directory above is not ours any more), that is logged once,
and we watch what is left of the path until something changes there.
"""

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Iterator
from typing import Final

from flaskd.process import inotify
from flaskd.process.inotify import Inotify

SETTLE_TIME: Final = 0.2
"""Seconds after the first event in which more are expected."""

DOUBLINGS: Final = 8
"""How often that time is doubled after tries that failed: these themselves may change the directory, which is an event."""

MOVED: Final = inotify.DIRECTORY_DELETED | inotify.DIRECTORY_MOVED
REMOVED: Final = MOVED | inotify.DELETED | inotify.MOVED_FROM | inotify.MOVED_TO
ANYTHING: Final = REMOVED | inotify.CREATED | inotify.MODIFIED_ATTRIBUTES

log = logging.getLogger("flaskd.control")


class Upkeep:
    """Watches `directory` from `open` to `close`, on the running loop.

    `missing` names the files that are not there, `renew` makes them anew or raises FlaskdError.
    """

    def __init__(
        self, directory: str, missing: Callable[[], list[str]], renew: Callable[[], Awaitable[None]]
    ) -> None:
        self._directory = directory
        self._missing = missing
        self._renew = renew
        self._said = ""
        self._failures = 0
        self._inotify: Inotify | None = None
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Begin to watch."""
        self._watch(REMOVED)
        if self._missing():
            self._happened()

    async def close(self) -> None:
        """Watch no more; what is being created again is finished first."""
        self._unwatch()
        if self._task is not None:
            await self._task
        if self._timer is not None:
            self._timer.cancel()
        self._unwatch()

    def _watch(self, events: int) -> None:
        """Watch for `events` in the directory, or in what is left of its path, and for the end of those above."""
        self._unwatch()
        try:
            self._inotify = Inotify()
            self._loop.add_reader(self._inotify.descriptor, self._happened)
            for path in _upwards(self._directory):
                try:
                    self._inotify.watch(path, events)
                except (FileNotFoundError, NotADirectoryError):
                    events |= inotify.CREATED
                    continue
                except PermissionError:
                    if events != MOVED:
                        raise
                events = MOVED
        except OSError as error:
            why = error.strerror or error
            self._say(
                f"{self._directory} is not watched ({why}): if it is removed, flaskd_ctl cannot reach us"
            )

    def _unwatch(self) -> None:
        if self._inotify is not None:
            self._loop.remove_reader(self._inotify.descriptor)
            self._inotify.close()
            self._inotify = None

    def _happened(self) -> None:
        if self._inotify is not None:
            self._inotify.discard_events()
        if self._timer is None:
            delay = SETTLE_TIME * 2 ** min(self._failures, DOUBLINGS)
            self._timer = self._loop.call_later(delay, self._settled)

    def _settled(self) -> None:
        self._timer = None
        if self._task is None or self._task.done():
            self._task = self._loop.create_task(self._restore())
        else:
            self._happened()

    async def _restore(self) -> None:
        """Create what is missing again, and watch what is there now."""
        if missing := self._missing():
            self._watch(ANYTHING)  # before we try, so that whatever changes meanwhile leads to another try
            try:
                await self._renew()
            except Exception as error:  # noqa: BLE001 - the task's outer edge: an instance without its files serves and stops
                self._failures += 1
                files, hint = ", ".join(missing), getattr(error, "hint", "")
                why = f"{error}. Next: {hint}" if hint else str(error)
                self._say(
                    f"{files}: removed by another program, and cannot be created again, so flaskd_ctl cannot reach us: {why}",
                    logging.ERROR,
                )
                return
            self._say(f"{', '.join(missing)}: removed by another program; created again")
            self._failures, self._said = 0, ""
        self._watch(REMOVED)
        if self._missing():  # removed before we watched
            self._happened()

    def _say(self, sentence: str, level: int = logging.WARNING) -> None:
        if sentence != self._said:
            self._said = sentence
            log.log(level, "flaskd: %s", sentence)


def _upwards(directory: str) -> Iterator[str]:
    """Yield a directory and those above it."""
    above = os.path.dirname(directory)
    yield directory
    if above != directory:
        yield from _upwards(above)
