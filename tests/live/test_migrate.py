"""`flaskd migrate` on the kinds of configurations that public projects ship: what it prints is served, and answers."""

import http.client
import json
import os
import socket
import ssl
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from flaskd_ctl.contract.endpoint import Place
from tests.support.certified import certified
from tests.support.daemons import PATIENCE, Daemon, spawn
from tests.support.migrations import APP, KINDS, Kind

pytestmark = pytest.mark.live

OF_SERVERS = ("GUNICORN_CMD_ARGS", "WEB_CONCURRENCY", "PORT", "FORWARDED_ALLOW_IPS", "FLASK_APP")


@pytest.fixture(params=list(KINDS.values()), ids=list(KINDS))
def kind(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kind:
    """A configuration, and the directory that it is in."""
    kind: Kind = request.param
    for variable in OF_SERVERS:
        monkeypatch.delenv(variable, raising=False)
    for name, text in {"shop.py": APP, **kind.files}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return kind


def migrate(kind: Kind, directory: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "flaskd", "migrate", kind.server, *kind.words],
        cwd=directory,
        env={**os.environ, **kind.environ},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
    )


def serve(directory: Path, runtime_dir: str, settings: dict[str, object]) -> Daemon:
    """Start `flaskd run` with nothing but the printed file; an address that others can reach becomes one of loopback."""
    place = Place(os.path.join(runtime_dir, str(settings.get("name", "shop"))))
    environ = {**os.environ, "FLASKD_RUNTIME_DIR": runtime_dir}
    if str(settings["bind"]).startswith("0.0.0.0"):
        environ["FLASKD_BIND"] = "127.0.0.1:0"
    return spawn(
        [sys.executable, "-m", "flaskd", "run"], place, log=directory / "log", cwd=directory, environ=environ
    )


def ask(daemon: Daemon, directory: Path, authority: str) -> dict[str, str]:
    """GET / of the first listener, whatever it is."""
    listener = daemon.instance["listeners"][0]
    if listener.startswith("unix:"):
        connection = http.client.HTTPConnection("localhost")
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(PATIENCE)
        connection.sock.connect(str(directory / "shop.sock"))
    elif listener.startswith("https:"):
        context = ssl.create_default_context(cafile=authority)
        connection = http.client.HTTPSConnection(*daemon.address, context=context, timeout=PATIENCE)
    else:
        connection = http.client.HTTPConnection(*daemon.address, timeout=PATIENCE)
    connection.request("GET", "/")
    response = connection.getresponse()
    answer: dict[str, str] = json.load(response)
    connection.close()
    return answer


def test_the_printed_file_is_served(kind: Kind, tmp_path: Path, runtime_dir: str) -> None:
    """With the settings that were meant, and each difference said."""
    authority = certified(tmp_path).authority

    done = migrate(kind, tmp_path)

    assert done.returncode == 0, done.stderr
    settings = tomllib.loads(done.stdout)
    assert {name: settings.get(name) for name in kind.settings} == kind.settings
    for words in kind.said:
        assert words in done.stderr
    directory = tmp_path / kind.directory
    (directory / "flaskd.toml").write_text(done.stdout)
    daemon = serve(directory, runtime_dir, settings)
    try:
        assert ask(daemon, directory, authority)["kind"] == kind.answer
    finally:
        daemon.end()
        print(daemon.output())
