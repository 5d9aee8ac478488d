"""Forget an instance that does not run: remove the files that it has left, so that `list --all` shows it no longer.

These are its note, its record and how it was started, in the state directory, and what a killed process leaves in the runtime
directory. Each is a file of flaskd's by its name and kind; anything else stays. The audit log and log files stay too.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
from collections.abc import Iterator

from flaskd_ctl.contract.endpoint import Place
from flaskd_ctl.contract.files import read_object
from flaskd_ctl.contract.process_record import is_alive, record_paths
from flaskd_ctl.contract.start_record import LARGEST, paths
from flaskd_ctl.discovery.instances import Instances
from flaskd_ctl.errors import NotFound, NotPermitted, WrongState


def forget(name: str, instances: Instances) -> list[str]:
    """Remove what the instance `name` has left, and return the paths of the files.

    Raises WrongState if it runs, NotFound if nothing is known of it, NotPermitted for a file of somebody else.
    """
    places = [found for found in instances.all() if found.name == name]
    for found in places:
        if found.condition == "hidden":
            raise NotPermitted(
                f"cannot forget {name}: you may not look into {found.place.directory}",
                hint="run as its user, or as root",
            )
        if found.condition != "stale":
            raise _runs(name)
    removed: list[str] = []
    try:
        for found in places:
            with _locked(found.place):
                removed += _clear(found.place)
        left = [*instances.note_paths(name), *_old_records(name, instances), *_starts(name, instances)]
        for path in left:
            os.unlink(path)
            removed.append(path)
    except PermissionError as error:
        raise NotPermitted(
            f"cannot forget {name}: you may not remove {error.filename}", hint="run as its user, or as root"
        ) from None
    if not removed:
        hint = (
            instances.guess(name, others=instances.notes())
            or "`flaskd_ctl list --all` shows those that there are"
        )
        raise NotFound(f"no instance called {name} is known", hint=hint)
    return removed


def _runs(name: str) -> WrongState:
    return WrongState(
        f"{name} is running, so it is not forgotten", hint=f"stop it first: flaskd_ctl --name {name} shutdown"
    )


@contextlib.contextmanager
def _locked(place: Place) -> Iterator[None]:
    """Hold the lock of a place, so that no instance starts there meanwhile. Raises WrongState if one has."""
    try:
        lock = os.open(place.lock, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        yield
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise _runs(place.name) from None
    finally:
        os.close(lock)


def _clear(place: Place) -> list[str]:
    """Remove the files that an instance keeps in its directory, the lock last, then the directory if it is empty."""
    removed = []
    for path, is_ours in (
        (place.sock, stat.S_ISSOCK),
        (place.zmq, stat.S_ISSOCK),
        (place.tcp, stat.S_ISSOCK),
        (place.instance_file, stat.S_ISREG),
        (place.lock, stat.S_ISREG),
    ):
        with contextlib.suppress(FileNotFoundError):
            if is_ours(os.lstat(path).st_mode):
                os.unlink(path)
                removed.append(path)
    with contextlib.suppress(OSError):  # something of somebody else's is in it
        os.rmdir(place.directory)
    return removed


def _starts(name: str, instances: Instances) -> Iterator[str]:
    """Yield the records of how `flaskd start` has started it."""
    for path in paths(name, instances.environ):
        if instances.holds(read_object(path, largest=LARGEST).get("place")):
            yield path


def _old_records(name: str, instances: Instances) -> Iterator[str]:
    """Yield the records of processes that have ended."""
    for path in record_paths(instances.environ):
        record = read_object(path)
        if record.get("name") == name and instances.holds(record.get("directory")) and not is_alive(record):
            yield path
