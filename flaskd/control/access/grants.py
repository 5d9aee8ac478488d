"""Make access rules of the settings `viewers`, `operators` and `admins`: names of users and groups become numbers."""

import grp
import pwd

from flaskd.control.access.policy import GROUP, KEY, USER, Grant, Rules
from flaskd.errors import ConfigError
from flaskd.settings.identity import id_of
from flaskd.settings.schema import Settings
from flaskd_ctl.contract.commands import Role


def rules_of(settings: Settings, *, owner: int) -> Rules:
    """Return the rules in the settings, for a daemon that runs as uid `owner`.

    Raises ConfigError for a user or group that this host does not know. A number need not be known.
    """
    given = {Role.VIEWER: settings.viewers, Role.OPERATOR: settings.operators, Role.ADMIN: settings.admins}
    return Rules(
        owner,
        {role: tuple(_grant(entry, role) for entry in entries) for role, entries in given.items() if entries},
        Role(settings.tracebacks),
    )


def _grant(entry: str, role: Role) -> Grant:
    kind, _, name = entry.partition(":")
    if kind == KEY:
        return Grant(KEY, name)
    if (ident := id_of(name)) is not None:
        return Grant(kind, name, ident)
    try:
        return Grant(kind, name, pwd.getpwnam(name).pw_uid if kind == USER else grp.getgrnam(name).gr_gid)
    except KeyError:
        database = {USER: "passwd", GROUP: "group"}[kind]
        raise ConfigError(
            f"{role.value}s: there is no {kind} {name!r} on this host",
            hint=f"`getent {database}` lists them; {kind}:NUMBER needs no name",
        ) from None
