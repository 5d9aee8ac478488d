"""`flaskd_ctl web` as a command: what it prints, and how it ends."""

import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.flaskd_ctl.conftest import Ctl, StartFake
from tests.flaskd_ctl.fake import Fake
from tests.support.daemons import PATIENCE
from tests.support.page import web

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

WITHOUT = "import sys; sys.modules[sys.argv.pop(1)] = None; from flaskd_ctl.cli.main import main; main(sys.argv[1:])"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_prints_the_url_serves_and_ends_cleanly_with_open_streams(
    fake: Fake, number: signal.Signals
) -> None:
    with web("web") as page:
        page.enter()
        with page.get("/api/instances/shop/live") as stream:
            while not stream.readline().startswith(b"data: "):
                pass
            page.process.send_signal(number)
            stream.read()
        _, complaints = page.process.communicate(timeout=PATIENCE)
        assert page.process.returncode == 0
        assert complaints.count("\n") == 1
        assert "it opens once. shop: read only" in complaints


def test_it_ends_although_a_command_is_under_way(fake: Fake) -> None:
    """The instance goes on with what it was told."""
    fake.on("reload", lambda call: call.steps())
    with web("web", "--allow-changes") as page:
        page.enter()
        with page.get("/api/instances/shop/live") as stream, ThreadPoolExecutor(1) as threads:
            call = threads.submit(page.call, "shop", "reload")
            while stream.readline() != b"event: progress\n":
                pass
            page.end()
            told = call.result(PATIENCE)
        assert (told.status, told.json["error"]["name"]) == (503, "stopped")
        assert "shop continues" in told.json["error"]["hint"]


def test_programs_get_the_url_as_json(fake: Fake) -> None:
    with web("web", "--json") as page:
        assert page.url.startswith("http://127.0.0.1:")
        assert page.end() == ""


def test_it_shows_all_that_run(start_fake: StartFake) -> None:
    start_fake("one")
    start_fake("two", scheme="ipc")
    with web("web") as page:
        page.enter()
        listed = page.json("/api/instances")["instances"]
        assert {("one", "running"), ("two", "running")} == {(each["label"], each["state"]) for each in listed}
        page.end()


def test_a_busy_port_is_said(ctl: Ctl, fake: Fake) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        outcome = ctl("web", "--port", str(port))
    assert outcome.code == 1
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use. Give another --port" in outcome.err
    assert outcome.out == ""


@pytest.mark.parametrize("port", ["-1", "65536", "http"])
def test_a_wrong_port_is_refused(ctl: Ctl, fake: Fake, port: str) -> None:
    assert ctl("web", "--port", port).code == 2


def test_nothing_that_runs_is_said_with_the_exit_code_for_it(ctl: Ctl) -> None:
    assert ctl("web").code == 3


@pytest.mark.parametrize("module", ["starlette", "uvicorn"])
def test_without_the_libraries_it_names_the_extra(fake: Fake, module: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", WITHOUT, module, "web"],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert ran.returncode == 1
    assert "pip install 'flaskd[web]'" in ran.stderr
    assert "Traceback" not in ran.stderr
