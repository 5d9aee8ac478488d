"""Find instances: those that run, those that left only files behind, those you may not see, those that have stopped.

An instance runs if something listens at its socket. If nothing does, it has stopped, unless its process lives
(`contract.process_record`): then its files were removed, and it cannot be reached. Names are looked up in
`endpoint.search_dirs`, nearest first, where they are trusted (`trust`). If exactly one instance runs, no name is needed. An
endpoint given as a URL is trusted.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from flaskd_ctl.contract import endpoint as places
from flaskd_ctl.contract.endpoint import Endpoint, Place, Target
from flaskd_ctl.contract.guess import did_you_mean
from flaskd_ctl.contract.process_record import running
from flaskd_ctl.contract.times import clock
from flaskd_ctl.discovery.look import Found, look, lost_at, unreachable
from flaskd_ctl.discovery.trust import Trust
from flaskd_ctl.errors import Ambiguous, BadPlace, NotPermitted, NotRunning


class Instances:
    """The instances that this user can see."""

    def __init__(
        self,
        runtime_dir: str | None = None,
        *,
        environ: Mapping[str, str] | None = None,
        uid: int | None = None,
    ) -> None:
        self.environ = os.environ if environ is None else environ
        uid = os.geteuid() if uid is None else uid
        self._trust = Trust(uid, os.path.abspath(runtime_dir) if runtime_dir else None)
        self.directories = places.search_dirs(runtime_dir=runtime_dir, environ=self.environ, uid=uid)

    def names(self) -> list[str]:
        """List the names of instances, running or not, without connecting (for shell completion)."""
        return sorted({place.name for place in self._places()})

    def all(self) -> list[Found]:
        """Return every instance that has a directory, nearest first, then those that have lost it and run."""
        found = [each for place in self._places() if (each := look(place, self.environ))]
        return [*found, *self._lost(seen={each.place.directory for each in found})]

    def closed(self) -> list[str]:
        """List the directories that you may not look into.

        A directory that you cannot even see counts only if it was given: XDG_RUNTIME_DIR may be left over from another user
        (su).
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
        """Choose the instance to talk to; `key` and `server_key` are the key files for a tcp:// endpoint.

        Raises NotRunning (with where it was looked for, and when it last stopped), Unreachable (it runs, and nothing listens),
        NotPermitted, Ambiguous (with the names), BadPlace.
        """
        if endpoint is not None:
            if name is not None:
                raise BadPlace("a name and an endpoint are given", hint="give --name or --endpoint, not both")
            given = places.parse_endpoint(endpoint)
            if given.scheme == "tcp":
                return remote(given, key=key, server_key=server_key)
            if given.scheme == "ssh":
                return Target(places.parse_remote(given.path).place, given)
            return Target(os.path.basename(os.path.dirname(given.path)) or given.url, given)
        return self._only() if name is None else self._named(places.check_name(name))

    def notes(self) -> dict[str, dict[str, Any]]:
        """Read the notes that instances have left, by name."""
        from flaskd_ctl.discovery.notes import notes

        return notes(self.environ, self.directories)

    def note_paths(self, name: str) -> list[str]:
        """Return the paths of the notes that instances called `name` have left."""
        from flaskd_ctl.discovery.notes import note_files

        return [path for path, note in note_files(self.environ, self.directories) if note["name"] == name]

    def holds(self, directory: object) -> bool:
        """Tell whether an instance with this directory is one of these."""
        homes = map(os.path.realpath, self.directories)
        return isinstance(directory, str) and os.path.realpath(os.path.dirname(directory)) in homes

    def _named(self, name: str) -> Target:
        looked: list[str] = []
        seen: list[Found] = []
        trusted = self._trust.runtime_dirs(self.directories)
        if not trusted:
            self._trust.check(self.directories)
        for directory in trusted:
            place = Place(os.path.join(directory, name))
            places.check_path(place.sock)
            looked.append(place.sock)
            if not self._trust.instance(place.directory, within=directory):
                continue
            found = look(place, self.environ)
            if found and found.condition == "live":
                return Target(name, found.endpoint)
            if found and found.condition == "hidden":
                raise NotPermitted(
                    f"cannot reach {name}: you may not open {place.sock}",
                    hint="run as its user or as root, or get a role there",
                )
            if found:
                seen.append(found)
        for found in [*seen, *self._lost(name)]:
            if found.condition == "unreachable":
                raise unreachable(name, found.endpoint.path, found.info.get("pid"))
        where = " or ".join(
            looked or [Place(os.path.join(directory, name)).sock for directory in self.directories]
        )
        ending, data = self._last_stop(name, seen[0] if seen else None)
        raise NotRunning(
            f"cannot reach {name}: nothing listens at {where}{ending}",
            hint=self.guess(name, known=bool(ending)) or "try `flaskd_ctl list`",
            data=data,
        )

    def guess(self, name: str, *, known: bool = False, others: Collection[str] = ()) -> str:
        """Return which instance `name` is probably meant to be; "" for none.

        If an instance of that name is `known` to have run, the name is right. `others` are more names that can be meant.
        """
        if known:
            return ""
        names = {found.name for found in self.all() if found.runs}
        return did_you_mean(name, sorted(names.union(others)))

    def _only(self) -> Target:
        seen = list(self.all())
        live = [found for found in seen if found.runs]
        hidden = [found.place.directory for found in seen if found.condition == "hidden"]
        hidden += self.closed()
        if len(live) == 1:
            only = live[0]
            if only.condition == "unreachable":
                raise unreachable(only.name, only.endpoint.path, only.info.get("pid"))
            return Target(only.name, only.endpoint)
        if live:
            names = sorted(found.name for found in live)
            if len(set(names)) < len(names):  # one name in two directories: --name takes the nearest
                names = sorted(found.place.directory for found in live)
            raise Ambiguous(
                f"{len(live)} instances are running: {', '.join(names)}",
                hint="choose one with --name",
                data={"names": names},
            )
        if hidden:
            raise NotPermitted(
                f"none of your instances is running, and you may not look into {', '.join(hidden)}",
                hint="run as its user or as root, or get a role there",
            )
        self._trust.check(self.directories)
        notes = self.notes()
        names = [found.name for found in seen] or sorted(
            notes, key=lambda name: _newest(notes[name]), reverse=True
        )
        stale = seen[0] if seen else None
        ending, data = self._last_stop(names[0], stale, naming=True) if names else ("", {})
        raise NotRunning(
            f"no instance is running: looked in {', '.join(self.directories)}{ending}",
            hint="start one with `flaskd start`, or `flaskd run`, or give its directory with --runtime-dir",
            data=data,
        )

    def _last_stop(
        self, name: str, stale: Found | None, *, naming: bool = False
    ) -> tuple[str, dict[str, Any]]:
        """Return in brackets how it ended, and what else its files say; the newest file counts."""
        from flaskd_ctl.discovery.notes import stop_of

        note = self.notes().get(name)
        info = stale.info if stale else {}
        started, subject = info.get("started"), f"{name} " if naming else ""
        other = note and info.get("pid") != note["pid"]
        if note and not (other and isinstance(started, int | float) and started > note["started"]):
            stop = stop_of(note)
            data = {"name": name, "last_stop": stop, "audit_log": str(note.get("audit_log") or "")}
            if stop["at"] is None:
                return f" ({subject}pid {note['pid']} {stop['why']})", data
            how = "clean" if stop.get("clean") else "not clean"
            return f" ({subject}last stopped {clock(stop['at'])}, {how})", data
        if stale and isinstance(stale.info.get("pid"), int):
            return f" ({subject}pid {stale.info['pid']} ended without cleaning up)", {"name": name}
        return "", {"name": name}

    def _places(self) -> Iterator[Place]:
        for directory in self._trust.runtime_dirs(self.directories):
            try:
                with os.scandir(directory) as entries:
                    names = sorted(entry.name for entry in entries if places.NAME.fullmatch(entry.name))
            except OSError:
                continue
            for name in names:
                path = os.path.join(directory, name)
                if os.path.isdir(path) and self._trust.instance(path, within=directory):
                    yield Place(path)

    def _lost(self, name: str | None = None, *, seen: Collection[str] = ()) -> Iterator[Found]:
        """Yield the instances (called `name`) that run and whose directory is gone or not trusted, except those in `seen`."""
        homes = {os.path.realpath(directory): directory for directory in self.directories}
        for record in running(self.environ):
            place = Place(record["directory"])
            home = homes.get(os.path.realpath(os.path.dirname(place.directory)))
            if home is None or place.directory in seen or (name and place.name != name):
                continue
            trusted = self._trust.runtime_dirs([home]) and self._trust.instance(place.directory, within=home)
            found = look(place, self.environ) if trusted else lost_at(place, record)
            if found and found.condition == "unreachable":
                yield found


def remote(given: Endpoint, *, key: str | None, server_key: str | None) -> Target:
    """Make the target of a tcp:// endpoint; raise BadPlace if a key is missing."""
    if not key or not server_key:
        missing = " and ".join(
            what for what, path in (("--key FILE", key), ("--server-key FILE", server_key)) if not path
        )
        raise BadPlace(
            f"{given.url} needs keys: your own secret key and the instance's public key",
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


def _newest(note: Mapping[str, Any]) -> tuple[float, float]:
    """Return when an instance ended, if that is known, and when it began."""
    stop = note["stop"]
    return ((stop["at"] if isinstance(stop, dict) else None) or note["started"], note["started"])
