"""Access control: which role a caller has, and what the role permits. Pure: takes identities and rules, returns decisions.

The owner of the process and root are always admin. Other roles are granted by the rules to users, groups and CURVE keys. A
caller with several grants has the highest role; each role includes the lower ones.
"""

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

import msgspec

from flaskd_ctl.contract.commands import Role
from flaskd_ctl.protocol import Actor

USER, GROUP, KEY = "user", "group", "key"

RANKED: Final = tuple(reversed(Role))
"""The roles, highest first."""


class Caller(NamedTuple):
    """The identity of a caller, and its groups from the kernel or the user database; None if they are not known yet."""

    actor: Actor
    groups: frozenset[int] | None = frozenset()


class Grant(NamedTuple):
    """What a role is granted to: a "user" or "group" by its number `ident`, or a "key". `name` is as in the settings."""

    kind: str
    name: str
    ident: int = -1

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}"

    def covers(self, caller: Caller) -> bool:
        """Return whether the grant applies to `caller`, given the groups that are known."""
        actor = caller.actor
        if self.kind == KEY:
            return bool(actor.key) and actor.key == self.name
        if actor.uid is None:
            return False
        if self.kind == USER:
            return actor.uid == self.ident
        return actor.gid == self.ident or self.ident in (caller.groups or ())


class Rules(msgspec.Struct, frozen=True):
    """The access rules. `owner` is the uid that the daemon runs as; a caller without a grant has no role.

    `tracebacks` is the role that sees the application's tracebacks: they quote its code and its values.
    """

    owner: int
    grants: Mapping[Role, tuple[Grant, ...]] = msgspec.field(default_factory=dict)
    tracebacks: Role = Role.OPERATOR

    def granted(self, kind: str) -> Iterator[Grant]:
        """Yield the grants of one kind, of all roles."""
        return (grant for grants in self.grants.values() for grant in grants if grant.kind == kind)

    def include_other_users(self) -> bool:
        """Return whether other users of this host have a role."""
        return any(grant.ident not in {self.owner, 0} for grant in self.granted(USER)) or any(
            self.granted(GROUP)
        )

    def holders_of(self, needed: Role) -> str:
        """List the holders of the role `needed` or a higher one."""
        named = [str(grant) for role in Role if role.includes(needed) for grant in self.grants.get(role, ())]
        return ", ".join([*dict.fromkeys(named), f"user:{self.owner}", *(["root"] if self.owner else [])])


def is_privileged(actor: Actor, rules: Rules) -> bool:
    """Return whether `actor` is the owner or root, who are admin whatever was granted."""
    return actor.uid is not None and (actor.uid == rules.owner or not actor.uid)


def role_of(caller: Caller, rules: Rules) -> Role | None:
    """Return the role of a caller; None if it has none, or is identified neither by the kernel nor by a key."""
    if is_privileged(caller.actor, rules):
        return Role.ADMIN
    granted = (role for role in RANKED if any(grant.covers(caller) for grant in rules.grants.get(role, ())))
    return next(granted, None)


def depends_on_groups(caller: Caller, rules: Rules) -> bool:
    """Return whether the groups of `caller` are not known yet and could give it a higher role."""
    if caller.groups is not None or caller.actor.uid is None or not rules.grants:
        return False
    have = role_of(caller, rules)
    higher = [role for role in Role if have is None or (role.includes(have) and role is not have)]
    return any(grant.kind == GROUP for role in higher for grant in rules.grants.get(role, ()))


def refusal(caller: Caller, rules: Rules, *, command: str, needed: Role) -> str | None:
    """Return why `caller` may not run `command`, which needs the role `needed`; None if it may.

    The holders of the role are listed only for callers that have a role themselves.
    """
    role = role_of(caller, rules)
    if role is not None and role.includes(needed):
        return None
    if role is None:
        return f"{name_of(caller.actor)} has no role here; {command} needs {needed.value}"
    have = f"{name_of(caller.actor)} has the role {role.value} here"
    return f"{have}; {command} needs {needed.value} (held by {rules.holders_of(needed)})"


def name_of(actor: Actor) -> str:
    """Return a caller's name for a sentence."""
    if actor.key:
        return f"key {actor.key}"
    return "a caller without a known uid" if actor.uid is None else f"uid {actor.uid}"
