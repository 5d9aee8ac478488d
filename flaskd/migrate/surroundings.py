"""What surrounds a server's process: its user, directory and environment, which flaskd takes from whoever starts it."""

import grp
import os
import pwd
from collections.abc import Iterable, Iterator
from typing import Any

from flaskd.migrate.option import Note, Set, Step, Values


def environment(value: str | Iterable[str], _: Values) -> Iterator[Step]:
    """Name the variables, `NAME=VALUE` each; a value may be a secret."""
    pairs = [value] if isinstance(value, str) else value
    names = ", ".join(str(pair).partition("=")[0] for pair in pairs)
    yield Note(
        f"set {names} where flaskd is started: `Environment=` or `EnvironmentFile=` in the unit, or the shell"
    )


def directory(value: Any, _: Values) -> Iterator[Step]:
    """Say where to start flaskd: it imports from its directory, and reads flaskd.toml there."""
    yield Note(
        f"start flaskd in {value}, and put flaskd.toml there: `cd {value}`, or `WorkingDirectory={value}` in the unit"
    )


def worker_user(user: object, group: object) -> Iterator[Step]:
    """Convert a name or number each, None if it is not given. A user's own group needs no mention; another takes numbers."""
    if user is None and group is None:
        return
    try:
        known = _user(str(os.geteuid() if user is None else user))
        gid = known.pw_gid if group is None else _gid(str(group))
    except KeyError as error:
        yield Note(
            f"not taken over, because on this host {error.args[0]}: `worker_user` takes a name, a uid or UID:GID"
        )
        return
    if gid == known.pw_gid:
        yield Set("worker_user", known.pw_name if user is None else str(user))
    else:
        yield Set("worker_user", f"{known.pw_uid}:{gid}")
    yield Note(
        "only root can start flaskd with `worker_user`, as it was here. If it is started as this user (`User=` in the unit), "
        "remove the line"
    )


def _user(text: str) -> pwd.struct_passwd:
    return pwd.getpwuid(int(text)) if text.isdigit() else pwd.getpwnam(text)


def _gid(text: str) -> int:
    return int(text) if text.isdigit() else grp.getgrnam(text).gr_gid
