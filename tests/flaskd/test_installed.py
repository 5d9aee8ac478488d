"""flaskd on disk: which version a new process would get, and what is refused if that is another one."""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import flaskd
from flaskd import installed, version
from flaskd.channel.messages import Refused
from flaskd.channel.supervisor_end import DECODER
from flaskd.errors import ConfigError
from flaskd.installed import check_installed, installed_version
from flaskd_ctl.errors import WrongState
from tests.flaskd.supervisor.conftest import a_world
from tests.support.installation import Installation

WAIT = 30.0


@pytest.fixture
def on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The version file of this process's flaskd, which the test may replace or delete."""
    file = tmp_path / "version.py"
    shutil.copy(version.__file__, file)
    monkeypatch.setattr(version, "__file__", str(file))
    return file


def test_an_unchanged_installation_is_accepted(on_disk: Path) -> None:
    """Its version is what this process runs."""
    check_installed()

    assert installed_version() == flaskd.__version__


def test_another_version_is_refused_with_both_versions_and_the_next_step(on_disk: Path) -> None:
    """An upgrade takes effect with a restart."""
    on_disk.write_text('"""Newer."""\n\n__version__ = "9.9.9"\n')

    with pytest.raises(ConfigError, match=rf"9\.9\.9 is installed .* runs {flaskd.__version__}") as refused:
        check_installed()

    assert installed_version() == "9.9.9"
    assert "restart the instance" in refused.value.hint


def test_the_file_is_read_again_when_it_has_changed(on_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And only then: each `status` asks for the version."""
    reads: list[str] = []
    read = installed._read

    def counted(path: str) -> str | None:
        reads.append(path)
        return read(path)

    monkeypatch.setattr(installed, "_read", counted)

    assert [installed_version(), installed_version()] == [flaskd.__version__] * 2
    assert len(reads) == 1
    on_disk.write_text('"""Newer."""\n\n__version__ = "9.9.9"\n')
    assert installed_version() == "9.9.9"
    on_disk.unlink()
    assert installed_version() is None


@pytest.mark.parametrize("text", [None, "", "__version__ = 'oth"], ids=["missing", "empty", "truncated"])
def test_half_an_installation_is_refused(on_disk: Path, text: str | None) -> None:
    """pip deletes the old files before it writes the new ones."""
    on_disk.unlink()
    if text is not None:
        on_disk.write_text(text)

    with pytest.raises(ConfigError, match="no longer completely installed") as refused:
        check_installed()

    assert installed_version() is None
    assert "install flaskd again" in refused.value.hint


def test_a_compiled_module_counts_as_unchanged(on_disk: Path) -> None:
    """Its file cannot be read as text, and a reload must not fail for ever."""
    on_disk.write_bytes(b"\xa7\x0d\x0d\x0a\xff\xfe")

    check_installed()


def test_a_reload_is_refused_before_anything_changes(on_disk: Path) -> None:
    """The settings are not read again, and no worker is started or due."""
    with a_world() as world:
        fleet, before = world.up(2), world.settings
        world.reread(threads=7)
        on_disk.write_text('__version__ = "9.9.9"\n')

        with pytest.raises(WrongState, match=r"9\.9\.9 is installed .*; nothing was changed") as refused:
            world.changes.order_reload(check=None)
        world.play(5)

        assert "restart the instance" in refused.value.hint
        assert (fleet.generation, fleet.settings.threads, world.serving) == (1, before.threads, [1, 2])
        assert world.story == []


# A worker compares before it imports anything


def refusal_of_worker(installation: Installation, *arguments: str) -> tuple[Refused, str]:
    """Start a worker with these arguments after the descriptor; return its refusal of the first call, and its stderr."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        command = [sys.executable, "-m", "flaskd.worker", str(theirs.fileno()), *arguments]
        done = subprocess.run(
            command,
            cwd=installation.directory,
            env={**os.environ, **installation.environ},
            pass_fds=[theirs.fileno()],
            capture_output=True,
            text=True,
            timeout=WAIT,
            check=False,
        )
        theirs.close()
        with ours.makefile("rb") as lines:
            refused = DECODER.decode(lines.read())
    assert done.returncode == 1
    assert isinstance(refused, Refused)
    assert refused.number == 1
    return refused, done.stderr


@pytest.mark.parametrize("arguments", [("0.0.1",), ()], ids=["older", "so old that it does not say"])
def test_a_worker_refuses_a_supervisor_of_another_version(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """It names its own version, the supervisor's if that is known, and the next step."""
    refused, _ = refusal_of_worker(Installation(tmp_path), *arguments)

    assert f"flaskd {flaskd.__version__} is installed now" in refused.message
    assert refused.message.endswith(f"runs {arguments[0] if arguments else 'another version'}")
    assert "restart the instance" in refused.hint


@pytest.mark.parametrize("missing", ["flaskd/worker/main.py", "flaskd/ledger", "flaskd_ctl/protocol"])
def test_a_worker_without_all_its_modules_says_so(tmp_path: Path, missing: str) -> None:
    """The supervisor gets the sentence, and the log the traceback."""
    installation = Installation(tmp_path)
    installation.remove(missing)

    refused, log = refusal_of_worker(installation, flaskd.__version__)

    assert refused.message.startswith(
        "flaskd cannot be imported: ModuleNotFoundError: No module named 'flaskd"
    )
    assert "install flaskd again" in refused.hint
    assert "Traceback" in log
