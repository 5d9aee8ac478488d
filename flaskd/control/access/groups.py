"""The groups of callers whose transport does not tell them: looked up in the user database, off the control loop.

The plain stream knows the groups that a process had when it connected (SO_PEERGROUPS). libzmq keeps uid, gid and pid only, and
a pid may be another process's by the time one looks. So there the user database says which groups the uid is in, as at a
login (getgrouplist(3)). That may ask a server, which may be slow or away: a thread asks, and whoever does not hang on the
answer does not wait for it.
"""

import asyncio
import contextlib
import os
import pwd
import threading
import time
from typing import Final

from flaskd_ctl.errors import Failed, TimedOut

KEPT: Final = 10.0
"""Seconds that an answer is good for."""

LOOKUP_TIME: Final = 5.0
"""Seconds that a caller waits for it."""

MAX_WAITING: Final = 32
"""Callers, and threads that look for their groups."""


class Groups:
    """Knows groups by uid; used on the control loop."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[float, frozenset[int]]] = {}
        self._asked: dict[int, asyncio.Future[frozenset[int]]] = {}
        self._waiting = 0

    def known(self, uid: int) -> frozenset[int] | None:
        """Return the groups of `uid` where they were looked up a short while ago."""
        until, groups = self._known.get(uid, (0.0, None))
        return groups if time.monotonic() < until else None

    def forget(self) -> None:
        """Look up all anew."""
        self._known.clear()

    async def look_up(self, uid: int) -> frozenset[int]:
        """Return the groups of `uid`, none for one that the user database does not know.

        Raises TimedOut where it does not answer, Failed where too many callers wait for it already.
        """
        if max(self._waiting, len(self._asked)) >= MAX_WAITING:
            raise Failed(f"{MAX_WAITING} callers wait for the user database already", hint="try again")
        self._waiting += 1
        try:
            return await asyncio.wait_for(asyncio.shield(self._ask(uid)), LOOKUP_TIME)
        except TimeoutError:
            raise TimedOut(
                f"the user database did not say within {LOOKUP_TIME:g} s which groups uid {uid} is in",
                hint="grant a role by user, or see what getent(1) waits for",
            ) from None
        finally:
            self._waiting -= 1

    def _ask(self, uid: int) -> "asyncio.Future[frozenset[int]]":
        if uid not in self._asked:
            self._loop = asyncio.get_running_loop()
            threading.Thread(target=self._answer, args=(uid,), name="flaskd-groups", daemon=True).start()
            self._asked[uid] = self._loop.create_future()  # once somebody looks: there may be no thread left
        return self._asked[uid]

    def _answer(self, uid: int) -> None:
        groups = groups_of(uid)
        with contextlib.suppress(RuntimeError):  # the loop is closed: the daemon has ended
            self._loop.call_soon_threadsafe(self._take, uid, groups)

    def _take(self, uid: int, groups: frozenset[int]) -> None:
        now = time.monotonic()
        self._known = {other: kept for other, kept in self._known.items() if kept[0] > now}
        self._known[uid] = (now + KEPT, groups)
        self._asked.pop(uid).set_result(groups)


def groups_of(uid: int) -> frozenset[int]:
    """Return the groups that the user database gives `uid`, its primary one included."""
    try:
        user = pwd.getpwuid(uid)
        return frozenset(os.getgrouplist(user.pw_name, user.pw_gid))
    except (KeyError, OSError):
        return frozenset()
