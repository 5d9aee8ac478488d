"""The record of a start: what it says is run, so it is trusted with care."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from flaskd_ctl.contract.start_record import StartRecord, paths, read_record

RECORD = StartRecord(
    program=["python", "-m", "flaskd"],
    words=["shop:app"],
    pid=7,
    directory="/srv",
    environ={"A": "1", "B": "\udcff"},
    umask=0o22,
    place="/run/flaskd/shop",
    log="/log",
)


@pytest.fixture
def path() -> Path:
    path = Path(paths("shop", os.environ)[0])
    path.parent.mkdir(parents=True)
    return path


def write(path: Path, mode: int = 0o600, **changes: Any) -> None:
    path.write_text(json.dumps(RECORD._asdict() | changes))
    path.chmod(mode)


def test_it_is_read_as_it_was_written(path: Path) -> None:
    """Also values that are no text (PEP 383), and a large environment."""
    environ = {"A": "x" * 100_000, "B": "\udcff"}
    write(path, environ=environ)
    assert read_record("shop", os.environ, os.geteuid()) == RECORD._replace(environ=environ)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_one_that_others_can_use_is_not_trusted(path: Path, mode: int) -> None:
    """Not even one that they can only read: then it is not ours as it should be."""
    write(path, mode)
    assert read_record("shop", os.environ, os.geteuid()) is None


def test_one_of_another_user_and_a_link_are_not_trusted(path: Path, tmp_path: Path) -> None:
    """Root would run what the user has written."""
    write(path)
    assert read_record("shop", os.environ, os.geteuid() + 1) is None
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    assert read_record("shop", os.environ, os.geteuid()) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"program": []},
        {"program": "rm"},
        {"words": [1]},
        {"pid": None},
        {"environ": {"A": 1}},
        {"umask": "7"},
        {"log": None},
    ],
)
def test_one_of_another_shape_is_none(path: Path, changes: dict[str, Any]) -> None:
    """A version of flaskd to come may write another."""
    write(path, **changes)
    assert read_record("shop", os.environ, os.geteuid()) is None
    path.write_text("{}")
    assert read_record("shop", os.environ, os.geteuid()) is None
    path.unlink()
    assert read_record("shop", os.environ, os.geteuid()) is None
