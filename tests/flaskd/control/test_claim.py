"""Claiming a place: live ones are not stolen, foreign files not touched, stale ones cleaned without being asked."""

import errno
import fcntl
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from flaskd.control.access.policy import GROUP, KEY, USER, Grant, Rules
from flaskd.control.claim import Claim
from flaskd.errors import ClaimError, NameTaken
from flaskd_ctl.contract.commands import Role
from flaskd_ctl.contract.endpoint import MAX_PATH, Place, place_for
from flaskd_ctl.errors import BadPlace
from tests.flaskd.conftest import WAIT
from tests.support.needs import requires

OURS = Rules(owner=os.geteuid())


@pytest.fixture
def place(runtime_dir: str) -> Place:
    return Place(f"{runtime_dir}/shop")


def names(place: Place) -> set[str]:
    return {path.name for path in Path(place.directory).iterdir()}


def test_a_claim_holds_and_leaves_nothing(place: Place) -> None:
    """Sockets listen at 0600 in a 0700 directory; afterwards the directory is gone."""
    with Claim.hold(place, OURS) as claim:
        claim.publish({"pid": 1})
        assert {"lock", "sock", "zmq", "instance.json"} == names(place)
        assert os.stat(place.directory).st_mode & 0o777 == 0o700
        assert {0o600} == {
            os.stat(path).st_mode & 0o777 for path in (place.sock, place.zmq, place.instance_file)
        }
    assert not os.path.exists(place.directory)


def test_a_live_instance_is_refused_with_its_pid_and_not_disturbed(place: Place) -> None:
    """Its sockets are the same afterwards."""
    with Claim.hold(place, OURS):
        before = {path: os.stat(path).st_ino for path in (place.sock, place.zmq, place.lock)}
        with pytest.raises(NameTaken, match=f"process {os.getpid()}") as caught, Claim.hold(place, OURS):
            pass
        assert os.getpid() == caught.value.pid
        assert before == {path: os.stat(path).st_ino for path in (place.sock, place.zmq, place.lock)}


