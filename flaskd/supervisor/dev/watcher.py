"""Tells which files have changed, by watchfiles, on a thread.

watchfiles has the kernel tell it (inotify, FSEvents). Its thread looks every STEP milliseconds whether something has come, so
an instance that is being developed is never quite idle.

Where watchfiles would poll (WATCHFILES_FORCE_POLLING, WSL), and if the kernel has no watches left, files are compared here:
watchfiles 1.3 does not see a second change within a second.
"""

import contextlib
import os
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Final

from flaskd.console.priority import Priority
from flaskd.console.say import say
from flaskd.guard import log_failure
from flaskd.supervisor.dev.files import MOST_DIRECTORIES, Watched

if TYPE_CHECKING:
    from watchfiles._rust_notify import RustNotify

STEP: Final = 10
"""Milliseconds without a further change after which changes are told."""

DEBOUNCE: Final = 200
"""Milliseconds after the first change in which the others are waited for, at most: `git checkout` writes many files."""

POLL_PAUSE: Final = 300
"""Milliseconds between two looks at each file, unless WATCHFILES_POLL_DELAY_MS says otherwise: watchfiles' own default."""

ATTEMPTS: Final = 10
"""How often directories are looked for anew because one was removed before it could be watched."""

ADDED: Final = 1
"""`watchfiles.Change.added`."""

Raw = set[tuple[int, str]] | str
"""What watchfiles returns: changes, or why there are none."""


class Watcher:
    """Calls `on_change`, on a thread, with the files that have changed, from `start` to `stop`.

    `on_change` gets at least one path.
    """

    def __init__(self, watched: Watched, on_change: Callable[[list[str]], None]) -> None:
        self._watched = self._counted = watched
        self._seen: dict[str, object] = {}
        self._on_change = on_change
        self._wake = threading.Event()
        self._stopping = False
        self._said = False
        self._thread = threading.Thread(target=self._run, name="flaskd-watch", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End; what has changed is not told any more."""
        self._stopping = True
        self._wake.set()

    def use(self, watched: Watched) -> None:
        """Watch this from now on; no change is missed in between."""
        if watched != self._watched:
            self._watched = watched
            self._wake.set()

    def _run(self) -> None:
        from watchfiles.main import _default_force_polling, _default_poll_delay_ms

        with log_failure("watch the files of the application"):
            notify = None if _default_force_polling(None) else self._begin()
            self._seen = self._scan()
            pause = _default_poll_delay_ms(POLL_PAUSE) / 1000
            while not self._stopping:
                if notify is None:
                    self._wake.wait(pause)
                    self._wake.clear()
                    self._compare()
                    continue
                raw = notify.watch(DEBOUNCE, STEP, 0, self._wake)
                other = self._wake.is_set() or _has_new_directory(raw)
                self._wake.clear()
                self._tell(raw)
                if other and not self._stopping:
                    before, notify = notify, self._begin()
                    before.close()  # with what it has not told: it drops that when it is woken, too
                    self._compare()

    def _begin(self) -> "RustNotify | None":
        """Have the kernel watch the directories that exist now; None where it cannot."""
        from watchfiles._rust_notify import RustNotify, WatchfilesRustInternalError

        for attempt in range(ATTEMPTS):
            directories = self._watched.directories()
            self._say_if_too_many(directories)
            try:
                # No polling, not what is below, and no ignored errors: it would ignore that there are too many, too.
                return RustNotify(directories, False, False, 0, False, False)
            except (OSError, WatchfilesRustInternalError) as error:
                if isinstance(error, FileNotFoundError) and attempt < ATTEMPTS - 1:
                    continue  # one has just been removed
                say(
                    f"flaskd: the kernel cannot watch {len(directories)} directories ({error}), so flaskd looks at each file "
                    f"every {POLL_PAUSE} ms. Next: raise fs.inotify.max_user_watches and max_user_instances (sysctl)",
                    Priority.WARNING,
                )
                break
        return None

    def _say_if_too_many(self, directories: Sequence[str]) -> None:
        if len(directories) == MOST_DIRECTORIES and not self._said:
            self._said = True
            say(
                f"flaskd: only the {MOST_DIRECTORIES} nearest directories are watched. "
                "Next: start flaskd in the directory of the application",
                Priority.WARNING,
            )

    def _tell(self, raw: Raw) -> None:
        changes = [] if isinstance(raw, str) else list(raw)
        gone = {path for kind, path in changes if kind == ADDED and not os.path.lexists(path)}
        paths = {path for _, path in changes} - gone  # what came and went is an editor's
        for directory in filter(os.path.isdir, tuple(paths)):
            paths.update(_files_in(directory))  # they may have been there before it was watched
        seen, counts = self._seen, self._watched.counts
        self._changed(path for path in paths if counts(path) and _state(path) != seen.get(path))

    def _compare(self) -> None:
        """Tell what has changed since it was last looked at: what is watched anew may be older."""
        before, now, counted = self._seen, self._scan(), self._counted
        self._counted = self._watched
        self._seen = now
        new = {path for path in now.keys() - before.keys() if counted.counts(path)}
        gone = {path for path in before.keys() - now.keys() if self._watched.counts(path)}
        other = {path for path in now.keys() & before.keys() if now[path] != before[path]}
        self._changed(new | gone | other)

    def _scan(self) -> dict[str, object]:
        """Return the state of each file that counts."""
        found = {}
        for directory in self._watched.directories():
            with contextlib.suppress(OSError):
                paths = [os.path.join(directory, name) for name in os.listdir(directory)]
                found.update({path: _state(path) for path in paths if self._watched.counts(path)})
        return found

    def _changed(self, paths: Iterable[str]) -> None:
        if found := sorted(paths):
            self._seen.update({path: _state(path) for path in found})
            self._on_change(found)


def _state(path: str) -> object:
    """Return what differs if a file has changed; None if it is not there."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _has_new_directory(raw: Raw) -> bool:
    return not isinstance(raw, str) and any(kind == ADDED and os.path.isdir(path) for kind, path in raw)


def _files_in(directory: str) -> list[str]:
    return [os.path.join(where, name) for where, _, names in os.walk(directory) for name in names]
