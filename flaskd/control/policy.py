"""Who may do what. Pure: identities in, a role or a refusal out."""

from flaskd_ctl.commands import Role
from flaskd_ctl.protocol import Actor


def role_of(caller: Actor, *, owner: int) -> Role | None:
    """Return the role of a caller, None for nobody: the owner of the process and root are admin.

    `owner` is the uid that the daemon runs as. A caller whose uid the kernel did not tell has no role.
    """
    if caller.uid is None:
        return None
    return Role.ADMIN if caller.uid in {owner, 0} else None


def refusal(caller: Actor, *, owner: int, command: str, needed: Role) -> str | None:
    """Return why `caller` may not run `command`, which needs the role `needed`; None where it may."""
    role = role_of(caller, owner=owner)
    if role is not None and role.includes(needed):
        return None
    who = "a caller the kernel did not name" if caller.uid is None else f"uid {caller.uid}"
    have = "no role" if role is None else f"the role {role.value}"
    return f"{who} has {have} here; {command} needs {needed.value}"