def test_of_many_that_race_for_a_name_exactly_one_gets_it(place: Place) -> None:
    """Again and again, by threads that begin together; who loses is told so."""
    for _ in range(50):
        barrier, release = threading.Barrier(4), threading.Event()
        outcomes: list[str] = []

        def race(
            barrier: threading.Barrier = barrier,
            release: threading.Event = release,
            outcomes: list[str] = outcomes,
        ) -> None:
            barrier.wait(WAIT)
            try:
                with Claim.hold(place, OURS):
                    outcomes.append("got it")
                    assert release.wait(WAIT)
            except NameTaken:
                outcomes.append("taken")
            if outcomes.count("taken") == 3:
                release.set()

        threads = [threading.Thread(target=race) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(WAIT)
        assert sorted(outcomes) == ["got it", "taken", "taken", "taken"]


def test_what_a_killed_instance_left_is_cleaned(place: Place) -> None:
    """After kill -9 the lock is free, whatever files stand there."""
    code = (
        "import sys, signal, os; from flaskd.control.claim import Claim; from flaskd_ctl.contract.endpoint import Place\n"
        "from flaskd.control.access.policy import Rules\n"
        "with Claim.hold(Place(sys.argv[1]), Rules(os.geteuid())) as claim:\n"
        " claim.publish({}); os.kill(os.getpid(), signal.SIGKILL)"
    )
    ended = subprocess.run([sys.executable, "-c", code, place.directory], timeout=WAIT, check=False)
    assert ended.returncode == -signal.SIGKILL
    assert {"lock", "sock", "zmq", "instance.json"} == names(place)
    with Claim.hold(place, OURS):
        pass
    assert not os.path.exists(place.directory)


@pytest.mark.parametrize("name", ["sock", "zmq"])
def test_a_foreign_file_is_left_alone(place: Place, name: str) -> None:
    """Refused, its content unchanged, and nothing else left behind."""
    os.mkdir(place.directory, 0o700)
    path = Path(place.directory, name)
    path.write_text("precious")
    with (
        pytest.raises(ClaimError, match="a file that is not a socket is there"),
        Claim.hold(place, OURS),
    ):
        pass
    assert path.read_text() == "precious"
    assert {name} == names(place)


def test_another_programs_live_socket_is_left_alone(place: Place) -> None:
    """One that listens there without our lock is not ours to remove."""
    os.mkdir(place.directory, 0o700)
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(place.zmq)
        other.listen()
        inode = os.stat(place.zmq).st_ino
        with pytest.raises(ClaimError, match="another process listens there"), Claim.hold(place, OURS):
            pass
        assert inode == os.stat(place.zmq).st_ino


def test_a_file_put_in_our_sockets_place_survives_our_end(place: Place) -> None:
    """What we remove is what we made."""
    with Claim.hold(place, OURS):
        os.unlink(place.sock)
        Path(place.sock).write_text("precious")
    assert Path(place.sock).read_text() == "precious"


@requires("root")
def test_a_directory_of_somebody_else_is_refused(place: Place) -> None:
    """Before anything is created in it."""
    os.mkdir(place.directory, 0o700)
    os.chown(place.directory, 12345, 12345)
    with pytest.raises(ClaimError, match="belongs to uid 12345"), Claim.hold(place, OURS):
        pass
    assert set() == names(place)


def test_a_directory_below_tmp_that_others_may_write_to_is_refused(place: Place) -> None:
    """Anybody could put an instance of theirs in our name's place."""
    runtime = os.path.dirname(place.directory)
    os.chmod(runtime, 0o777)
    with pytest.raises(ClaimError, match="can be written to by others"), Claim.hold(place, OURS):
        pass
    assert os.listdir(runtime) == []


def test_a_file_in_place_of_the_runtime_directory_is_refused(runtime_dir: str) -> None:
    """And named."""
    Path(runtime_dir, "file").touch()
    with (
        pytest.raises(ClaimError, match="file is not a directory"),
        Claim.hold(Place(f"{runtime_dir}/file/shop"), OURS),
    ):
        pass


def test_a_link_in_place_of_the_directory_is_refused(place: Place, tmp_path: Path) -> None:
    """Nobody can lead us elsewhere."""
    os.symlink(tmp_path, place.directory)
    with pytest.raises(ClaimError, match="is not a directory"), Claim.hold(place, OURS):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_path_too_long_is_said_before_anything_is_created(tmp_path: Path) -> None:
    """With both lengths, at start and not at bind."""
    deep = tmp_path / ("x" * MAX_PATH)
    with pytest.raises(BadPlace, match=f"the limit for Unix sockets is {MAX_PATH}"):
        place_for("shop", runtime_dir=str(deep), environ={}, uid=0)
    assert not deep.exists()


def test_a_full_disk_is_a_sentence_and_nothing_is_left(place: Place) -> None:
    """Both at the start and where `instance.json` would say that the instance serves."""
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    full = (0, limit[1])
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, full)
        with pytest.raises(ClaimError, match=f"cannot write the lock {place.lock}: File too large"):
            Claim.hold(place, OURS).__enter__()
        assert not os.path.exists(place.directory)

        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        with Claim.hold(place, OURS) as claim:
            resource.setrlimit(resource.RLIMIT_FSIZE, full)
            with pytest.raises(ClaimError, match=f"cannot write {place.instance_file}: File too large"):
                claim.publish({"pid": 1})
            assert names(place) == {"lock", "sock", "zmq"}
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)


@pytest.mark.parametrize("name", ["", "a/b", "..", ".hidden", "-x", "a b", "x" * 65])
def test_a_name_that_could_leave_its_directory_is_refused(name: str) -> None:
    """A name is one plain word."""
    with pytest.raises(BadPlace, match="cannot name an instance"):
        place_for(name, runtime_dir="/tmp", environ={}, uid=0)


def test_systemds_runtime_directory_is_the_instances(tmp_path: Path) -> None:
    """RuntimeDirectory=flaskd/shop; the variable may hold several."""
    environ = {"RUNTIME_DIRECTORY": f"/run/other:{tmp_path}/flaskd/shop"}
    assert f"{tmp_path}/flaskd/shop" == place_for("shop", runtime_dir=None, environ=environ, uid=0).directory


