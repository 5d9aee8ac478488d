"""The groups of callers whose transport does not report them, from the user database.

The plain stream knows the groups that a process had when it connected (SO_PEERGROUPS). libzmq keeps only uid, gid and pid, and
a pid may belong to another process by the time you look. So for ZeroMQ the user database says which groups the uid is in, as at
a login (getgrouplist(3)). The database may be a server that is slow or down: a thread asks it, and only callers whose role
depends on the answer wait.
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
"""Seconds that an answer is cached."""

LOOKUP_TIME: Final = 5.0
"""Seconds that a caller waits for an answer."""

MAX_WAITING: Final = 32
"""Callers that may wait, and threads that may ask, at a time."""


class Groups:
    """Looks up groups by uid and caches them; used on the control loop."""

    def __init__(self) -> None:
        self._known: dict[int | None, tuple[float, frozenset[int]]] = {}
        self._asked: dict[int, asyncio.Future[frozenset[int]]] = {}
        self._waiting = 0

    def known(self, uid: int | None) -> frozenset[int] | None:
        """Return the cached groups of `uid`, None if there are none."""
        until, groups = self._known.get(uid, (0.0, None))
        return groups if time.monotonic() < until else None

    def forget(self) -> None:
        """Empty the cache."""
        self._known.clear()

    async def look_up(self, uid: int) -> frozenset[int]:
        """Return the groups of `uid`, an empty set if the user database does not know it.

        Raises TimedOut if the database does not answer, Failed if too many callers wait for it already.
        """
        if max(self._waiting, len(self._asked)) >= MAX_WAITING:
            raise Failed(f"{MAX_WAITING} callers already wait for the user database", hint="try again")
        self._waiting += 1
        try:
            return await asyncio.wait_for(asyncio.shield(self._ask(uid)), LOOKUP_TIME)
        except TimeoutError:
            raise TimedOut(
                f"the user database did not return the groups of uid {uid} within {LOOKUP_TIME:g} s",
                hint="grant the role to a user instead, or find out what getent(1) waits for",
            ) from None
        finally:
            self._waiting -= 1

    def _ask(self, uid: int) -> "asyncio.Future[frozenset[int]]":
        if uid not in self._asked:
            loop = asyncio.get_running_loop()
            threading.Thread(target=self._answer, args=(uid, loop), name="flaskd-groups", daemon=True).start()
            self._asked[uid] = loop.create_future()  # only now: starting a thread may fail
        return self._asked[uid]

    def _answer(self, uid: int, loop: asyncio.AbstractEventLoop) -> None:
        groups = groups_of(uid)
        with contextlib.suppress(RuntimeError):  # the loop is closed: the daemon has ended
            loop.call_soon_threadsafe(self._store, uid, groups)

    def _store(self, uid: int, groups: frozenset[int]) -> None:
        now = time.monotonic()
        self._known = {other: kept for other, kept in self._known.items() if kept[0] > now}
        self._known[uid] = (now + KEPT, groups)
        self._asked.pop(uid).set_result(groups)


def groups_of(uid: int) -> frozenset[int]:
    """Return the groups of `uid` in the user database, including its primary group."""
    try:
        user = pwd.getpwuid(uid)
        return frozenset(os.getgrouplist(user.pw_name, user.pw_gid))
    except (KeyError, OSError):
        return frozenset()
