"""`flaskd dev` for real: what is saved serves, what cannot be loaded does no harm, and nobody loses a request."""

import http.client
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import pytest

from flaskd_ctl.errors import WrongState
from tests.support.daemons import PATIENCE, StartDaemon
from tests.support.developing import APP, Project, get, said
from tests.support.exchange import Plan
from tests.support.extent import FULL
from tests.support.load import Load
from tests.support.operating import client
from tests.support.stopping import Shutdown

pytestmark = pytest.mark.live

SAVES: Final = 50 if FULL else 6

STREAM = (
    APP
    + """
import time

@app.get("/stream")
def stream():
    def events():
        yield "data: begun by {version}\\n\\n"
        for number in range(3000):
            time.sleep(0.1)
            yield ": nothing yet\\n\\n"
    return app.response_class(events(), mimetype="text/event-stream")

@app.post("/upload")
def upload():
    from flask import request
    return f"{len(request.get_data())} bytes for {version}"
"""
)


def test_what_is_saved_serves(tmp_path: Path, start_daemon: StartDaemon) -> None:
    """Each time, also a module that is new, a template, a setting and a variable."""
    project = Project(tmp_path, start_daemon, "--watch", "conf/*.yaml")
    assert project.get() == "version 1"
    for version in (2, 3, 4):
        project.save_and_wait(version)
        assert project.get() == f"version {version}"

    output = project.daemon.output()
    assert "flaskd: shop.py changed: loading" in output
    for name, text in (
        ("cart.py", "x = 1"),
        (".env", "A=1"),
        ("flaskd.toml", "threads = 3"),
    ):
        count = output.count("reloaded in")
        project.write(name, text)
        output = said(project.daemon, "reloaded in", count + 1)
        assert f"flaskd: {name} changed: loading" in output
    with client(project.daemon) as shop:
        assert shop.status().threads == 3

    for name in ("templates", "conf"):
        (tmp_path / name).mkdir()
    project.save_and_wait(5)  # a worker that has loaded knows its templates
    for name in ("templates/index.html", "conf/a.yaml"):
        count = project.daemon.output().count("reloaded in")
        project.write(name, "x")
        said(project.daemon, "reloaded in", count + 1)
        assert f"flaskd: {name} changed: loading" in project.daemon.output()


def test_a_save_in_the_same_second_with_the_same_size_serves(
    tmp_path: Path, start_daemon: StartDaemon
) -> None:
    """Python's cached bytecode is then taken for current (PEP 552)."""
    project = Project(tmp_path, start_daemon, environ={"PYTHONDONTWRITEBYTECODE": ""})
    for version in (2, 3, 4):
        count = project.daemon.output().count("reloaded in")
        project.save(version)
        os.utime(tmp_path / "shop.py", ns=(0, 1_700_000_000_000_000_000 + version))
        said(project.daemon, "reloaded in", count + 1)
        assert project.get() == f"version {version}"


def test_the_environment_files_reach_the_application(tmp_path: Path, start_daemon: StartDaemon) -> None:
    """And their changes too."""
    app = "import os\nfrom flask import Flask\napp = Flask(__name__)\nheld = {version}\n"
    app += "@app.get('/')\ndef index():\n    return f\"{os.environ.get('COLOUR')} {app.debug}\"\n"
    (tmp_path / ".flaskenv").write_text("COLOUR=red\n")
    project = Project(tmp_path, start_daemon, app=app)
    assert project.get() == "red True"
    project.write(".flaskenv", "FLASK_DEBUG=0\n")
    said(project.daemon, "reloaded in")
    assert project.get() == "None False"


def test_code_that_cannot_be_loaded_does_no_harm(tmp_path: Path, start_daemon: StartDaemon) -> None:
    """The traceback is in the terminal, with the line; what served serves on; the next save mends it."""
    project = Project(tmp_path, start_daemon)
    project.write("shop.py", "from flask import Flask\n\ndef (:\n")
    output = said(project.daemon, "not reloaded")
    assert f'File "{tmp_path}/shop.py", line 3' in output
    assert "SyntaxError" in output
    assert "1 worker serves on" in output
    assert project.get() == "version 1"

    project.write("shop.py", "import not_there\n")
    output = said(project.daemon, "not reloaded", 2)
    assert "ModuleNotFoundError: No module named 'not_there'" in output
    assert project.get() == "version 1"

    project.write("flaskd.toml", "threads = 0\n")
    output = said(project.daemon, "not reloaded", 3)
    assert "threads cannot be 0: expected a whole number >= 1" in output.replace("'", "")
    project.write("flaskd.toml", "")
    project.save_and_wait(3)
    assert project.get() == "version 3"


def test_it_starts_with_code_that_cannot_be_loaded(tmp_path: Path, start_daemon: StartDaemon) -> None:
    """The browser shows why, as `flask run --debug` does, and the next save serves."""
    (tmp_path / "shop.py").write_text("from flask import Flask\nx = {}['missing key']\n")
    daemon = start_daemon("shop:app", "--dev", cwd=tmp_path)
    said(daemon, "KeyError: 'missing key'")
    page = get(daemon)
    assert "KeyError" in page
    assert get(daemon).count("<div class=") == page.count("<div class=")  # no frames of the request before
    assert "missing key" in page
    (tmp_path / "shop.py").write_text(APP.replace("{version}", "1"))
    said(daemon, "reloaded in")
    assert get(daemon) == "version 1"


