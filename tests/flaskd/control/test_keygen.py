"""Key files: who may read them, what stands in them, and that none is lost."""

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq
import zmq.auth
from click.testing import CliRunner

from flaskd.cli import main
from flaskd.control.tcp import keygen
from flaskd.control.tcp.keygen import make_pair
from flaskd.errors import ConfigError
from flaskd_ctl.contract.keys import read_pair, read_public
from flaskd_ctl.errors import BadKey


@pytest.fixture(params=[0o000, 0o022, 0o077])
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


@pytest.mark.usefixtures("umask")
def test_secret_file_is_its_owners_alone_whatever_the_umask(tmp_path: Path) -> None:
    """And the public one can be read by all, by whom it has to be read."""
    made = make_pair("shop", str(tmp_path / "new"), force=False)

    assert stat.S_IMODE(os.stat(made.secret).st_mode) == 0o600
    assert stat.S_IMODE(os.stat(made.public).st_mode) == 0o644


def test_files_are_certificates_of_pyzmq(tmp_path: Path) -> None:
    """Other programs can read them, and the public one holds nothing secret."""
    made = make_pair("shop", str(tmp_path), force=False)

    public, secret = zmq.auth.load_certificate(made.secret)

    assert secret is not None
    assert zmq.curve_public(secret) == public
    assert zmq.auth.load_certificate(made.public) == (public, None)
    assert secret not in Path(made.public).read_bytes()
    assert (read_pair(made.secret), read_public(made.public)) == ((public, secret), public)


@pytest.mark.parametrize("left", ["shop.key", "shop.key_secret"])
def test_key_that_is_there_is_not_overwritten_unless_forced(tmp_path: Path, left: str) -> None:
    """Half a pair counts too: the other half would not fit it."""
    made = make_pair("shop", str(tmp_path), force=False)
    (other,) = {made.public, made.secret} - {str(tmp_path / left)}
    os.unlink(other)
    before = (tmp_path / left).read_bytes()

    with pytest.raises(ConfigError, match="exists; nothing was changed"):
        make_pair("shop", str(tmp_path), force=False)

    assert (tmp_path / left).read_bytes() == before
    assert not os.path.exists(other)
    assert read_pair(make_pair("shop", str(tmp_path), force=True).secret).public not in before


def test_pair_that_cannot_be_written_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With --force, too: a full disk loses no key, and no part of a new one stays."""
    old = make_pair("shop", str(tmp_path), force=False)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    write = keygen._write

    def write_until_full(path: str, *args: Any) -> None:
        if path.startswith(old.public + "."):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
        write(path, *args)

    monkeypatch.setattr(keygen, "_write", write_until_full)

    with pytest.raises(ConfigError, match="no space left on device"):
        make_pair("shop", str(tmp_path), force=True)

    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("name", ["", "../shop", "a b", ".shop", "x" * 65])
def test_name_that_is_none_makes_nothing(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="cannot name a key"):
        make_pair(name, str(tmp_path / "new"), force=False)

    assert not (tmp_path / "new").exists()


def test_command_says_which_file_is_secret(tmp_path: Path) -> None:
    """Exit 1 where it is there already, with a next step."""
    arguments = ["keygen", "shop", "--directory", str(tmp_path)]

    made, again = CliRunner().invoke(main, arguments), CliRunner().invoke(main, arguments)

    assert made.exit_code == 0
    assert f"{tmp_path}/shop.key: give this one" in made.output
    assert f"{tmp_path}/shop.key_secret: keep this one secret" in made.output
    assert again.exit_code == 1
    assert "--force" in again.output


@pytest.mark.parametrize("mode", [0o604, 0o602, 0o620, 0o666])
def test_secret_that_others_may_use_is_none(tmp_path: Path, mode: int) -> None:
    made = make_pair("shop", str(tmp_path), force=False)
    os.chmod(made.secret, mode)

    with pytest.raises(BadKey, match="others may use the secret key") as refused:
        read_pair(made.secret)

    assert refused.value.hint == f"chmod 600 {made.secret}"


def test_group_may_read_a_secret_since_that_is_how_containers_get_them(tmp_path: Path) -> None:
    made = make_pair("shop", str(tmp_path), force=False)
    os.chmod(made.secret, 0o440)

    assert read_pair(made.secret).secret


def test_halves_are_not_taken_for_each_other(tmp_path: Path) -> None:
    """A secret that is given away by mistake is refused, and said."""
    made = make_pair("shop", str(tmp_path), force=False)

    with pytest.raises(BadKey, match="no secret one"):
        read_pair(made.public)
    with pytest.raises(BadKey, match="for its owner alone"):
        read_public(made.secret)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("", "holds no CURVE key"),
        ("\0" * 1000, "holds no CURVE key"),
        ('curve\n  public-key = "short"\n', "is damaged"),
        ('curve\n  public-key = "' + "~" * 40 + '"\n', "is damaged"),
        ('curve\n  public-key = "' + "#" * 40 + '"\n', "is damaged"),
    ],
)
def test_what_is_no_key_is_said(tmp_path: Path, content: str, why: str) -> None:
    path = tmp_path / "x.key"
    path.write_text(content)

    with pytest.raises(BadKey, match=why):
        read_public(str(path))


def test_pair_that_is_none_is_said(tmp_path: Path) -> None:
    one, other = (make_pair(name, str(tmp_path), force=False) for name in ("one", "other"))
    mixed = (
        Path(one.secret)
        .read_text()
        .replace(read_pair(one.secret).public.decode(), read_pair(other.secret).public.decode())
    )
    Path(one.secret).write_text(mixed)

    with pytest.raises(BadKey, match="are not a pair"):
        read_pair(one.secret)


def test_file_that_is_not_there_or_no_file_is_said(tmp_path: Path) -> None:
    for path in (tmp_path / "nothing.key", tmp_path):
        with pytest.raises(BadKey, match="cannot read the key"):
            read_public(str(path))
