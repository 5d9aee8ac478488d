"""The `flaskd` command line: what it says, and with which exit code it ends."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from click.testing import CliRunner, Result

from flaskd.cli import main
from flaskd.settings.schema import FIELDS
from flaskd_ctl.contract.endpoint import MAX_PATH
from tests.support.daemons import PATIENCE

APP = "import flask\napp = flask.Flask(__name__)\n@app.get('/')\ndef index():\n    return 'hello'\n"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "cliapp.py").write_text(APP)
    monkeypatch.chdir(tmp_path)
    for name in [variable for variable in os.environ if variable.startswith("FLASKD_")]:
        if name not in {"FLASKD_RUNTIME_DIR", "FLASKD_CI"}:
            monkeypatch.delenv(name)
    return tmp_path


class Ended(NamedTuple):
    """How a command ended, as click's Result has it."""

    exit_code: int
    stdout: str
    stderr: str


def flaskd(*arguments: str) -> Result | Ended:
    """Run the command line here; `run` in a process of its own, whose output it passes on by descriptor."""
    if arguments[:1] != ("run",):
        return CliRunner().invoke(main, list(arguments))
    command = [sys.executable, "-m", "flaskd", *arguments]
    environ = {**os.environ, "FLASKD_BIND": "127.0.0.1:0"}
    ended = subprocess.run(
        command, env=environ, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    return Ended(ended.returncode, ended.stdout, ended.stderr)


def test_config_shows_each_value_and_where_it_came_from(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Option, environment, file, default."""
    (project / "flaskd.toml").write_text("linger = 2\n")
    monkeypatch.setenv("FLASKD_GRACE", "7")
    shown = json.loads(flaskd("config", "cliapp:app", "--threads", "3", "--json").stdout)
    assert shown.keys() == FIELDS.keys()
    assert shown["threads"] == {"value": 3, "source": "--threads", "line": None}
    assert shown["grace"] == {"value": 7.0, "source": "FLASKD_GRACE", "line": None}
    assert shown["linger"] == {"value": 2.0, "source": "flaskd.toml", "line": 1}
    assert shown["backlog"] == {"value": 2048, "source": "default", "line": None}
    assert shown["name"] == {"value": "cliapp", "source": "the application's name", "line": None}
    lines = flaskd("config").stdout.splitlines()
    assert [line.split()[0] for line in lines] == list(FIELDS)
    assert ["grace", "7", "FLASKD_GRACE"] in [line.split() for line in lines]
    assert ["linger", "2", "flaskd.toml,", "line", "1"] in [line.split() for line in lines]


def test_config_shows_bytes_that_are_no_text(project: Path) -> None:
    """As they came on the command line (PEP 383)."""
    shown = flaskd("config", "--check", "/\udcff", "--json")
    assert shown.exit_code == 0
    assert json.loads(shown.stdout)["check"]["value"] == "/\udcff"


def test_a_directory_that_has_been_removed_is_said(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By each command that looks around where it was started."""
    gone = project / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    for command in (["config"], ["check", "cliapp"], ["systemd", "unit", "cliapp:app"]):
        ended = flaskd(*command)
        assert (ended.exit_code, ended.stdout) == (1, "")
        assert "flaskd: the current directory has been removed. Next: " in ended.stderr


def test_config_tells_of_a_variable_that_is_no_setting(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FLASKD_THREAD=4 would change nothing, silently; the values on stdout stay what they are."""
    monkeypatch.setenv("FLASKD_THREAD", "4")
    shown = flaskd("config", "--json")
    assert shown.exit_code == 0
    said = "flaskd: FLASKD_THREAD is set, and there is no setting of that name: use FLASKD_THREADS=8"
    assert f"{said}\n" in shown.stderr
    assert said in flaskd("run", "absent").stderr
    assert json.loads(shown.stdout).keys() == FIELDS.keys()


def test_check_loads_without_binding_anything(project: Path, runtime_dir: str) -> None:
    """It says what would be served, where, under which name."""
    checked = flaskd("check", "cliapp:app")
    assert checked.exit_code == 0
    assert "cliapp:app is a Flask application with 2 URL rules" in checked.stdout
    assert "'cliapp'" in checked.stdout
    assert os.listdir(runtime_dir) == []


def test_a_current_directory_that_is_gone_is_a_sentence(project: Path) -> None:
    """A shell may stand in one."""
    (project / "gone").mkdir()
    os.chdir(project / "gone")  # the fixture changes back
    (project / "gone").rmdir()
    for command in ("run", "check", "config"):
        ended = flaskd(command, "cliapp:app")
        assert ended.exit_code == 1
        assert "the current directory has been removed" in ended.stderr


@pytest.mark.parametrize("command", ["check", "run"])
@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["absent:app"], 1, "no module 'absent'"),
        (["cliapp:shop"], 1, "cliapp has no attribute 'shop'"),
        (["broken:app"], 1, "ZeroDivisionError"),
        ([], 1, "no application was named"),
        (["cliapp:app", "--threads", "0"], 1, "--threads"),
        (["cliapp:app", "--threads", "10000000"], 1, "--threads"),
        (["cliapp:app", "--bind", "nowhere"], 1, "'nowhere' is no port"),
        (["cliapp:app", "--tls-cert", "absent.pem"], 1, "--tls-cert needs --tls-key"),
        (["cliapp:app", "--tls-cert", "absent.pem", "--tls-key", "k"], 1, "cannot read absent.pem"),
        (["cliapp:app", "--name", "a/b"], 1, "cannot name an instance"),
        (["cliapp:app", "--name", "x" * 100_000], 1, f"flaskd: '{'x' * 80}'... cannot name an instance"),
        (["cliapp:app", "--operators", "anna"], 1, "operators cannot be 'anna': expected user:NAME"),
        (
            ["cliapp:app", "--runtime-dir", "/tmp/" + "x" * MAX_PATH],
            1,
            f"limit for Unix sockets is {MAX_PATH}",
        ),
        (["cliapp:app", "--config", "absent.toml"], 1, "no configuration file absent.toml"),
        (["cliapp:app", "--speed", "9"], 2, "--speed"),
        (["cliapp:app", "--port", "80"], 2, "No such option: --port. Next: use --bind 127.0.0.1:8000"),
        (["cliapp:app", "-w", "4"], 2, "No such option: -w. Next: use --workers 4"),
        (["cliapp:app", "--config", "slip.toml"], 1, "there is no setting 'thread'. Next: use threads"),
    ],
)
def test_what_is_wrong_is_a_sentence_and_nothing_is_bound(
    command: str, arguments: list[str], code: int, said: str, project: Path, runtime_dir: str
) -> None:
    """Exit 1, or 2 for a wrong command line; never a traceback."""
    (project / "broken.py").write_text("1 / 0\n")
    (project / "slip.toml").write_text("thread = 4\n")
    ended = flaskd(command, *arguments)
    assert ended.exit_code == code
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr
    assert ended.stdout == ""
    assert os.listdir(runtime_dir) == []


def test_check_shows_the_applications_traceback_when_asked(project: Path) -> None:
    """The hint of the sentence holds."""
    (project / "broken.py").write_text("def fail():\n    1 / 0\nfail()\n")
    ended = flaskd("check", "broken", "--traceback")
    assert ended.exit_code == 1
    assert "broken.py" in ended.stderr
    assert "in fail" in ended.stderr


def test_no_permission_for_the_runtime_directory_is_said(project: Path) -> None:
    """What was tried, and what was seen."""
    ended = flaskd(
        "run", "cliapp:app", "--bind", "127.0.0.1:0", "--runtime-dir", "/proc/nothing-can-be-made-here"
    )
    assert ended.exit_code == 1
    assert "cannot make the instance directory" in ended.stderr


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux only")
@pytest.mark.parametrize(
    ("command", "code"),
    [("config", 1), ("check cliapp:app", 1), ("keygen anna", 1), ("doctor --grace 1 haproxy.cfg", 2)],
)
def test_a_result_that_cannot_be_written_is_an_error_in_a_sentence(
    project: Path, command: str, code: int
) -> None:
    """`flaskd config > file` on a full disk; 1 of `flaskd doctor` would say that something was found."""
    (project / "haproxy.cfg").write_text(
        "defaults\n  timeout connect 5s\nbackend shop\n  server a 10.0.0.1:80\n"
    )

    with open("/dev/full", "wb") as full:
        argv = [sys.executable, "-m", "flaskd", *command.split()]
        ended = subprocess.run(argv, stdout=full, stderr=subprocess.PIPE, text=True, timeout=PATIENCE)

    assert ended.returncode == code
    assert ended.stderr.startswith(
        "flaskd: the result cannot be written to stdout: No space left on device. Next: "
    )
    assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize("command", [[], ["run"], ["check"], ["config"]])
def test_help_says_what_it_does_with_an_example(command: list[str]) -> None:
    """Every setting is an option, with its default and environment name."""
    shown = flaskd(*command, "--help").stdout
    if command:
        assert f"Example: " in shown  # noqa: F541
        assert all(f"FLASKD_{name.upper()}" in "".join(shown.split()) for name in FIELDS if name != "app")


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("status", "use `flaskd_ctl status`"),
        ("restart-worker", "use `flaskd_ctl restart-worker`"),
        ("stop", "use `flaskd_ctl shutdown`"),
        ("serve", "use `flaskd run`"),
        ("cliapp:app", "to serve this application: flaskd run cliapp:app"),
        ("chekc", "did you mean check?"),
    ],
)
def test_a_command_that_there_is_not_leads_to_one_that_there_is(word: str, said: str) -> None:
    """Exit 2, and the next step."""
    ended = flaskd(word)
    assert ended.exit_code == 2
    assert f"No such command {word!r}. Next: {said}" in ended.stderr
