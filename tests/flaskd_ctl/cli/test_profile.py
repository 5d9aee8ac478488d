"""`profile` on the command line: where the result goes."""

import json
import os
from pathlib import Path

import pytest

from tests.flaskd_ctl.conftest import Ctl, StartFake
from tests.flaskd_ctl.fake import Fake, golden


@pytest.fixture(autouse=True)
def _done(fake: Fake) -> None:
    """Let all workers be profiled."""
    result = golden("profile")
    fake.on("profile", lambda call: call.reply({"workers": result["workers"][:1]}))


def test_only_what_is_given_is_sent(fake: Fake, ctl: Ctl) -> None:
    """The daemon has the defaults; a duration may have a unit."""
    assert ctl("profile").code == 0
    assert (
        ctl("profile", "--seconds", "1m", "--rate", "50", "--endpoint", "report", "--all-threads").code == 0
    )

    assert [call.params for call in fake.calls] == [
        {},
        {"seconds": 60.0, "rate": 50, "endpoint": "report", "all_threads": True},
    ]


def test_zero_is_a_value(fake: Fake, ctl: Ctl) -> None:
    """It is not the default: the daemon refuses it."""
    ctl("profile", "--seconds", "0")

    assert [call.params for call in fake.calls] == [{"seconds": 0.0}]


def test_a_file_is_written_in_the_format_that_was_asked_for(ctl: Ctl, tmp_path: Path) -> None:
    """Whole, over what was there; nothing else is left behind."""
    path = tmp_path / "profile"
    path.write_text("an older one")

    speedscope = ctl("profile", "--output", str(path))
    assert len(json.loads(path.read_text())["profiles"]) == 1
    collapsed = ctl("profile", "--output", str(path), "--format", "collapsed")
    assert path.read_text().splitlines()[0].endswith(" 700")

    assert (speedscope.code, collapsed.code) == (0, 0)
    assert f"written to {path}" in speedscope.out
    assert os.listdir(tmp_path) == ["profile"]


def test_without_a_file_the_format_goes_to_stdout(ctl: Ctl) -> None:
    """For a pipe."""
    assert json.loads(ctl("profile", "--format", "speedscope").out)["profiles"]
    assert ctl("profile", "--format", "collapsed").out.splitlines()[0].endswith(" 700")


def test_no_stack_is_no_line(fake: Fake, ctl: Ctl) -> None:
    """An empty line would be a stack for the program behind the pipe; why there is none goes to stderr."""
    worker = golden("profile")["workers"][0] | {"stacks": [], "functions": [], "other": 0}
    fake.on("profile", lambda call: call.reply({"workers": [worker]}))

    told = ctl("profile", "--format", "collapsed")

    assert (told.code, told.out) == (0, "")
    assert "no request was seen" in told.err


def test_a_device_is_written_to(ctl: Ctl, tmp_path: Path) -> None:
    """It is not replaced by a file."""
    os.symlink(os.devnull, tmp_path / "null")

    assert ctl("profile", "--output", str(tmp_path / "null")).code == 0
    assert os.path.islink(tmp_path / "null")


def test_a_file_that_cannot_be_written_is_told_before_the_profile(
    fake: Fake, ctl: Ctl, tmp_path: Path
) -> None:
    """Not after it, which would be lost."""
    told = ctl("profile", "--output", str(tmp_path / "missing" / "profile"))

    assert told.code == 1
    assert "no such directory. Choose another --output." in told.err
    assert not fake.calls


def test_one_file_is_not_for_several_targets(start_fake: StartFake, ctl: Ctl, tmp_path: Path) -> None:
    """The second would replace the first."""
    start_fake("other")

    told = ctl("profile", "-t", "shop", "-t", "other", "--output", str(tmp_path / "profile"))

    assert told.code == 2
    assert "--output names one file" in told.err


def test_a_worker_that_could_not_be_profiled_is_a_failure(fake: Fake, ctl: Ctl) -> None:
    """7 where others could; in a pipe the reason is on stderr."""
    whole = golden("profile")
    fake.on("profile", lambda call: call.reply(whole))

    some = ctl("profile", "--format", "collapsed")

    assert some.code == 7
    assert "worker 4 (pid 4252): did not reply within 15 s" in some.err
    fake.on("profile", lambda call: call.reply({"workers": whole["workers"][1:]}))
    assert ctl("profile").code == 1


@pytest.mark.parametrize(
    ("option", "value"), [("--rate", "0"), ("--rate", "1001"), ("--seconds", "long"), ("--format", "x")]
)
def test_a_value_out_of_range_is_refused(fake: Fake, ctl: Ctl, option: str, value: str) -> None:
    """Nothing is asked."""
    assert ctl("profile", option, value).code == 2
    assert not fake.calls
