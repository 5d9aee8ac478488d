"""`flaskd_ctl web` as people run it, and its page in a browser, for tests."""

import contextlib
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support import browser
from tests.support.caller import visit
from tests.support.daemons import PATIENCE, Daemon, StartDaemon
from tests.support.page import web

APP = """
import threading, time, flask
app = flask.Flask(__name__)
held = threading.Event()
@app.get("/report/<int:seconds>")
def slow_report(seconds):
    until = time.monotonic() + seconds
    while time.monotonic() < until and not held.wait(0.1):  # an exception that ends it comes between two waits
        pass
    return "late"
@app.get("/busy")
def busy():
    return str(add_up())
def add_up():
    return sum(range(200_000))
@app.get("/fast")
def fast():
    return "hello"
@app.get("/broken")
def broken():
    raise ValueError(flask.request.args.get("why", "no such item"))
@app.get("/chatter/<int:lines>")
def chatter(lines):
    for number in range(1, lines + 1):
        app.logger.warning("line %d of %d", number, lines)
    return "said"
@app.get("/free")
def free():
    held.set()
    return "free"
"""
"""An application with a request that waits until another one comes, one that computes, and one that fails."""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A browser (Playwright's Browser), for the tests of a module."""
    try:
        with browser.chromium() as running:
            yield running
    except browser.NotInstalledError as error:
        pytest.skip(str(error))


@pytest.fixture
def shop(start_daemon: StartDaemon, tmp_path: Path) -> Daemon:
    """An instance of APP that has served some of its endpoints."""
    (tmp_path / "watched.py").write_text(APP)
    daemon = start_daemon("watched:app", "--engine", "waitress", "--threads", "4")
    for path in ("fast", "busy", "broken", "no-such-page"):
        get(f"{daemon.url}/{path}")
    return daemon


def get(url: str) -> None:
    """Ask an application, whatever it answers, and even if it ends."""
    with contextlib.suppress(OSError):
        visit(url)


@contextlib.contextmanager
def serving(*options: str, before: Sequence[str] = ()) -> Iterator[str]:
    """Run `flaskd_ctl BEFORE web OPTIONS`, yield the URL that it prints, and end it as Ctrl-C does: it exits with 0."""
    with web(*before, "web", "--interval", "0.2", "--json", *options) as page:
        yield page.url
        page.end(signal.SIGINT)


class Reader:
    """Somebody with a browser: a page of their own, and what went wrong on it."""

    def __init__(self, browser: Any, **options: Any) -> None:
        self.context = browser.new_context(**{"reduced_motion": "reduce", **options})
        self.context.set_default_timeout(1000 * PATIENCE)
        self.page = self.context.new_page()
        self.wrong: list[str] = []
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("console", self._note)

    def _note(self, message: Any) -> None:
        """Take what the browser complains of: what the policy of the page forbids, among other things."""
        refused = "Failed to load resource"  # a call that the server has refused; the page says so itself
        if message.type in {"error", "warning"} and refused not in message.text:
            self.wrong.append(message.text)

    def opens(self, url: str) -> Any:
        """Open the URL that `flaskd_ctl web` has printed, and return the page when it shows something."""
        self.page.goto(url)
        self.page.get_by_role("heading", level=2).wait_for()
        return self.page

    def goes(self, *place: str) -> Any:
        """Go to a view of the instance `shop`, as its link does."""
        base = self.page.url.partition("#")[0]
        self.page.goto(f"{base}#/shop/{'/'.join(place)}")
        return self.page

    def answers(self, button: str) -> None:
        """Press a button that asks, and say yes."""
        self.page.get_by_role("button", name=button, exact=True).click()
        self.page.get_by_role("dialog").get_by_role("button", name=button).click()

    def leaves(self) -> None:
        """Close the browser's window; nothing must have gone wrong on the page."""
        self.context.close()
        assert self.wrong == []
