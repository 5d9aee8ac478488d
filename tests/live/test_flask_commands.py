"""`flask serve` and `flask ctl`, as `flask` finds them: by their entry points."""

import json
import os
import re
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from flaskd import flask_commands
from tests.support.daemons import PATIENCE
from tests.support.terminal import Terminal

pytestmark = pytest.mark.live

FLASK = os.path.join(os.path.dirname(sys.executable), "flask")
APP = """
import os
from flask import Flask

app = Flask(__name__)

@app.get("/")
def index():
    return f"{os.environ.get('COLOUR')} {app.debug}"
"""


def flask(directory: Path, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("FLASK_")}
    return subprocess.run(
        [FLASK, *words],
        cwd=directory,
        env={**inherited, **environ},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def test_flask_serves_and_operates_its_application(tmp_path: Path) -> None:
    """Found by `flask`, served by `flaskd dev`, which reads .env again when it changes, though `flask` has read it."""
    (tmp_path / "shop.py").write_text(APP)
    (tmp_path / ".env").write_text("COLOUR=red\nFLASKD_BIND=127.0.0.1:0\n")
    (tmp_path / ".flaskenv").write_text("FLASK_APP=shop\n")
    with Terminal([FLASK, "serve", "--threads", "3"], cwd=tmp_path) as terminal:
        found = re.search(r"http://[0-9.:]+", terminal.wait_for_next("  control "))
        assert found is not None

        def index() -> str:
            with urllib.request.urlopen(found[0], timeout=PATIENCE) as response:
                return str(response.read().decode())

        assert index() == "red True"
        status = flask(tmp_path, "ctl", "--json", "status")
        assert status.returncode == 0, status.stderr
        shown = json.loads(status.stdout)
        assert (shown["name"], shown["threads"]) == ("shop", 3)

        (tmp_path / ".env").write_text("COLOUR=blue\nFLASKD_BIND=127.0.0.1:0\n")
        terminal.wait_for_next("reloaded in")
        assert index() == "blue True"

        stopped = flask(tmp_path, "--app", "shop", "ctl", "shutdown")
        assert stopped.returncode == 0, stopped.stderr
        assert terminal.wait() == 0
    assert flask(tmp_path, "ctl", "--name", "other", "status").returncode == 3
    assert flask(tmp_path, "ctl", "status").returncode == 3


def test_help_is_that_of_the_programs(tmp_path: Path) -> None:
    """Each option may follow `flask serve`."""
    assert "--watch" in flask(tmp_path, "--app", "shop", "serve", "--help").stdout
    assert "restart-worker" in flask(tmp_path, "--app", "shop", "ctl", "--help").stdout


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("stats", False),
        ("stats --endpoint cart", False),
        ("requests --endpoint=cart", False),
        ("call list", False),
        ("logs --follow --tail 5", False),
        ("stats --endpoint unix:///run/flaskd/blog/sock", True),
        ("--endpoint=tcp://web1:9000 status", True),
        ("-t web1 status", True),
        ("-tweb1 status", True),
        ("--target=web1 status", True),
        ("--name blog status", True),
        ("list --all", True),
        ("--json list", True),
        ("forget blog", True),
        ("status --help", True),
        ("-h", True),
    ],
)
def test_a_command_line_that_names_its_instance_or_needs_none_gets_none(words: str, *, named: bool) -> None:
    """`--endpoint` of some commands is an endpoint of the application."""
    assert flask_commands._needs_none(words.split()) is named


def test_ctl_needs_no_application_for_what_is_about_none_and_no_package_of_the_extra(tmp_path: Path) -> None:
    """The help and the list in any directory; the rest without python-dotenv and watchfiles."""
    assert flask(tmp_path, "ctl", "--help").returncode == 0
    assert flask(tmp_path, "ctl", "list", XDG_RUNTIME_DIR=str(tmp_path)).returncode == 0
    without = "import sys; sys.modules |= dict.fromkeys(['dotenv', 'watchfiles']); from flask.cli import main; main()"
    (tmp_path / "shop.py").write_text(APP)
    done = subprocess.run(
        [sys.executable, "-c", without, "--app", "shop", "ctl", "status"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, "cannot reach shop" in done.stderr) == (3, True), done.stderr


def test_no_application_is_a_sentence(tmp_path: Path) -> None:
    """Not a traceback."""
    for command in ("serve", "ctl"):
        done = flask(tmp_path, command)
        assert done.returncode == 1
        assert "there is no wsgi.py or app.py in" in done.stderr
        assert "Traceback" not in done.stderr


def test_flask_without_these_commands_imports_nothing_of_flaskd(tmp_path: Path) -> None:
    """Every `flask routes` would be slower."""
    (tmp_path / "shop.py").write_text(
        APP + "\nimport sys\n@app.cli.command()\ndef loaded():\n"
        "    print(*sorted(name for name in sys.modules if name.startswith('flaskd')))\n"
    )
    done = flask(tmp_path, "--app", "shop", "loaded")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["flaskd", "flaskd.flask_commands", "flaskd.version"]


def test_a_command_line_that_makes_its_application_says_what_to_do(tmp_path: Path) -> None:
    """FlaskGroup(create_app=…): nobody else can name that application."""
    (tmp_path / "manage.py").write_text(
        "from flask import Flask\nfrom flask.cli import FlaskGroup\n"
        "FlaskGroup(create_app=lambda: Flask('own')).main(['serve'])\n"
    )
    done = subprocess.run(
        [sys.executable, "manage.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 1
    assert "name it: flaskd dev shop:create_app" in done.stderr
