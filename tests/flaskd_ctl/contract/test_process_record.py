"""Which process a record names, and whether it runs."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from flaskd_ctl.contract.endpoint import Place
from flaskd_ctl.contract.process_record import file_name, identify, is_alive, running, running_at


def write(state: Path, place: Place, **changes: Any) -> Path:
    state.mkdir(parents=True, exist_ok=True)
    path = state / file_name(place.directory)
    path.write_text(
        json.dumps({"name": place.name, "directory": place.directory, **identify(os.getpid())} | changes)
    )
    return path


def test_our_own_process_runs_and_another_one_with_its_pid_does_not() -> None:
    """The start time and the boot tell them apart."""
    record = identify(os.getpid())

    assert is_alive(record)
    assert not is_alive(record | {"start_ticks": record["start_ticks"] - 1})
    assert not is_alive(record | {"boot_id": "another"})
    assert not is_alive({"pid": os.getpid()})
    assert not is_alive({})


def test_a_process_that_has_ended_does_not_run_also_before_it_is_reaped() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        record = identify(process.pid)
        assert is_alive(record)
        assert process.stdin is not None
        process.stdin.close()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert not is_alive(record)
    assert not is_alive(record)


def test_records_are_found_in_state_directories_and_in_those_of_units(tmp_path: Path) -> None:
    """One of a unit holds only records of its own name."""
    environ = {"XDG_STATE_HOME": str(tmp_path)}
    state, shop, blog = tmp_path / "flaskd", Place("/run/flaskd/shop"), Place("/run/flaskd/blog")
    write(state, shop)
    write(state / "blog", blog)
    write(state / "other", Place("/run/flaskd/news"))

    assert sorted(record["name"] for record in running(environ)) == ["blog", "shop"]
    assert running_at(shop.directory, environ)
    assert running_at("/run/flaskd/news", environ) is None


def test_two_of_one_name_in_two_directories_have_a_record_each(tmp_path: Path) -> None:
    environ = {"XDG_STATE_HOME": str(tmp_path)}
    first, second = Place("/run/flaskd/shop"), Place("/tmp/other/shop")
    write(tmp_path / "flaskd", first)
    path = write(tmp_path / "flaskd", second)
    os.unlink(path)

    assert running_at(first.directory, environ)
    assert running_at(second.directory, environ) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away (chown)")
def test_a_record_names_only_processes_of_its_own_user(tmp_path: Path) -> None:
    """Clients say "kill PID": nobody may choose somebody else's process for that."""
    shop = Place("/run/flaskd/shop")
    path = write(tmp_path / "flaskd" / "shop", shop)
    os.chown(path, 54_321, -1)

    assert running_at(shop.directory, {"XDG_STATE_HOME": str(tmp_path)}) is None


@pytest.mark.parametrize(
    "changes", [{"directory": None}, {"directory": "/run/flaskd/blog"}, {"pid": "1"}, {"start_ticks": None}]
)
def test_a_record_that_is_none_is_passed_over(tmp_path: Path, changes: dict[str, Any]) -> None:
    """Its content and its name have to agree."""
    write(tmp_path / "flaskd", Place("/run/flaskd/shop"), **changes)

    assert list(running({"XDG_STATE_HOME": str(tmp_path)})) == []
