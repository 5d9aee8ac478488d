"""What `flaskd_ctl web` serves of a real instance: it reads, drains it, and tells why a reload fails."""

from pathlib import Path

import pytest

from tests.support.daemons import StartDaemon
from tests.support.operating import client
from tests.support.page import web

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")
pytestmark = pytest.mark.live

APP = """
import flask
app = flask.Flask(__name__)
@app.get("/")
def front():
    return "hello"
"""
BROKEN = "raise ImportError('no module of that kind')"


@pytest.mark.timeout(180)
def test_an_instance_is_read_drained_and_reloaded(start_daemon: StartDaemon, tmp_path: Path) -> None:
    app = tmp_path / "shop.py"
    app.write_text(APP)
    daemon = start_daemon("shop:app", "--engine", "waitress", "--workers", "2")
    with web("--name", daemon.name, "web", "--allow-changes") as page:
        page.enter()
        (listed,) = page.json("/api/instances")["instances"]
        assert (listed["label"], listed["state"], listed["role"]) == (daemon.name, "running", "admin")
        assert "drain" in [each["name"] for each in page.look(daemon.name)["changes"]]

        question = page.json(f"/api/instances/{daemon.name}/changes/drain")
        assert question["question"] == f"Take {daemon.name} out of rotation?"
        assert page.call(daemon.name, question["method"], **question["params"]).status == 200
        with client(daemon) as running:
            assert running.status().state == "draining"
            assert running.history()[-1].command == "drain"
        assert "resume" in [each["name"] for each in page.look(daemon.name)["changes"]]
        assert page.call(daemon.name, "resume").status == 200

        app.write_text(BROKEN)
        failed = page.call(daemon.name, "reload")
        assert failed.status == 502
        error = failed.json["error"]
        assert error["name"] == "failed"
        assert "ImportError: no module of that kind" in error["data"]["traceback"]
        with client(daemon) as running:
            assert len(running.workers()) == 2  # they serve on

        app.write_text(APP)
        reloaded = page.call(daemon.name, "reload")
        assert (reloaded.status, reloaded.json["result"]["replaced"]) == (200, 2)
        history = page.call(daemon.name, "stats", step=30)
        assert history.json["result"]["step"] == 30
        page.end()


@pytest.mark.timeout(120)
def test_without_allow_changes_the_instance_is_not_even_asked(
    start_daemon: StartDaemon, tmp_path: Path
) -> None:
    (tmp_path / "shop.py").write_text(APP)
    daemon = start_daemon("shop:app", "--engine", "waitress")
    with web("--name", daemon.name, "web", "--json") as page:
        page.enter()
        refused = page.call(daemon.name, "drain")
        assert (refused.status, refused.json["error"]["name"]) == (403, "read_only")
        assert page.look(daemon.name)["changes"] == []
        with client(daemon) as running:
            assert running.status().state == "running"
            assert running.history() == []
        page.end()
