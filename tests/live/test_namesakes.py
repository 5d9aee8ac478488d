"""An application beside files that are called as modules of Python's, of a library's or of flaskd's."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.support.caller import call
from tests.support.daemons import PATIENCE, StartDaemon
from tests.support.operating import ctl

pytestmark = pytest.mark.live

MODULES: Final = (
    *("secrets", "queue", "platform", "types", "random", "uuid", "select", "logging", "click", "calendar"),
    *(
        "email/__init__",
        "flaskd/__init__",
        "signal",
        "concurrent/__init__",
        "msgspec",
        "waitress",
        "tempfile",
    ),
)

APP: Final = """
import flask, sys
app = flask.Flask(__name__)
names = [name for name in {names} if hasattr(__import__(name), "OF_THE_SHOP")]
@app.get("/")
def own():
    return " ".join(names)
@app.cli.command()
def own():
    print(*names)
"""


def run(program: str, *args: str, cwd: Path) -> str:
    """Run a program of this environment."""
    path = os.path.join(os.path.dirname(sys.executable), program)
    done = subprocess.run(
        [path, *args], cwd=cwd, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("engine", ["waitress", "granian"])
def test_flask_check_run_and_reload_load_the_same(
    start_daemon: StartDaemon, tmp_path: Path, engine: str
) -> None:
    """Each of these files stopped workers from starting; what the application imports by such a name is what Flask gives it."""
    for name in MODULES:
        path = tmp_path / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text("OF_THE_SHOP = 1\n")
    names = [name.partition("/")[0] for name in MODULES if not name.startswith("flaskd")]
    (tmp_path / "shop.py").write_text(APP.format(names=names))
    own = run("flask", "--app", "shop", "own", cwd=tmp_path)
    assert {"queue", "signal", "msgspec"} <= set(own.split())
    assert "would serve" in run("flaskd", "check", "shop:app", "--engine", engine, cwd=tmp_path)
    program = os.path.join(
        os.path.dirname(sys.executable), "flaskd"
    )  # `python -m` would look in this directory by itself
    prefix = ["sh", "-c", f'shift 3; exec {program} "$@"', "sh"]
    daemon = start_daemon("shop:app", "--engine", engine, "--check", "/", cwd=tmp_path, prefix=prefix)
    assert call(daemon.url, "/") == own
    assert ctl("shop", "reload").returncode == 0
    assert call(daemon.url, "/") == own
    assert ctl("shop", "shutdown").returncode == 0
    assert daemon.wait() == 0