def test_a_forked_child_keeps_neither_lock_nor_sockets(place: Place) -> None:
    """It lives on after us, and the name is free, and nobody can connect."""
    read_end, write_end = os.pipe()
    with Claim.hold(place, OURS) as claim:
        path = place.sock
        peer = socket.socket(socket.AF_UNIX)
        peer.connect(path)
        accepted, _ = claim.stream.accept()
        child = os.fork()
        if child == 0:
            os.close(write_end)
            os.read(read_end, 1)
            os._exit(0)
        accepted.close()
        peer.settimeout(WAIT)
        assert peer.recv(1) == b""  # the child holds no copy of the accepted connection
        peer.close()
    with Claim.hold(place, OURS):
        pass
    os.close(write_end)
    os.close(read_end)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


OTHERS = Rules(os.geteuid(), {Role.VIEWER: (Grant(USER, "x", 12345), Grant(GROUP, "y", 23456))})


def test_without_lists_everybody_is_let_near_and_it_is_said(
    place: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where the file system has none (ENOTSUP) it is the policy alone that refuses."""

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOTSUP, "not supported")

    monkeypatch.setattr(os, "setxattr", refuse, raising=False)
    with Claim.hold(place, OTHERS) as claim:
        claim.publish({})
        found = [
            os.stat(path).st_mode & 0o777
            for path in (place.directory, place.sock, place.zmq, place.instance_file)
        ]
        assert found == [0o711, 0o666, 0o666, 0o644]
    assert "has no access control lists, so every user can connect" in caplog.text


def test_a_closed_directory_on_the_way_is_said(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    """Roles for others are of no use there."""
    with Claim.hold(place, OTHERS):
        pass
    runtime = os.path.dirname(place.directory)
    assert f"only the owner can enter {runtime}" in caplog.text


def test_taking_roles_away_closes_what_was_open(place: Place) -> None:
    """Lists and groups included: as if there had never been any."""
    with Claim.hold(place, OTHERS) as claim:
        claim.publish({})
        opened = [
            os.stat(path).st_mode & 0o070 for path in (place.directory, place.sock, place.instance_file)
        ]
        assert opened == [0o010, 0o060, 0o040]
        claim.set_rules(OURS)
        paths = (place.directory, place.sock, place.zmq, place.instance_file)
        assert [os.stat(path).st_mode & 0o777 for path in paths] == [0o700, 0o600, 0o600, 0o600]
        if hasattr(os, "listxattr"):
            assert {name for path in paths for name in os.listxattr(path) if "acl" in name} == set()


def test_the_owner_and_root_need_no_opening(place: Place) -> None:
    """Whom the rules name beside them, or only keys, opens nothing."""
    rules = Rules(
        os.geteuid(), {Role.ADMIN: (Grant(USER, "me", os.geteuid()), Grant(USER, "root", 0), Grant(KEY, "k"))}
    )
    with Claim.hold(place, rules):
        assert os.stat(place.directory).st_mode & 0o777 == 0o700
        assert os.stat(place.sock).st_mode & 0o777 == 0o600


def test_instance_json_is_whole_or_absent(place: Place) -> None:
    """A reader at any moment finds nothing or complete JSON."""
    with Claim.hold(place, OURS) as claim:
        enough = threading.Event()
        seen: list[object] = []

        def read() -> None:
            while not enough.is_set():
                try:
                    with open(place.instance_file, "rb") as file:
                        seen.append(json.load(file))
                except FileNotFoundError:
                    pass

        reader = threading.Thread(target=read)
        reader.start()
        for number in range(200):
            claim.publish({"number": number, "padding": "x" * 10_000})
        enough.set()
        reader.join(WAIT)
    assert not enough.is_set() or all(isinstance(facts, dict) for facts in seen)


def test_a_lock_that_is_removed_while_it_is_waited_for_is_taken_anew(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its holder may end between our open and our flock: a lock on a file that is gone would keep nobody out."""
    first, flock = Claim.hold(place, OURS), fcntl.flock
    ended: list[bool] = []
    first.__enter__().withdraw()

    def flock_late(descriptor: int, operation: int) -> None:
        if not ended:
            ended.append(True)
            first.__exit__(None, None, None)
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", flock_late)
    with Claim.hold(place, OURS) as second:
        second.withdraw()  # so that it is the lock that refuses
        with pytest.raises(NameTaken), Claim.hold(place, OURS):
            pass
