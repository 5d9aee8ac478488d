"""Who may do what. Pure: identities and rules in, a role or a refusal out.

The owner of the process and root are admin, always. Beyond that the rules say: a role is granted to users, to groups and to
CURVE keys. Who is granted several has the highest; each role includes the ones before it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from flaskd_ctl.contract.commands import Role
from flaskd_ctl.protocol import Actor

USER, GROUP, KEY = "user", "group", "key"

RANKED: Final = tuple(reversed(Role))
"""The roles, highest first."""


class Caller(NamedTuple):
    """Who asks, and the groups that the kernel or the user database says it is in; None where that is not known yet."""

    actor: Actor
    groups: frozenset[int] | None = frozenset()


class Grant(NamedTuple):
    """Whom a role is given: a "user" or "group" by its number, `ident`, or a "key" by its name. `name` is as it was written."""

    kind: str
    name: str
    ident: int = -1

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}"

    def covers(self, caller: Caller) -> bool:
        """Return whether it is given to `caller`, as far as its groups are known."""
        actor = caller.actor
        if self.kind == KEY:
            return bool(actor.key) and actor.key == self.name
        if actor.uid is None:
            return False
        if self.kind == USER:
            return actor.uid == self.ident
        return actor.gid == self.ident or self.ident in (caller.groups or ())


@dataclass(frozen=True, slots=True)
class Rules:
    """What is enforced: `owner` is the uid that the daemon runs as; all who are granted nothing have no role."""

    owner: int
    grants: Mapping[Role, tuple[Grant, ...]] = field(default_factory=dict)

    def granted(self, kind: str) -> Iterator[Grant]:
        """Yield the grants of one kind, whatever role they give."""
        return (grant for grants in self.grants.values() for grant in grants if grant.kind == kind)

    def include_other_users(self) -> bool:
        """Return whether other users of this host have a role."""
        return any(grant.ident not in {self.owner, 0} for grant in self.granted(USER)) or any(
            self.granted(GROUP)
        )

    def holders_of(self, needed: Role) -> str:
        """Name those who have the role `needed` or a higher one."""
        named = [str(grant) for role in Role if role.includes(needed) for grant in self.grants.get(role, ())]
        return ", ".join([*dict.fromkeys(named), f"user:{self.owner}", *(["root"] if self.owner else [])])


def role_of(caller: Caller, rules: Rules) -> Role | None:
    """Return the role of a caller, None for nobody; so is a caller that neither the kernel nor a key has named."""
    if caller.actor.uid is not None and caller.actor.uid in {rules.owner, 0}:
        return Role.ADMIN
    granted = (role for role in RANKED if any(grant.covers(caller) for grant in rules.grants.get(role, ())))
    return next(granted, None)


def depends_on_groups(caller: Caller, rules: Rules) -> bool:
    """Return whether the groups of `caller`, which are not known yet, could give it a role that it has not without them."""
    if caller.groups is not None or caller.actor.uid is None or not rules.grants:
        return False
    have = role_of(caller, rules)
    higher = [role for role in Role if have is None or (role.includes(have) and role is not have)]
    return any(grant.kind == GROUP for role in higher for grant in rules.grants.get(role, ()))


def refusal(caller: Caller, rules: Rules, *, command: str, needed: Role) -> str | None:
    """Return why `caller` may not run `command`, which needs the role `needed`; None where it may.

    Who has the role is told to callers that have one themselves, not to strangers.
    """
    role = role_of(caller, rules)
    if role is not None and role.includes(needed):
        return None
    if role is None:
        return f"{name_of(caller.actor)} has no role here; {command} needs {needed.value}"
    have = f"{name_of(caller.actor)} has the role {role.value} here"
    return f"{have}; {command} needs {needed.value}, which {rules.holders_of(needed)} have"


def name_of(actor: Actor) -> str:
    """Name a caller in a sentence, by what is certain."""
    if actor.key:
        return f"key {actor.key}"
    return "a caller the kernel did not name" if actor.uid is None else f"uid {actor.uid}"
