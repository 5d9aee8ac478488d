"""The log file: rotated without losing a line; a full disk and a lost directory are told, and serving goes on."""

import errno
import os
import resource
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from flaskd.console.priority import Priority
from flaskd.errors import ConfigError
from flaskd.logs.file import LogFile
from flaskd.logs.sinks import Style
from flaskd_ctl.errors import Failed


class Log:
    """A log file in a directory, and what is reported of it."""

    def __init__(self, path: Path, *, max_size: int = 0) -> None:
        self.path = path
        self.reports: list[tuple[str, Priority]] = []
        self.file = LogFile(str(path), Style(), setting="--log-file", report=self.report, max_size=max_size)

    def report(self, line: str, priority: Priority) -> None:
        self.reports.append((line, priority))


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    (tmp_path / "logs").mkdir()
    log = Log(tmp_path / "logs" / "shop.log")
    yield log
    log.file.close()


@pytest.fixture
def small_files() -> Iterator[int]:
    """No file of this process may grow beyond a size (setrlimit(2)): the disk is full, for a while."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    yield 100
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_lines_are_added_to_what_is_there(tmp_path: Path) -> None:
    """A restart keeps the log; only its owner and group may read a new one."""
    path = tmp_path / "shop.log"
    for text in (b"one\n", b"two\n"):
        log = Log(path)
        log.file.write_raw(text)
        log.file.close()

    assert path.read_bytes() == b"one\ntwo\n"
    assert not stat.S_IMODE(path.stat().st_mode) & 0o027


def test_after_a_rotation_lines_go_to_the_new_file(log: Log) -> None:
    """Until it is opened again, they go to the renamed one: none is lost."""
    log.file.write_raw(b"one\n")
    rotated = log.path.rename(log.path.with_suffix(".1"))
    log.file.write_raw(b"two\n")
    log.file.reopen()
    log.file.write_raw(b"three\n")

    assert rotated.read_bytes() == b"one\ntwo\n"
    assert log.path.read_bytes() == b"three\n"


def test_a_file_that_cannot_be_opened_again_is_kept(log: Log) -> None:
    """The sentence says what to do; lines still go to the old one."""
    log.file.write_raw(b"one\n")
    moved = log.path.parent.rename(log.path.parent.with_suffix(".moved"))

    with pytest.raises(Failed, match=r"cannot open the log file .*shop.log again: No such file or directory"):
        log.file.reopen()

    log.file.write_raw(b"two\n")
    assert (moved / log.path.name).read_bytes() == b"one\ntwo\n"


@pytest.mark.parametrize("kind", ["directory", "fifo", "missing"])
def test_what_is_no_file_is_refused_at_the_start(tmp_path: Path, kind: str) -> None:
    """A pipe would keep the daemon waiting for its reader."""
    path = tmp_path / "x"
    if kind == "directory":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path = tmp_path / "missing" / "x"

    with pytest.raises(ConfigError, match="cannot write the log file"):
        Log(path)


def test_a_full_disk_is_told_once_and_its_end_with_the_number_of_lines(log: Log, small_files: int) -> None:
    """The application goes on meanwhile; no line is glued to the torn one."""
    log.file.write_raw(b"x" * 90 + b"\n")
    for number in range(3):
        log.file.write_raw(b"lost %d %s\nlost too\n" % (number, b"y" * 20))
    ((said, gravity),) = log.reports
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    log.file.write_raw(b"again\n")

    assert gravity is Priority.ERR
    assert said.startswith(f"flaskd: cannot write the log file {log.path}: {os.strerror(errno.EFBIG)}; ")
    assert log.reports[1:] == [
        (f"flaskd: the log file {log.path} is written again; lines lost: 6", Priority.WARNING)
    ]
    assert log.path.read_bytes().splitlines()[-1] == b"again"


def test_a_file_of_its_maximum_size_is_rotated(tmp_path: Path) -> None:
    """Between two writes, so no line is torn; one old file is kept."""
    log = Log(tmp_path / "shop.log", max_size=10)
    for text in (b"1 oldest\n", b"2\n", b"3 middle line\n", b"4\n"):
        log.file.write_raw(text)
    log.file.close()

    assert log.path.read_bytes() == b"4\n"
    assert (tmp_path / "shop.log.1").read_bytes() == b"3 middle line\n"
    assert sorted(os.listdir(tmp_path)) == ["shop.log", "shop.log.1"]
    assert log.reports == []


def test_a_file_that_another_program_has_renamed_is_not_rotated_onto_the_new_one(tmp_path: Path) -> None:
    """Both may be set up: then only a new file is begun."""
    log = Log(tmp_path / "shop.log", max_size=10)
    log.path.rename(tmp_path / "shop.log-today")
    log.path.write_bytes(b"x\n")
    log.file.write_raw(b"a line of ours\n")
    log.file.write_raw(b"two\n")
    log.file.close()

    assert (tmp_path / "shop.log-today").read_bytes() == b"a line of ours\n"
    assert b"two\n" in log.path.read_bytes()
    assert b"x\n" in log.path.read_bytes()


def test_a_file_that_cannot_be_rotated_grows_and_that_is_said_once(tmp_path: Path) -> None:
    """Serving goes on, and no line is lost."""
    log = Log(tmp_path / "shop.log", max_size=10)
    (tmp_path / "shop.log.1").mkdir()
    (tmp_path / "shop.log.1" / "kept").touch()
    for _ in range(3):
        log.file.write_raw(b"a line of ours\n")
    log.file.close()

    assert log.path.read_bytes() == b"a line of ours\n" * 3
    ((said, gravity),) = log.reports
    assert (said, gravity) == (
        f"flaskd: cannot rotate the log file {log.path}: Is a directory; from now on it grows",
        Priority.ERR,
    )
