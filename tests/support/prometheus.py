"""A real Prometheus (Debian's) that scrapes one instance; ended by its own pid."""

import json
import os
import re
import select
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support.daemons import PATIENCE

DEPLOY = Path(__file__).parents[2] / "docs" / "deploy" / "prometheus"
LISTENING = re.compile(r'msg="Listening on" address=(\S+)')
READY = "Server is ready to receive web requests"


class Prometheus:
    """Scrapes `target` (HOST:PORT) each second with the configuration and the rules of the docs."""

    def __init__(self, target: str, directory: Path) -> None:
        config = (DEPLOY / "prometheus.yml").read_text()
        config = config.replace("15s", "1s").replace("127.0.0.1:8081", target)
        (directory / "prometheus.yml").write_text(config)
        (directory / "flaskd.rules.yml").write_text((DEPLOY / "flaskd.rules.yml").read_text())
        self._directory = directory
        self._log = ""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={self._directory}/prometheus.yml",
                f"--storage.tsdb.path={self._directory}/data",
                "--web.listen-address=127.0.0.1:0",
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        try:
            self._address = self._find_address()
            self.wait('up{job="flaskd"}', lambda values: values == [1.0])
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        try:
            self._process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()

    def get(self, path: str, **params: str) -> Any:
        """Return the data that the API has at `path`; fail if it has an error."""
        url = f"http://{self._address}/api/v1/{path}?{urllib.parse.urlencode(params)}"
        with urllib.request.urlopen(url, timeout=PATIENCE) as response:
            answer = json.load(response)
        assert answer["status"] == "success", answer
        return answer["data"]

    def query(self, expression: str) -> list[float]:
        """Return the values of an expression now."""
        return [float(each["value"][1]) for each in self.get("query", query=expression)["result"]]

    def wait(self, expression: str, wanted: Callable[[list[float]], bool]) -> list[float]:
        """Wait until an expression has the values that are wanted, and return them."""
        until = time.monotonic() + PATIENCE
        while not wanted(values := self.query(expression)):
            assert time.monotonic() < until, f"{expression} is {values}"
            select.select([], [], [], 0.2)
        return values

    def _find_address(self) -> str:
        assert self._process.stderr is not None
        until = time.monotonic() + PATIENCE
        while (found := LISTENING.search(self._log)) is None or READY not in self._log:
            # Not readline: what it has buffered, select does not see.
            ready, _, _ = select.select([self._process.stderr], [], [], max(0.0, until - time.monotonic()))
            data = os.read(self._process.stderr.fileno(), 65536) if ready else b""
            assert data, f"Prometheus does not listen:\n{self._log}"
            self._log += data.decode()
        return found[1]