def test_a_newer_change_overtakes(tmp_path: Path, start_daemon: StartDaemon) -> None:
    """What is being loaded is out of date: it is not waited for, however long it takes."""
    project = Project(tmp_path, start_daemon)
    project.write(
        "shop.py", f"open({str(tmp_path / 'loading')!r}, 'w').close()\nimport time\ntime.sleep(600)\n"
    )
    loading = tmp_path / "loading"
    said(project.daemon, "changed: loading")
    until = time.monotonic() + PATIENCE
    while not loading.exists():
        assert time.monotonic() < until
        time.sleep(0.01)
    project.save_and_wait(3)
    assert project.get() == "version 3"
    with client(project.daemon) as shop:
        states = {worker.id: worker.state for worker in shop.workers()}
        assert states.pop(1, "leaving") == "leaving"
        assert states == {3: "serving"}  # the second is gone
        assert shop.status().restarts == 0
        assert shop.incidents() == []


def test_a_stream_and_half_a_body_survive_a_save(tmp_path: Path, start_daemon: StartDaemon) -> None:
    """The worker that has them stays for them; the new one serves. Nothing waits for the stream."""
    project = Project(tmp_path, start_daemon, app=STREAM)
    stream = http.client.HTTPConnection(*project.daemon.address, timeout=PATIENCE)
    stream.request("GET", "/stream")
    events = stream.getresponse()
    assert events.readline() == b"data: begun by 1\n"
    with socket.create_connection(project.daemon.address, PATIENCE) as upload:
        upload.sendall(b"POST /upload HTTP/1.1\r\nHost: shop\r\nContent-Length: 10\r\n\r\n12345")
        project.save_and_wait(2)
        assert project.get() == "version 2"
        with client(project.daemon) as shop:
            states = {worker.id: worker.state for worker in shop.workers()}
        assert states == {1: "leaving", 2: "serving"}
        upload.sendall(b"67890")
        with upload.makefile("rb") as answer:
            assert answer.read().endswith(b"10 bytes for 1")
    project.save_and_wait(3)
    assert project.get() == "version 3"
    events.close()
    stream.close()
    with Shutdown(project.daemon) as shutdown:
        assert shutdown.result()["workers_lost"] == 0
    assert project.daemon.wait() in {0, 6}


def test_a_stream_ends_with_ctrl_c_after_a_short_grace(tmp_path: Path, start_daemon: StartDaemon) -> None:
    """Whoever develops does not wait half a minute for a page that is open somewhere."""
    project = Project(tmp_path, start_daemon, "--grace", "0.3", app=STREAM)
    stream = http.client.HTTPConnection(*project.daemon.address, timeout=PATIENCE)
    stream.request("GET", "/stream")
    events = stream.getresponse()
    assert events.readline() == b"data: begun by 1\n"
    project.save_and_wait(2)
    with Shutdown(project.daemon) as shutdown:
        assert shutdown.result()["cut"][0]["path"] == "/stream"
    assert project.daemon.wait() == 6
    events.close()
    stream.close()


def test_there_is_one_worker(tmp_path: Path, start_daemon: StartDaemon) -> None:
    """The debugger is in its memory."""
    project = Project(tmp_path, start_daemon)
    with client(project.daemon) as shop, pytest.raises(WrongState, match="`flaskd dev` runs one worker"):
        shop.scale(2)


def test_listeners_of_a_service_manager_are_refused(tmp_path: Path) -> None:
    """They may be public, and the debugger runs code (sd_listen_fds(3))."""
    (tmp_path / "shop.py").write_text(APP)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        script = f"exec 3<&0; LISTEN_PID=$$ LISTEN_FDS=1 exec {sys.executable} -m flaskd dev shop:app"
        done = subprocess.run(
            ["sh", "-c", script],
            cwd=tmp_path,
            stdin=listener.fileno(),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    assert done.returncode == 1
    assert "a service manager has opened the listeners" in done.stderr


@pytest.mark.timeout(60 + 8 * SAVES)
@pytest.mark.parametrize("mode", ["closed", "open"])
def test_saves_under_load_lose_nothing(tmp_path: Path, start_daemon: StartDaemon, mode: str) -> None:
    """Each save is loaded and serves, while requests come all the time."""
    code = "from httpbin import app\nversion = {version}\n"
    project = Project(tmp_path, start_daemon, app=code)
    plan = Plan(mode=mode, clients=5, rate=20, send_delay=1.0, think=1.0, seconds=40 + 8 * SAVES)  # type: ignore[arg-type]
    with Load(project.daemon.url, plan) as load:
        load.wait_answered(20)
        for version in range(2, 2 + SAVES):
            project.save_and_wait(version)
        report = load.end(tail=0.3)
    print(report.as_json())
    assert (report.lost, report.refused, report.races) == ([], 0, [])
    assert report.ok > 2 * SAVES
    with client(project.daemon) as shop:
        assert shop.status().generation >= 1 + SAVES  # a slow write may be noticed twice
