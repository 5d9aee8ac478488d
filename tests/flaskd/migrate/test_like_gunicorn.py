"""What is converted are the values that gunicorn itself finds, in each kind of configuration that is known."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from flaskd.migrate import SERVERS
from flaskd.migrate.option import Option
from tests.support.daemons import PATIENCE
from tests.support.migrations import APP, KINDS, Kind

GUNICORN = {name: kind for name, kind in KINDS.items() if kind.server == "gunicorn"}

ASK = """
import json, sys
from gunicorn.app.wsgiapp import WSGIApplication

app = WSGIApplication()
found = {name: setting.get() for name, setting in app.cfg.settings.items()}
found["wsgi_app"] = app.app_uri
json.dump({name: value for name, value in found.items() if not callable(value)}, sys.stdout, default=str)
"""

OTHERWISE = {"chdir", "user", "group"}
"""Settings that gunicorn turns into something else than what was given: a path, numbers."""

VARIABLES = {"GUNICORN_CMD_ARGS", "WEB_CONCURRENCY", "PORT", "FORWARDED_ALLOW_IPS"}


def plain(option: Option, value: Any) -> Any:
    """Return a value as gunicorn's validation makes it."""
    if option.name in {"forwarded_allow_ips", "bind"} and isinstance(value, str):
        return value.split(",")
    return value


@pytest.mark.parametrize("kind", list(GUNICORN.values()), ids=list(GUNICORN))
def test_values_are_those_that_gunicorn_finds(kind: Kind, tmp_path: Path) -> None:
    """From the command line, the variables, the file and the defaults."""
    for name, text in {"shop.py": APP, **kind.files}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    others = {name: value for name, value in os.environ.items() if name not in VARIABLES}

    asked = subprocess.run(
        [sys.executable, "-c", ASK, *kind.words],
        cwd=tmp_path,
        env=others | kind.environ,
        capture_output=True,
        check=True,
        timeout=PATIENCE,
    )
    theirs = json.loads(asked.stdout)
    values = SERVERS["gunicorn"].read(kind.words, environ=kind.environ, directory=str(tmp_path))

    compared = [option for option in values.options if option.here.convert and option.name not in OTHERWISE]
    assert len(compared) > 20
    for option in compared:
        assert plain(option, values[option.name]) == plain(option, theirs[option.name]), option.name
