"""Werkzeug's debugger behind `flaskd dev`, used as a browser uses it: the PIN, the cookie, the secret of the page."""

import html
import http.client
import re
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlencode

import pytest

from tests.support.daemons import PATIENCE, Daemon, StartDaemon
from tests.support.developing import APP, Project, said

pytestmark = pytest.mark.live


class Answer(NamedTuple):
    status: int
    body: str
    cookie: str


class Browser:
    """Keeps the debugger's cookie. `host` is what it believes to be connected to."""

    def __init__(self, daemon: Daemon, host: str = "localhost") -> None:
        self._address = daemon.address
        self._host = host
        self.cookie = ""

    def get(self, path: str, **query: object) -> Answer:
        connection = http.client.HTTPConnection(*self._address, timeout=PATIENCE)
        try:
            target = path + (f"?{urlencode(query)}" if query else "")
            connection.request("GET", target, headers={"Host": self._host, "Cookie": self.cookie})
            response = connection.getresponse()
            answer = Answer(
                response.status,
                response.read().decode(),
                (response.getheader("Set-Cookie") or "").partition(";")[0],
            )
        finally:
            connection.close()
        self.cookie = answer.cookie or self.cookie
        return answer

    def debugger(self, page: str, command: str, **query: object) -> Answer:
        """Ask the debugger of a page."""
        found = re.search(r'SECRET = "([^"]+)"', page)
        assert found is not None, page
        asked = {"__debugger__": "yes", "cmd": command, "s": found[1], **query}
        return self.get("/", **asked)


def pin(daemon: Daemon) -> str:
    found = re.search(r"debugger PIN: ([\d-]+)", daemon.output())
    assert found is not None
    return found[1]


@pytest.mark.parametrize("engine", ["werkzeug", "waitress", "granian"])
def test_a_frame_can_be_asked_with_the_pin_and_not_without(
    tmp_path: Path, start_daemon: StartDaemon, engine: str
) -> None:
    """Behind each engine, with several threads: all of it is in one process."""
    project = Project(tmp_path, start_daemon, "--engine", engine, "--threads", "4")
    browser = Browser(project.daemon)
    page = browser.get("/bad")
    assert page.status == 500
    assert "ZeroDivisionError" in page.body
    assert "EVALEX = true" in page.body
    frame = re.findall(r'id="frame-(\d+)"', page.body)[-1]

    asked = {"frm": frame}
    assert "1000" not in browser.debugger(page.body, "secret_of_frame + 999", **asked).body
    assert not browser.cookie
    wrong = browser.debugger(page.body, "pinauth", pin="000-000-001")
    assert '"auth": false' in wrong.body
    assert '"auth": true' in browser.debugger(page.body, "pinauth", pin=pin(project.daemon)).body
    assert browser.cookie.startswith("__wzd")
    for _ in range(5):  # whichever thread answers
        answer = browser.debugger(page.body, "secret_of_frame + 999", **asked)
        assert "1000" in html.unescape(answer.body)

    console = browser.get("/console")
    assert "1764" in browser.debugger(console.body, "42 * 42", frm=0).body
    assert "Traceback (most recent call last):" in project.daemon.output()
    assert "ZeroDivisionError: division by zero" in project.daemon.output()


def test_the_pin_stays_the_same_after_a_reload_and_an_error(
    tmp_path: Path, start_daemon: StartDaemon
) -> None:
    """It was shown at the start, and the browser has its cookie."""
    (tmp_path / "shop.py").write_text("import not_there\n")
    daemon = start_daemon("shop:app", "--dev", cwd=tmp_path)
    browser = Browser(daemon)
    assert '"auth": true' in browser.debugger(browser.get("/").body, "pinauth", pin=pin(daemon)).body

    (tmp_path / "shop.py").write_text(APP.replace("{version}", "1"))
    said(daemon, "reloaded in")
    page = browser.get("/bad")
    assert "ZeroDivisionError" in page.body
    frame = re.findall(r'id="frame-(\d+)"', page.body)[-1]
    assert "1000" in browser.debugger(page.body, "secret_of_frame + 999", frm=frame).body


def test_a_page_of_another_site_reaches_no_debugger(tmp_path: Path, start_daemon: StartDaemon) -> None:
    """Under a name of its own that leads to this machine (DNS rebinding)."""
    project = Project(tmp_path, start_daemon)
    browser = Browser(project.daemon, "evil.example")
    page = browser.get("/bad").body
    assert "EVALEX = false" in page
    assert browser.debugger(page, "pinauth", pin=pin(project.daemon)).status == 400
    assert browser.get("/console").status == 400


def test_without_debug_mode_there_is_none(tmp_path: Path, start_daemon: StartDaemon) -> None:
    """FLASK_DEBUG=0, as with `flask`."""
    (tmp_path / ".env").write_text("FLASK_DEBUG=0\n")
    project = Project(tmp_path, start_daemon)
    browser = Browser(project.daemon)
    assert "SECRET" not in browser.get("/bad").body
    assert browser.get("/console").status == 404
    assert "debugger PIN" not in project.daemon.output()
    project.save_and_wait(2)
    assert project.get() == "version 2"


def test_a_public_address_has_the_debugger_if_it_is_meant(tmp_path: Path, start_daemon: StartDaemon) -> None:
    """Under the addresses of this host."""
    project = Project(tmp_path, start_daemon, "--dev-public", "--bind", "0.0.0.0:0")
    browser = Browser(project.daemon, "127.0.0.1")
    assert "EVALEX = true" in browser.get("/bad").body
    assert "EVALEX = false" in Browser(project.daemon, "evil.example").get("/bad").body
