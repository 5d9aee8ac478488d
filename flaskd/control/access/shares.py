"""How many places each caller may take: of connections, and of event streams. Pure.

The owner and root may take every place, and some are kept for them. Any other caller has at most a share. When too few places
are left, the caller that has the most of them gives one up.
"""

from collections.abc import Hashable, Mapping
from typing import NamedTuple

from flaskd_ctl.protocol import Actor


class Holder(NamedTuple):
    """Who takes places: a uid or a key. `privileged` is the owner or root."""

    ident: Hashable
    privileged: bool = False


class Places(NamedTuple):
    """So many places, of which each unprivileged holder may take a `share`, and all of them together all but `kept`."""

    total: int
    share: int
    kept: int

    def asked_to_leave(self, taken: Mapping[Holder, int], newcomer: Holder) -> Holder | None:
        """Return who has to give up a place so that `newcomer` can have one; None while there is room."""
        full = sum(taken.values()) >= self.total
        if newcomer.privileged:
            return max(taken, key=lambda holder: taken[holder]) if full else None
        others = {holder: count for holder, count in taken.items() if count and not holder.privileged}
        if taken.get(newcomer, 0) >= self.share:
            return newcomer
        if full or sum(others.values()) >= self.total - self.kept:
            return max(others, key=lambda holder: others[holder], default=newcomer)
        return None


def holder_of(actor: Actor, *, owner: int) -> Holder:
    """Return under whose name the places of `actor` count."""
    if actor.key:
        return Holder(actor.key)
    return Holder(actor.uid, privileged=actor.uid is not None and actor.uid in {owner, 0})
