"""Finding instances: alive is what listens; only what is ours or root's is believed."""

import json
import os
import socket
from pathlib import Path

import pytest

from flaskd_ctl.contract.endpoint import Place
from flaskd_ctl.contract.process_record import file_name, identify
from flaskd_ctl.discovery.instances import Instances
from flaskd_ctl.discovery.look import look
from flaskd_ctl.discovery.trust import Trust
from flaskd_ctl.errors import Ambiguous, BadPlace, NotPermitted, NotRunning, Unreachable
from tests.flaskd_ctl.conftest import StartFake
from tests.flaskd_ctl.fake import Fake, RouterFake, StreamFake

STRANGER = 54_321
gives_away = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away (chown)")


def test_a_listener_is_alive_whatever_the_files_say(place: Place) -> None:
    with StreamFake(place, info=False):
        found = look(place)

    assert found
    assert (found.condition, found.endpoint.scheme, found.info) == ("live", "unix", {})


def test_the_plain_stream_is_preferred_and_zeromq_will_do(place: Place) -> None:
    with RouterFake(place) as fake:
        found = look(place)
        assert found
        assert found.endpoint.url == fake.url

        with StreamFake(place) as plain:
            found = look(place)
            assert found
            assert found.endpoint.url == plain.url


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b"{" * 100_000])
def test_files_without_a_listener_are_stale_even_when_unreadable(place: Place, content: bytes) -> None:
    os.mkdir(place.directory)
    Path(place.instance_file).write_bytes(content)
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(place.sock)

    found = look(place)

    assert found
    assert (found.condition, found.info) == ("stale", {})


def test_an_empty_place_is_nothing(place: Place) -> None:
    os.mkdir(place.directory)
    assert look(place) is None


def test_a_regular_file_in_the_sockets_place_is_nothing_that_listens(place: Place) -> None:
    os.mkdir(place.directory)
    Path(place.sock).touch()

    with pytest.raises(NotRunning):
        Instances().target("shop")


def test_the_nearest_of_two_places_with_one_name_is_chosen(tmp_path: Path) -> None:
    """XDG_RUNTIME_DIR comes before /run/flaskd (`endpoint.search_dirs`)."""
    short = Path(os.environ["FLASKD_RUNTIME_DIR"])
    environ = {"XDG_RUNTIME_DIR": str(short), "RUNTIME_DIRECTORY": str(short / "flaskd2" / "shop")}
    for parent in ("flaskd", "flaskd2"):
        (short / parent).mkdir(mode=0o700)
    with (
        StreamFake(Place(str(short / "flaskd" / "shop"))) as user,
        StreamFake(Place(str(short / "flaskd2" / "shop"))) as unit,
    ):
        assert Instances(environ=environ).target("shop").endpoint.url == unit.url
        unit.die()
        assert Instances(environ=environ).target("shop").endpoint.url == user.url


@gives_away
def test_a_directory_of_somebody_else_is_not_trusted(fake: Fake, runtime_dir: str) -> None:
    """/tmp/flaskd-1000 may have been made by anybody."""
    os.chown(runtime_dir, STRANGER, -1)
    try:
        for name in (None, "shop"):
            with pytest.raises(BadPlace, match=f"belongs to uid {STRANGER}"):
                Instances().target(name)
        assert Instances().all() == []
        assert Instances().target(endpoint=fake.url).endpoint.url == fake.url
    finally:
        os.chown(runtime_dir, os.geteuid(), -1)


@gives_away
@pytest.mark.parametrize("mode", [0o755, 0o775, 0o757])
def test_a_directory_of_somebody_else_that_was_given_is_trusted_if_only_its_owner_can_write_to_it(
    fake: Fake, runtime_dir: str, mode: int
) -> None:
    """Who has a role in another user's instance names its directory; a variable may be left over from another user."""
    os.chown(runtime_dir, STRANGER, -1)
    os.chmod(runtime_dir, mode)
    try:
        if mode == 0o755:
            assert Instances(runtime_dir).target("shop").endpoint.url == fake.url
            return
        with pytest.raises(BadPlace, match="not trusted") as refused:
            Instances(runtime_dir).target("shop")
        assert f"nobody else may write to it, give --runtime-dir {runtime_dir}" in refused.value.hint
    finally:
        os.chown(runtime_dir, os.geteuid(), -1)
        os.chmod(runtime_dir, 0o700)


