"""`flaskd dev` in a terminal: request lines in colour, `breakpoint()`, and Ctrl-C."""

import http.client
import re
import sys
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.daemons import PATIENCE
from tests.support.terminal import CTRL_C, Terminal

pytestmark = pytest.mark.live

APP = """
import logging
from flask import Flask

app = Flask(__name__)

@app.get("/")
def index():
    print("asked")
    return "hello"

@app.get("/debug")
def debug():
    treasure = 6 * 7
    breakpoint()
    return f"found {treasure}"
"""


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as pool:
        yield pool


def dev(directory: Path, *args: str, environ: dict[str, str] | None = None) -> Terminal:
    (directory / "shop.py").write_text(APP)
    command = [sys.executable, "-m", "flaskd", "dev", "shop:app", "--bind", "127.0.0.1:0", *args]
    return Terminal(command, cwd=directory, environ={"NO_COLOR": "", "TERM": "xterm", **(environ or {})})


def serving(terminal: Terminal) -> str:
    """Wait until it serves; return its URL."""
    found = re.search(r"http://[0-9.:]+", terminal.wait_for_next("  control "))
    assert found is not None
    return found[0]


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=PATIENCE) as response:
        return str(response.read().decode())


def test_request_lines_have_the_colour_of_their_status(tmp_path: Path) -> None:
    """With the status and the time; what the application prints stands there as it is."""
    with dev(tmp_path) as terminal:
        url = serving(terminal)
        get(url)
        line = terminal.wait_for_next("\x1b[0m")
        assert re.search(r"\x1b\[32m\d\d:\d\d:\d\d GET / 200 [\d.]+ ms\x1b\[0m", line)
        assert re.search(r"^asked\r?$", terminal.text(), re.MULTILINE)
        with pytest.raises(urllib.error.HTTPError, match="404"):
            get(f"{url}/missing")
        assert "\x1b[33m" in terminal.wait_for_next("GET /missing 404")
        terminal.type(CTRL_C)
        assert terminal.wait() == 0
        assert "nothing lost" in terminal.text()


def test_no_color_is_respected(tmp_path: Path) -> None:
    """https://no-color.org"""
    with dev(tmp_path, environ={"NO_COLOR": "1"}) as terminal:
        get(serving(terminal))
        assert "\x1b[3" not in terminal.wait_for_next("GET / 200")


def test_breakpoint_gets_the_terminal(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    """One can look around for as long as one likes, others are served meanwhile, and a save does not end it."""
    with dev(tmp_path, "--worker-linger", "0.1") as terminal:
        url = serving(terminal)
        asked = pool.submit(get, f"{url}/debug")
        terminal.wait_for_next("(Pdb) ")
        terminal.type(b"p treasure, __import__('sys').stdin.isatty()\n")
        terminal.wait_for_next("(42, True)")
        assert get(url) == "hello"

        (tmp_path / "shop.py").write_text(APP.replace("hello", "new"))
        terminal.wait_for_next("reloaded in")
        assert get(url) == "new"
        terminal.type(b"treasure = 43\n")
        terminal.wait_for_next("(Pdb) ")
        terminal.type(b"continue\n")
        assert asked.result(PATIENCE) == "found 43"
        terminal.type(CTRL_C)
        assert terminal.wait() == 0


def test_ctrl_c_twice_ends_a_debugger_and_leaves_the_terminal_as_it_was(
    tmp_path: Path, pool: ThreadPoolExecutor
) -> None:
    """The first says what it waits for. The debugger edits its line with the terminal in a mode without echo."""
    with dev(tmp_path, "--grace", "60") as terminal:
        url = serving(terminal)
        before = terminal.settings()
        asked: Future[str] = pool.submit(get, f"{url}/debug")
        terminal.wait_for_next("(Pdb) ")
        until = time.monotonic() + PATIENCE
        while terminal.settings() == before:  # readline(3) changes them after it has written the prompt
            assert time.monotonic() < until
            time.sleep(0.01)
        terminal.type(CTRL_C)
        terminal.wait_for_next("waits for 1 request")
        began = time.monotonic()
        terminal.type(CTRL_C)
        assert terminal.wait() == 6
        assert time.monotonic() - began < 30
        assert terminal.settings() == before
        assert isinstance(asked.exception(PATIENCE), OSError | http.client.HTTPException)
