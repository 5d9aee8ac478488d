"""File permissions of the control socket: as few as the rules allow. The policy decides; these only keep others away from it.

To connect to a Unix socket you need write permission on it, and search permission on the directories that lead to it (unix(7)).
If the rules name nobody, only the owner gets them. One group gets them by the mode (0710, 0660), if we may give files to that
group. Users, or several groups, get them by an access control list (acl(5)), which the owner of a file may set. If the file
system has no lists, everybody gets them, and the policy refuses all callers without a role.
"""

import contextlib
import enum
import os
import struct
from collections.abc import Mapping
from typing import Final

from flaskd.control.access.policy import GROUP, USER, Rules

_ACL: Final = "system.posix_acl_access"
_VERSION: Final = struct.pack("<I", 2)  # linux/posix_acl_xattr.h
_ENTRY: Final = struct.Struct("<HHI")  # tag, permissions, uid or gid
_OWNER, _USER, _OWNING_GROUP, _GROUP, _MASK, _OTHER = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
_NO_ID: Final = 0xFFFFFFFF

SEARCH, READ, CONNECT = 1, 4, 6
"""What others get: to enter a directory, to read a file, to connect to a socket."""


class AccessMethod(enum.Enum):
    """How other users get access."""

    OWNER_ONLY = "owner only"
    GROUP_MODE = "by its group"
    ACL = "by an access control list"
    EVERYONE = "everybody, and the policy decides"


def grant_access(files: Mapping[str, int], rules: Rules) -> AccessMethod:
    """Give the users and groups in `rules` access to `files` (path: permission), and others only if there is no other way.

    Earlier permissions are removed. Returns the method used.
    """
    users = frozenset(grant.ident for grant in rules.granted(USER)) - {rules.owner, 0}
    groups = frozenset(grant.ident for grant in rules.granted(GROUP))
    if not users and not groups:
        _grant(AccessMethod.OWNER_ONLY, files, users, groups)
        return AccessMethod.OWNER_ONLY
    one_group = [AccessMethod.GROUP_MODE] if not users and len(groups) == 1 else []
    for method in (*one_group, AccessMethod.ACL):
        # Not our group; no lists in this file system, or in this operating system.
        with contextlib.suppress(OSError, AttributeError):
            _grant(method, files, users, groups)
            return method
    _grant(AccessMethod.EVERYONE, files, users, groups)
    return AccessMethod.EVERYONE


def closed_parent(directory: str) -> str | None:
    """Return the nearest directory above `directory` that only its owner can enter; None if there is none."""
    while (parent := os.path.dirname(directory)) != directory:
        if not os.stat(parent).st_mode & 0o011:
            return parent
        directory = parent
    return None


def _grant(
    method: AccessMethod, files: Mapping[str, int], users: frozenset[int], groups: frozenset[int]
) -> None:
    for path, permission in files.items():
        owners = 0o700 if permission == SEARCH else 0o600
        with contextlib.suppress(OSError, AttributeError):  # it has no list
            os.removexattr(path, _ACL)
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
    """Encode an access control list as the kernel reads it: sorted by tag, then by id."""
    entries = [
        (_OWNER, owners >> 6, _NO_ID),
        *((_USER, permission, uid) for uid in sorted(users)),
        (_OWNING_GROUP, 0, _NO_ID),
        *((_GROUP, permission, gid) for gid in sorted(groups)),
        (_MASK, permission, _NO_ID),
        (_OTHER, 0, _NO_ID),
    ]
    return _VERSION + b"".join(_ENTRY.pack(*entry) for entry in entries)
