"""Finding instances: which live, which left only files behind, which may not be seen, which stopped.

An instance is alive when something listens at its socket; files prove nothing. Names are looked for in
`endpoint.search_dirs`, nearest first. With exactly one instance running, no name is needed.

In a shared directory such as /tmp anybody could put up a socket that looks like ours, so a runtime directory
counts only if it is ours or root's, or was given (--runtime-dir) and only its owner can write to it. Within one
that only its owner can write to, the instances are trusted whoever owns them (systemd gives `/run/flaskd/shop`
to the unit's User=); otherwise each must be ours or root's itself. An endpoint given by URL is taken at its word.
"""

from __future__ import annotations

import json
import os
import stat
import time
from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal, NamedTuple

from flaskd_ctl.contract import endpoint as places
from flaskd_ctl.contract.endpoint import Endpoint, Place, Target
from flaskd_ctl.contract.times import clock
from flaskd_ctl.errors import Ambiguous, BadPlace, ControlError, NotPermitted, NotRunning, TimedOut
from flaskd_ctl.transports.unix_socket import connect

LARGEST_FILE: Final = 64 * 1024
PROBE: Final = 0.05
"""Seconds that a connect may take to tell whether somebody listens; one with a full queue does."""


class Found(NamedTuple):
    """What was seen at one place: "live", "stale" (files, nobody listens) or "hidden" (we may not look)."""

    name: str
    condition: Literal["live", "stale", "hidden"]
    place: Place
    endpoint: Endpoint
    info: dict[str, Any]  # instance.json, {} where it cannot be read


class Instances:
    """The instances that this user can know of."""

    def __init__(
        self,
        runtime_dir: str | None = None,
        *,
        environ: Mapping[str, str] | None = None,
        uid: int | None = None,
    ) -> None:
        self._environ = os.environ if environ is None else environ
        self._uid = os.geteuid() if uid is None else uid
        self._given = os.path.abspath(runtime_dir) if runtime_dir else None
        self.directories = places.search_dirs(runtime_dir=runtime_dir, environ=self._environ, uid=self._uid)

    def names(self) -> list[str]:
        """List the names that have a place, living or not, without connecting (for shell completion)."""
        return sorted({place.name for place in self._places()})

    def all(self) -> list[Found]:
        """Look at every place, nearest directory first."""
        return [found for place in self._places() if (found := look(place))]

    def closed(self) -> list[str]:
        """List the directories that we may not look into.

        One that may not even be seen counts only if it was named: XDG_RUNTIME_DIR may be left over from another user (su).
        """
        named = len(self.directories) == 1
        return [path for path in self.directories if (named or os.path.isdir(path)) and _is_closed(path)]

    def target(
        self,
        name: str | None = None,
        *,
        endpoint: str | None = None,
        key: str | None = None,
        server_key: str | None = None,
    ) -> Target:
        """Choose the instance to talk to; `key` and `server_key` are the files that a tcp:// endpoint takes.

        Raises NotRunning (saying where was looked, and when it last stopped), NotPermitted, Ambiguous with
        the names, BadPlace.
        """
        if endpoint is not None:
            if name is not None:
                raise BadPlace(
                    "both a name and an endpoint are given", hint="give --name or --endpoint, not both"
                )
            given = places.parse_endpoint(endpoint)
            if given.scheme == "tcp":
                return remote(given, key=key, server_key=server_key)
            if given.scheme == "ssh":
                return Target(places.parse_remote(given.path).place, given)
            return Target(os.path.basename(os.path.dirname(given.path)) or given.url, given)
        return self._only() if name is None else self._named(places.check_name(name))

    def notes(self) -> dict[str, dict[str, Any]]:
        """Read the notes that the instances have left, by name; see `past`."""
        from flaskd_ctl.discovery import notes as past

        return past.notes(self._environ, self.directories)

    def _named(self, name: str) -> Target:
        looked: list[str] = []
        stale: Found | None = None
        for directory in self._trusted(strict=True):
            place = Place(os.path.join(directory, name))
            places.check_path(place.sock)
            looked.append(place.sock)
            found = look(place) if self._ours(place.directory, within=directory) else None
            if found and found.condition == "live":
                return Target(name, found.endpoint)
            if found and found.condition == "hidden":
                raise NotPermitted(
                    f"cannot reach {name}: the operating system does not let you near {place.sock}",
                    hint="be the user that it runs as, or root, or have a role there",
                )
            stale = stale or found
        where = " or ".join(
            looked or [Place(os.path.join(directory, name)).sock for directory in self.directories]
        )
        past, data = self._past(name, stale)
        raise NotRunning(
            f"cannot reach {name}: nothing listens at {where}{past}", hint="try `flaskd_ctl list`", data=data
        )

    def _only(self) -> Target:
        seen = list(self.all())
        live = [found for found in seen if found.condition == "live"]
        hidden = [found.place.directory for found in seen if found.condition == "hidden"]
        hidden += self.closed()
        if len(live) == 1:
            return Target(live[0].name, live[0].endpoint)
        if live:
            names = sorted(found.name for found in live)
            if len(set(names)) < len(names):  # one name in two directories: the nearest would have it
                names = sorted(found.place.directory for found in live)
            raise Ambiguous(
                f"{len(live)} instances run: {', '.join(names)}",
                hint="choose one with --name",
                data={"names": names},
            )
        if hidden:
            raise NotPermitted(
                f"no instance of yours runs, and you may not look into {', '.join(hidden)}",
                hint="be the user that it runs as, or root, or have a role there",
            )
        self._trusted_or_complain()
        notes = self.notes()
        names = [found.name for found in seen] or sorted(notes, key=lambda name: -notes[name]["started"])
        stale = seen[0] if seen else None
        past, data = self._past(names[0], stale, naming=True) if names else ("", {})
        raise NotRunning(
            f"no instance runs: looked in {', '.join(self.directories)}{past}",
            hint="start one with `flaskd run`, or say where it is with --runtime-dir",
            data=data,
        )

    def _past(self, name: str, stale: Found | None, *, naming: bool = False) -> tuple[str, dict[str, Any]]:
        """Tell in brackets how it ended, as far as the files say, and what else is known; the newer word counts."""
        from flaskd_ctl.discovery import notes as past

        note = self.notes().get(name)
        info = stale.info if stale else {}
        began, subject = info.get("started"), f"{name} " if naming else ""
        other = note and info.get("pid") != note["pid"]
        if note and not (other and isinstance(began, int | float) and began > note["started"]):
            stop = past.stop_of(note)
            data = {"name": name, "last_stop": stop, "audit_log": str(note.get("audit_log") or "")}
            if stop["at"] is None:
                return f" ({subject}pid {note['pid']} {past.NO_NOTE})", data
            how = "clean" if stop.get("clean") else "not clean"
            return f" ({subject}last stopped {clock(stop['at'])}, {how})", data
        if stale and isinstance(stale.info.get("pid"), int):
            return f" ({subject}pid {stale.info['pid']} ended without cleaning up)", {"name": name}
        return "", {"name": name}

    def _places(self) -> Iterator[Place]:
        for directory in self._trusted():
            try:
                with os.scandir(directory) as entries:
                    names = sorted(entry.name for entry in entries if places.NAME.fullmatch(entry.name))
            except OSError:
                continue
            for name in names:
                path = os.path.join(directory, name)
                if os.path.isdir(path) and self._ours(path, within=directory):
                    yield Place(path)

    def _trusted(self, *, strict: bool = False) -> Iterator[str]:
        """Yield the search directories that count; `strict` complains when none is left."""
        trusted = [directory for directory in self.directories if self._owner_counts(directory)]
        if strict and not trusted:
            self._trusted_or_complain()
        yield from trusted

    def _trusted_or_complain(self) -> None:
        """Raise BadPlace if all the search directories that exist belong to somebody else."""
        existing = [directory for directory in self.directories if os.path.isdir(directory)]
        if existing and not any(self._owner_counts(directory) for directory in existing):
            raise BadPlace(
                f"{existing[0]} belongs to uid {os.stat(existing[0]).st_uid}: what is in it is not trusted",
                hint=f"if you trust its owner, say so: --runtime-dir {existing[0]}, which nobody else may write to",
            )

    def _owner_counts(self, directory: str) -> bool:
        try:
            there = os.stat(directory)
            if there.st_uid in {self._uid, 0}:
                return True
            return directory == self._given and not there.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        except PermissionError:
            return True  # connect(2) will say the same, as NotPermitted
        except OSError:
            return False

    def _ours(self, directory: str, *, within: str) -> bool:
        """Tell whether what lives in `directory` may be taken for an instance (the module says why)."""
        try:
            shared = os.stat(within).st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        except PermissionError:
            return True
        except OSError:
            return False
        return not shared or self._owner_counts(directory)


