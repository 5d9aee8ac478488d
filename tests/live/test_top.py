"""`flaskd_ctl top` in a real terminal, with a real instance under load."""

import itertools
import os
import sys
import threading
from pathlib import Path

import pytest

from tests.support.caller import visit
from tests.support.daemons import Daemon, StartDaemon
from tests.support.needs import requires
from tests.support.operating import client
from tests.support.tmux import Terminal

pytest.importorskip("textual")
pytestmark = [pytest.mark.live, requires("tmux")]

APP = """
import threading, time, flask
app = flask.Flask(__name__)
held = threading.Event()
@app.get("/slow")
def slow_report():
    held.wait(120)
    return "late"
@app.get("/report")
def report():
    if "hold" in flask.request.args:
        held.wait(120)
    else:
        time.sleep(0.3)
    return "report"
@app.get("/fast")
def fast():
    return "hello"
@app.get("/broken")
def broken():
    raise ValueError("no such item")
@app.get("/free")
def free():
    held.set()
    return "free"
"""


def ready(daemon: Daemon) -> bool:
    with client(daemon) as running:
        return running.status().ready


@pytest.mark.timeout(240)
def test_from_a_request_that_hangs_to_its_stack_and_out_of_rotation(
    start_daemon: StartDaemon, tmp_path: Path
) -> None:
    (tmp_path / "watched.py").write_text(APP)
    daemon = start_daemon("watched:app", "--engine", "waitress", "--threads", "4")
    waits = threading.Thread(target=visit, args=(f"{daemon.url}/slow",))
    waits.start()
    for path in ("fast", "fast", "broken"):
        visit(f"{daemon.url}/{path}")
    command = [sys.executable, "-m", "flaskd_ctl", "--name", daemon.name, "top", "--interval", "0.2"]
    try:
        with Terminal(command, socket=os.path.join(tmp_path, "tmux")) as terminal:
            terminal.until("shop · running · ready · 1 of 1 workers")
            terminal.press("4")
            terminal.until("ValueError: no such item")
            terminal.press("3")
            terminal.until("fast")
            terminal.press("2")
            terminal.until("slow_report")
            terminal.press("Enter")
            terminal.until("held.wait(120)")
            terminal.press("d")
            terminal.until("Take shop out of rotation?")
            assert ready(daemon)
            terminal.press("y")
            terminal.until("draining")
            assert not ready(daemon)
            terminal.press("Escape")
            terminal.until("u Resume")
            visit(f"{daemon.url}/free")
            waits.join(60)
            terminal.until("no request in flight")
            with client(daemon) as running:
                running.shutdown(grace=5)
            terminal.until("AWAY")
            again = start_daemon("watched:app", "--engine", "waitress")
            terminal.until("shop · running · ready")
            terminal.press("q")
            terminal.until_so(lambda lines: not lines, "the end of top")
            assert ready(again)  # who looks changes nothing
    finally:
        if waits.is_alive():
            visit(f"{daemon.url}/free")
        waits.join(60)


@pytest.mark.timeout(240)
def test_three_keys_lead_from_an_alert_to_the_slow_endpoint_its_stacks_and_out_of_rotation(
    start_daemon: StartDaemon, tmp_path: Path
) -> None:
    """p99 is high: 3, Enter, d, and the answer to what it asks. docs/top.md says so."""
    (tmp_path / "watched.py").write_text(APP)
    daemon = start_daemon("watched:app", "--engine", "waitress", "--threads", "4")
    for path in ("fast", "report", "fast"):
        visit(f"{daemon.url}/{path}")
    waits = threading.Thread(target=visit, args=(f"{daemon.url}/report?hold",))
    waits.start()
    command = [sys.executable, "-m", "flaskd_ctl", "--name", daemon.name, "top", "--interval", "0.2"]
    try:
        with Terminal(command, socket=os.path.join(tmp_path, "tmux")) as terminal:
            terminal.until("busy 1/4")
            terminal.press("3")
            terminal.until_so(
                lambda lines: any(
                    "P99▼" in head and first.startswith("│ report")
                    for head, first in itertools.pairwise(lines)
                ),
                "the slowest endpoint below the heads of the table",
            )
            terminal.press("Enter")
            terminal.until("held.wait(120)")
            terminal.press("d")
            terminal.until("Take shop out of rotation?")
            assert ready(daemon)
            terminal.press("y")
            terminal.until("draining")
            assert not ready(daemon)
    finally:
        visit(f"{daemon.url}/free")
        waits.join(60)
