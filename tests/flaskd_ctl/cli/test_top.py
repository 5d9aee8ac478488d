"""`flaskd_ctl top` where there is no terminal, or no Textual."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from flaskd_ctl.contract.endpoint import Place
from tests.flaskd_ctl.conftest import Ctl, StartFake
from tests.flaskd_ctl.fake import FAKES, Fake

WITHOUT = (
    "import sys; sys.modules['textual'] = None; from flaskd_ctl.cli.main import main; main(sys.argv[1:])"
)


def test_into_a_pipe_it_looks_once(ctl: Ctl, either: Fake) -> None:
    outcome = ctl("--endpoint", either.url, "top")
    assert outcome.code == 0
    assert "shop: running" in outcome.out
    assert "/delay/3" in outcome.out


def test_everything_that_it_shows_is_there_as_json(ctl: Ctl, fake: Fake) -> None:
    outcome = ctl("top", "--json")
    assert outcome.code == 0
    shown = json.loads(outcome.out)["shop"]
    assert {"status", "stats", "requests", "errors", "refused"} == set(shown)


def test_without_a_name_it_looks_at_all_that_run(ctl: Ctl, start_fake: StartFake) -> None:
    start_fake("one")
    start_fake("two")
    outcome = ctl("top", "--json")
    assert {"one", "two"} == set(json.loads(outcome.out))


def test_all_that_run_are_those_of_this_host(
    ctl: Ctl, start_fake: StartFake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A target of the configuration file that is called as one of them is not meant."""
    (tmp_path / "ctl.toml").write_text('[targets.one]\nendpoint = "unix:///nowhere/sock"\n')
    monkeypatch.setenv("FLASKD_CTL_CONFIG", str(tmp_path / "ctl.toml"))
    start_fake("one")
    start_fake("two")

    shown = json.loads(ctl("top", "--json").out)

    assert {name: "status" in each for name, each in shown.items()} == {"one": True, "two": True}


def test_instances_that_share_a_name_are_called_by_their_directories(
    ctl: Ctl, start_fake: StartFake, runtime_dir: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two runtime directories may have one each."""
    other = f"{runtime_dir}/other"
    os.mkdir(other, 0o700)
    monkeypatch.delenv("FLASKD_RUNTIME_DIR")
    monkeypatch.setenv("RUNTIME_DIRECTORY", f"{runtime_dir}:{other}")
    start_fake("shop")
    with FAKES["unix"](Place(f"{other}/shop")):
        shown = json.loads(ctl("top", "--json").out)

    assert {name: "status" in each for name, each in shown.items()} == {
        f"{other}/shop": True,
        f"{runtime_dir}/shop": True,
    }


def test_one_of_several_targets_that_is_not_there_is_told_apart(ctl: Ctl, fake: Fake) -> None:
    outcome = ctl("-t", "shop", "-t", "nobody", "top", "--json")
    assert outcome.code == 7
    shown = json.loads(outcome.out)
    assert shown["nobody"]["error"]["name"] == "not_running"
    assert "status" in shown["shop"]


def test_nothing_that_runs_is_said_with_the_exit_code_for_it(ctl: Ctl) -> None:
    assert ctl("top").code == 3


def test_a_wrong_interval_is_refused(ctl: Ctl, fake: Fake) -> None:
    outcome = ctl("top", "--interval", "0")
    assert outcome.code == 2
    assert "0.2" in outcome.err


def test_without_textual_it_names_the_extra(fake: Fake) -> None:
    master, slave = pty.openpty()
    try:
        ran = subprocess.run(
            [sys.executable, "-c", WITHOUT, "top"],
            stdin=slave,
            stdout=slave,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "TERM": "xterm"},
            timeout=60,
        )
    finally:
        os.close(slave)
        os.close(master)
    assert ran.returncode == 1
    assert "pip install 'flaskd[top]'" in ran.stderr
    assert "Traceback" not in ran.stderr