def remote(given: Endpoint, *, key: str | None, server_key: str | None) -> Target:
    """Make the target of a tcp:// endpoint; raise BadPlace where a key is missing."""
    if not key or not server_key:
        missing = " and ".join(
            what for what, path in (("--key FILE", key), ("--server-key FILE", server_key)) if not path
        )
        raise BadPlace(
            f"{given.url} is reached with keys: your own secret one, and the instance's public one",
            hint=f"give {missing}; `flaskd keygen` makes keys",
        )
    return Target(given.path, given, key=key, server_key=server_key)


def _is_closed(directory: str) -> bool:
    try:
        os.scandir(directory).close()
    except PermissionError:
        return True
    except OSError:
        return False
    return not os.access(directory, os.X_OK)


def look(place: Place) -> Found | None:
    """Say what is at `place`; None if it is empty. The plain stream is tried first, then ZeroMQ."""
    info = _read(place.instance_file)
    seen = False
    ways = (Endpoint("unix", place.sock), Endpoint("ipc", place.zmq))
    for way in ways:
        try:
            connect(way.path, deadline=time.monotonic() + PROBE).close()
        except NotPermitted:
            return Found(place.name, "hidden", place, way, info)
        except TimedOut:
            pass  # its queue is full, so there is one
        except ControlError:
            seen = seen or os.path.lexists(way.path)
            continue
        return Found(place.name, "live", place, way, info)
    return Found(place.name, "stale", place, ways[0], info) if seen or info else None


def _read(path: str) -> dict[str, Any]:
    """Read a small JSON object; {} for whatever is none."""
    try:
        with open(path, "rb") as file:
            read = json.loads(file.read(LARGEST_FILE))
    except (OSError, ValueError, RecursionError):
        return {}
    return read if isinstance(read, dict) else {}
