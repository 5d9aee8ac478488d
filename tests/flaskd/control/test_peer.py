"""Who is at the other end: the kernel's word, and where that tells no groups, the user database's."""

import asyncio
import os
import pwd
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from flaskd.control.access import groups, peer
from flaskd.control.access.groups import KEPT, MAX_WAITING, Groups
from flaskd_ctl.errors import Failed, TimedOut
from tests.flaskd.conftest import WAIT
from tests.support.needs import requires

UID, ANSWER = 54_321, frozenset({7, 8})


def within(play: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(play(), WAIT))


def test_the_kernel_tells_uid_gid_pid_and_groups_of_a_stream() -> None:
    """Ours, here."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        actor = peer.of_socket(ours)
        told = peer.groups_of_socket(ours)
    assert (actor.uid, actor.gid, actor.pid) == (os.geteuid(), os.getegid(), os.getpid())
    assert told == frozenset(os.getgroups())


def test_a_socket_that_does_not_tell_leaves_the_groups_unknown() -> None:
    """Which is not the same as none."""
    with socket.socket() as stranger:
        assert peer.groups_of_socket(stranger) is None
        assert peer.of_socket(stranger).uid is None


@requires("root")
def test_more_groups_than_can_be_asked_for_are_not_known() -> None:
    """Rather than be cut short: then the user database is asked. A process may have 65,536 (credentials(7))."""
    program = (
        "import os, socket; os.setgroups(range(1, 301)); from flaskd.control.access.peer import groups_of_socket\n"
        "print(*(groups_of_socket(end) for end in socket.socketpair()))"
    )
    told = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, check=True
    )
    assert told.stdout.split() == ["None", "None"]


def test_the_user_database_tells_the_groups_of_a_uid() -> None:
    """The primary one included; of one that it does not know, none."""
    me = pwd.getpwuid(os.geteuid())
    assert groups.groups_of(me.pw_uid) == frozenset(os.getgrouplist(me.pw_name, me.pw_gid))
    assert groups.groups_of(2_000_000_011) == frozenset()


def test_an_answer_is_good_for_a_while_and_many_share_one_question(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until it is forgotten, as at a reload."""
    asked: list[int] = []

    def ask(uid: int) -> frozenset[int]:
        asked.append(uid)
        return ANSWER

    monkeypatch.setattr(groups, "groups_of", ask)

    async def play() -> None:
        known = Groups()
        assert known.known(UID) is None
        assert set(await asyncio.gather(known.look_up(UID), known.look_up(UID))) == {ANSWER}
        assert (known.known(UID), asked) == (ANSWER, [UID])
        known.forget()
        assert known.known(UID) is None

    within(play)


def test_an_answer_grows_old(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then it is asked for again."""
    now = [100.0]
    monkeypatch.setattr(groups, "groups_of", lambda uid: ANSWER)
    monkeypatch.setattr("time.monotonic", lambda: now[0])

    async def play() -> None:
        known = Groups()
        await known.look_up(UID)
        now[0] += KEPT
        assert known.known(UID) is None

    within(play)


def test_a_database_that_does_not_answer_keeps_the_loop_going_and_nobody_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Who waits is told; there are never more who wait than may."""
    answer = threading.Event()

    def wait(uid: int) -> frozenset[int]:
        assert answer.wait(WAIT)
        return ANSWER

    monkeypatch.setattr(groups, "groups_of", wait)
    monkeypatch.setattr(groups, "LOOKUP_TIME", 0.05)

    async def play() -> None:
        known = Groups()
        waiting = [asyncio.ensure_future(known.look_up(UID)) for _ in range(MAX_WAITING)]
        await asyncio.sleep(0)
        with pytest.raises(Failed, match=f"{MAX_WAITING} callers already wait"):
            await known.look_up(UID)
        ended = await asyncio.gather(*waiting, return_exceptions=True)
        assert {type(each) for each in ended} == {TimedOut}
        assert "groups of uid 54321" in str(ended[0])

        answer.set()
        monkeypatch.setattr(groups, "LOOKUP_TIME", WAIT)
        assert await known.look_up(UID) == ANSWER

    within(play)


def test_a_question_that_nobody_could_be_sent_for_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without a thread to spare fails that call, not every later one of the same user."""

    def no_thread(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(groups, "groups_of", lambda uid: ANSWER)

    async def play() -> None:
        known = Groups()
        with monkeypatch.context() as full:
            full.setattr(threading.Thread, "start", no_thread)
            with pytest.raises(RuntimeError):
                await known.look_up(UID)
        assert await known.look_up(UID) == ANSWER

    within(play)
