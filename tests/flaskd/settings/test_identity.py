"""Workers run as another user only where that is possible, and are wholly that user then."""

import asyncio
import os
import pwd

import pytest

from flaskd.errors import ConfigError
from flaskd.settings.checks import check
from flaskd.settings.identity import Identity, identity_of
from flaskd.supervisor import process
from tests.support.daemons import PATIENCE
from tests.support.needs import requires


@requires("root")
def test_a_user_is_its_name_its_uid_or_two_numbers() -> None:
    """With what the user database says of the first two, the supplementary groups included."""
    nobody = pwd.getpwnam("nobody")
    found = identity_of("nobody")
    assert found is not None
    assert found == identity_of(str(nobody.pw_uid))
    assert (found.uid, found.gid, found.environ["HOME"]) == (nobody.pw_uid, nobody.pw_gid, nobody.pw_dir)
    assert identity_of("54321:54322") == Identity(54321, 54322, (), {})
    assert identity_of("") is None


def test_a_user_that_nobody_is_is_said() -> None:
    """Before anything is started."""
    for user in ("nobody-of-that-name", "2000000011", "²"):
        with pytest.raises(ConfigError, match=f"worker_user: there is no user '{user}'"):
            identity_of(user)


@pytest.mark.parametrize(
    "user", ["4294967295:4294967295", "54321:4294967295", "99999999999:1", "99999999999"]
)
def test_a_number_that_no_uid_can_be_is_said(user: str) -> None:
    """Of -1, which is the largest there is, the kernel makes "as before": the worker would stay root."""
    with pytest.raises(ConfigError, match="is not a uid or gid"):
        identity_of(user)


def test_who_is_not_root_cannot_become_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """Itself it is already."""
    monkeypatch.setattr(os, "geteuid", lambda: 54321)
    with pytest.raises(
        ConfigError, match="only root can run workers as 54322:1, but flaskd runs as uid 54321"
    ):
        identity_of("54322:1")
    assert identity_of("54321:1") is None


@pytest.mark.parametrize("user", ["a:b", ":", "1:", "a:1"])
def test_what_names_no_user_is_refused(user: str) -> None:
    """With what does."""
    with pytest.raises(ConfigError, match="expected the name of a user, a uid, or UID:GID"):
        check("worker_user", user, "--worker-user")


@requires("root")
@pytest.mark.parametrize("identity", [Identity(54321, 54322, (54323,), {"HOME": "/nowhere"}), None])
def test_a_process_is_wholly_who_it_is_told_to_be(identity: Identity | None) -> None:
    """Real, effective and saved ids, no group of ours left over; and there is no way back."""
    read_end, write_end = os.pipe()

    async def play() -> None:
        ended = asyncio.Event()
        command = ["/bin/sh", "-c", "grep -E '^(Uid|Gid|Groups|CapEff)' /proc/self/status; echo $HOME"]
        child = process.start(
            command,
            descriptors=(),
            stdout=write_end,
            stderr=write_end,
            directory="/",
            identity=identity,
            on_end=ended.set,
        )
        async with asyncio.timeout(PATIENCE):
            await ended.wait()
        assert child.how_it_ended == "exit code 0"

    asyncio.run(play())
    os.close(write_end)
    with os.fdopen(read_end) as file:
        *told, home = file.read().splitlines()
    said = {name: value.split() for name, _, value in (line.partition(":") for line in told)}
    if identity is None:
        assert (set(said["Uid"]), home) == ({str(os.getuid())}, os.environ["HOME"])
        return
    assert (set(said["Uid"]), set(said["Gid"]), said["Groups"]) == ({"54321"}, {"54322"}, ["54323"])
    assert (int(said["CapEff"][0], 16), home) == (0, "/nowhere")
