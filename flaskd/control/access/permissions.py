"""Whom the file system lets near the control socket: as few as the rules allow, though it is the policy that decides.

Connecting to a Unix socket takes write permission on it, and search permission on the directories that lead to it (unix(7)).
Where the rules name nobody, that is the owner alone. One group gets its permissions by the mode (0710, 0660), where we may
give files to it. Users, or several groups, get them by an access control list (acl(5)), which any owner of a file may set.
Where the file system has none, everybody is let near, and the policy refuses all but those named.
"""

import contextlib
import enum
import os
import struct
from collections.abc import Iterator, Mapping
from typing import Final

from flaskd.control.access.policy import GROUP, USER, Rules

_ACL: Final = "system.posix_acl_access"
_VERSION: Final = struct.pack("<I", 2)  # linux/posix_acl_xattr.h
_ENTRY: Final = struct.Struct("<HHI")  # tag, permissions, uid or gid
_OWNER, _USER, _OWNING_GROUP, _GROUP, _MASK, _OTHER = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
_NO_ID: Final = 0xFFFFFFFF

SEARCH, READ, CONNECT = 1, 4, 6
"""What others get: to go through a directory, to read a file, to connect to a socket."""


class AccessMethod(enum.Enum):
    """How others are let near."""

    OWNER_ONLY = "owner only"
    GROUP_MODE = "by its group"
    ACL = "by an access control list"
    EVERYONE = "everybody, and the policy decides"


def grant_access(files: Mapping[str, int], rules: Rules) -> AccessMethod:
    """Let whom the rules name use `files` (path: what they get), and nobody else if it can be; says how it was done.

    Whatever was permitted on them before is not any more.
    """
    users = frozenset(grant.ident for grant in rules.granted(USER)) - {rules.owner, 0}
    groups = frozenset(grant.ident for grant in rules.granted(GROUP))
    return next(method for method in _methods(users, groups) if _all_done(method, files, users, groups))


def closed_parent(directory: str) -> str | None:
    """Return the nearest directory above `directory` that only its owner may go through; None where there is none."""
    while (parent := os.path.dirname(directory)) != directory:
        if not os.stat(parent).st_mode & 0o011:
            return parent
        directory = parent
    return None


def _methods(users: frozenset[int], groups: frozenset[int]) -> Iterator[AccessMethod]:
    if not users and not groups:
        yield AccessMethod.OWNER_ONLY
    else:
        if not users and len(groups) == 1:
            yield AccessMethod.GROUP_MODE
        yield AccessMethod.ACL
        yield AccessMethod.EVERYONE


def _all_done(
    method: AccessMethod, files: Mapping[str, int], users: frozenset[int], groups: frozenset[int]
) -> bool:
    """Permit it on every file; False where the system does not let us."""
    try:
        for path, permission in files.items():
            _permit(method, path, permission, users, groups)
    except (OSError, AttributeError):  # not our group; no lists in this file system, or in this system
        if method in {AccessMethod.GROUP_MODE, AccessMethod.ACL}:
            return False
        raise
    return True


def _permit(
    method: AccessMethod, path: str, permission: int, users: frozenset[int], groups: frozenset[int]
) -> None:
    owners = 0o700 if permission == SEARCH else 0o600
    _forget_list(path)
    os.chmod(path, owners)
    match method:
        case AccessMethod.GROUP_MODE:
            os.chown(path, -1, *groups)
            os.chmod(path, owners | permission << 3)
        case AccessMethod.ACL:
            os.setxattr(path, _ACL, _list_of(owners, permission, users, groups))
        case AccessMethod.EVERYONE:
            os.chmod(path, owners | permission << 3 | permission)


def _list_of(owners: int, permission: int, users: frozenset[int], groups: frozenset[int]) -> bytes:
    """Spell an access control list as the kernel reads it: sorted by tag, then by id."""
    entries = [
        (_OWNER, owners >> 6, _NO_ID),
        *((_USER, permission, uid) for uid in sorted(users)),
        (_OWNING_GROUP, 0, _NO_ID),
        *((_GROUP, permission, gid) for gid in sorted(groups)),
        (_MASK, permission, _NO_ID),
        (_OTHER, 0, _NO_ID),
    ]
    return _VERSION + b"".join(_ENTRY.pack(*entry) for entry in entries)


def _forget_list(path: str) -> None:
    with contextlib.suppress(OSError, AttributeError):  # it has none
        os.removexattr(path, _ACL)