@gives_away
def test_a_strangers_instance_in_a_shared_directory_is_not_trusted(fake: Fake, runtime_dir: str) -> None:
    os.chmod(runtime_dir, 0o1777)
    assert Instances().target().name == "shop"

    os.chown(fake.place.directory, STRANGER, -1)

    assert Instances().all() == []
    for name in (None, "shop"):
        with pytest.raises(NotRunning):
            Instances().target(name)


@gives_away
def test_a_units_instance_in_roots_directory_is_trusted(fake: Fake, runtime_dir: str) -> None:
    """systemd makes /run/flaskd root's and /run/flaskd/shop the unit's User='s."""
    os.chown(fake.place.directory, STRANGER, -1)

    assert Instances().target("shop").endpoint.url == fake.url


def test_a_place_we_may_not_enter_is_hidden_not_absent(
    fake: Fake, runtime_dir: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: str, *, deadline: float) -> socket.socket:
        raise NotPermitted("no")

    monkeypatch.setattr("flaskd_ctl.discovery.look.connect", refuse)

    assert [found.condition for found in Instances().all()] == ["hidden"]
    for name in (None, "shop"):
        with pytest.raises(NotPermitted):
            Instances().target(name)


def test_a_directory_we_may_not_look_into_is_not_an_empty_one(
    runtime_dir: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether an instance runs there cannot be known: exit 4, not 3."""

    def refuse(path: str) -> None:
        raise PermissionError(path)

    with monkeypatch.context() as patched:
        patched.setattr("os.scandir", refuse)
        for directory in (runtime_dir, "/root/unseen"):
            assert Instances(directory).closed() == [directory]
            with pytest.raises(NotPermitted, match="you may not look into"):
                Instances(directory).target()


def test_names_are_known_without_asking(start_fake: StartFake, runtime_dir: str) -> None:
    fakes = [start_fake("shop"), start_fake("blog")]
    Path(runtime_dir, "-not-a-name").mkdir()
    Path(runtime_dir, "a-file").touch()

    assert Instances().names() == ["blog", "shop"]
    assert all(fake.calls == [] for fake in fakes)


def test_files_whose_process_runs_are_unreachable_not_stale(place: Place) -> None:
    """Their own facts name it, where no record can be read: the state directory may be another user's."""
    os.mkdir(place.directory)
    Path(place.instance_file).write_text(json.dumps({"name": "shop", **identify(os.getpid())}))

    found = look(place)

    assert found
    assert (found.condition, found.info["pid"]) == ("unreachable", os.getpid())
    for name in (None, "shop"):
        with pytest.raises(Unreachable, match=f"pid {os.getpid()}"):
            Instances().target(name)


def test_an_unreachable_instance_counts_where_no_name_is_given(place: Place, start_fake: StartFake) -> None:
    """A command without a name must not go to the other one for want of a socket."""
    start_fake("blog")
    os.mkdir(place.directory)
    Path(place.instance_file).write_text(json.dumps({"name": "shop", **identify(os.getpid())}))

    with pytest.raises(Ambiguous, match="blog, shop"):
        Instances().target()
    assert Instances().target("blog").name == "blog"


def test_a_place_that_has_become_somebody_elses_is_not_connected_to(
    place: Place, start_fake: StartFake
) -> None:
    """A record says that our instance runs; what listens in its place may be anybody's."""
    start_fake()
    state = Path(os.environ["XDG_STATE_HOME"], "flaskd")
    state.mkdir(parents=True)
    record = {"name": "shop", "directory": place.directory, **identify(os.getpid())}
    (state / file_name(place.directory)).write_text(json.dumps(record))

    instances = Instances()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trust, "_owner", lambda *_: False)
        assert [found.condition for found in instances.all()] == ["unreachable"]
