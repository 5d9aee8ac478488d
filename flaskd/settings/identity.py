"""Users and groups in settings, and the user that workers run as.

Workers may run as another user than the supervisor, so that the kernel separates them (docs/threat-model.md).
"""

import os
import pwd
from typing import Final, NamedTuple

from flaskd.errors import ConfigError

LARGEST: Final = 0xFFFFFFFE
"""The largest uid or gid; the next number, (uid_t)-1, tells setresuid(2) and chown(2) to change nothing."""


class Identity(NamedTuple):
    """The ids of a worker's process, and the variables of its environment that name the user."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    environ: dict[str, str]


def identity_of(user: str) -> Identity | None:
    """Return the identity that `user` names: a name, a uid, or UID:GID, also of users unknown to this host.

    Return None for "" and for the current user. Raises ConfigError for an unknown name, and where only root could switch.
    """
    if not user:
        return None
    found = _found(user)
    if found.uid == os.geteuid():
        return None
    if os.geteuid() != 0:
        raise ConfigError(
            f"only root can run workers as {user}, but flaskd runs as uid {os.geteuid()}",
            hint="start flaskd as root, or leave out --worker-user",
        )
    return found


def _found(user: str) -> Identity:
    name, _, group = user.partition(":")
    uid, gid = id_of(name), id_of(group)
    if uid is not None and gid is not None:
        return Identity(uid, gid, (), {})
    try:
        known = pwd.getpwnam(name) if uid is None else pwd.getpwuid(uid)
    except KeyError:
        raise ConfigError(
            f"worker_user: there is no user {user!r} on this host",
            hint="`getent passwd` lists them; UID:GID needs no name",
        ) from None
    groups = tuple(os.getgrouplist(known.pw_name, known.pw_gid))
    environ = {"HOME": known.pw_dir, "USER": known.pw_name, "LOGNAME": known.pw_name}
    return Identity(known.pw_uid, known.pw_gid, groups, environ)


def id_of(text: str) -> int | None:
    """Return the uid or gid in `text`, None for a name. Raises ConfigError for a number that is too large."""
    if not (text.isascii() and text.isdigit()):
        return None
    if int(text) > LARGEST:
        raise ConfigError(f"{text} is not a uid or gid: the largest is {LARGEST}", hint="`id` shows yours")
    return int(text)
