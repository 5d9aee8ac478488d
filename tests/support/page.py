"""`flaskd_ctl web` as a process, and a browser's cookie jar in front of it."""

import contextlib
import http.client
import json
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import quote

import pytest

from tests.support.daemons import PATIENCE


class Reply(NamedTuple):
    """A response with JSON."""

    status: int
    json: Any


class Page:
    """A running `flaskd_ctl web`: its `url` with the token, and requests as the page makes them."""

    def __init__(self, process: subprocess.Popen[str], url: str) -> None:
        self.process = process
        self.url = url
        self.base = url.partition("/?token=")[0]
        self._browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())

    def enter(self) -> None:
        """Open the URL."""
        self.get("/", url=self.url).close()

    def get(self, path: str, *, url: str = "") -> http.client.HTTPResponse:
        """Open a path."""
        response: http.client.HTTPResponse = self._browser.open(url or f"{self.base}{path}", timeout=PATIENCE)
        return response

    def json(self, path: str) -> Any:
        """Return what a path has as JSON."""
        with self.get(path) as response:
            return json.load(response)

    def look(self, name: str) -> dict[str, Any]:
        """Return the first look of a new stream at an instance."""
        with self.get(f"/api/instances/{quote(name, safe='')}/live") as stream:
            while line := stream.readline():
                if line == b"event: look\n":
                    found: dict[str, Any] = json.loads(stream.readline().removeprefix(b"data: "))
                    if found["answers"] and not found["away"]:
                        return found
        raise EOFError("the stream has ended")

    def call(self, name: str, method: str, **params: Any) -> Reply:
        """Call a command of the instance."""
        headers = {"Content-Type": "application/json", "Origin": self.base}
        body = json.dumps({"method": method, "params": params}).encode()
        request = urllib.request.Request(
            f"{self.base}/api/instances/{quote(name, safe='')}/call", body, headers
        )
        try:
            with self._browser.open(request, timeout=PATIENCE) as response:
                return Reply(response.status, json.load(response))
        except urllib.error.HTTPError as error:
            with error:
                return Reply(error.code, json.load(error))

    def end(self, by: int = signal.SIGTERM) -> str:
        """End it as systemd does, or with SIGINT as Ctrl-C does; return what it has complained of."""
        self.process.send_signal(by)
        _, complaints = self.process.communicate(timeout=PATIENCE)
        assert self.process.returncode == 0, complaints
        return complaints


@contextlib.contextmanager
def web(*arguments: str) -> Iterator[Page]:
    """Run `flaskd_ctl` with `web`; killed at the end if it still runs."""
    for needed in ("starlette", "uvicorn"):
        pytest.importorskip(needed)
    command = [sys.executable, "-m", "flaskd_ctl", *arguments]
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline().strip()
            assert line, f"flaskd_ctl web ended with {process.wait(PATIENCE)}"
            yield Page(process, json.loads(line)["url"] if line.startswith("{") else line)
        finally:
            if process.poll() is None:
                process.kill()
