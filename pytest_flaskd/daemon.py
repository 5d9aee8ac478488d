"""Run `flaskd run` in a process of its own."""

import contextlib
import itertools
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

import pytest

from flaskd.settings.schema import option, variable
from flaskd_ctl import Client
from flaskd_ctl.contract.endpoint import Place
from flaskd_ctl.contract.files import read_object
from flaskd_ctl.protocol import RequestsResult
from pytest_flaskd.places import private_places
from pytest_flaskd.ready import start_until_ready, written

STOP_TIME: Final = 10.0
"""Seconds that a daemon has to stop after the test, before it is killed."""

NOT_SHARED: Final = {"health": "", "agent": "", "log_file": "", "access_log_file": "", "audit_log": "off"}
"""What a flaskd.toml may name and only one instance can have: ports and files."""


class Daemon:
    """A running `flaskd run`."""

    def __init__(self, process: subprocess.Popen[bytes], place: Place, log: str) -> None:
        self.process: Final = process
        self._place = place
        self._log = log
        self._client: Client | None = None

    @property
    def name(self) -> str:
        """The instance's name."""
        return self._place.name

    @property
    def pid(self) -> int:
        """The process id of the supervisor."""
        return self.process.pid

    @property
    def listeners(self) -> list[str]:
        """The URLs that are served, with the real ports."""
        return [str(url) for url in read_object(self._place.instance_file).get("listeners") or []]

    @property
    def url(self) -> str:
        """The URL that is served, without a slash at its end; the first, if there are several."""
        return self.listeners[0]

    @property
    def client(self) -> Client:
        """A client of its control socket, which is closed after the test."""
        if self._client is None:
            self._client = Client(endpoint=f"unix://{self._place.sock}")
        return self._client

    @property
    def output(self) -> str:
        """What it has written to stdout and stderr so far."""
        return written(self._log)

    def requests(self) -> RequestsResult:
        """List the requests in flight, oldest first, as `flaskd.Server.requests` does."""
        return RequestsResult(requests=list(self.client.requests()))

    def close(self) -> None:
        """Stop it as SIGTERM does, or kill it if it does not stop within STOP_TIME. Harmless twice."""
        if self._client is not None:
            self._client.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_TIME)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


@contextlib.contextmanager
def daemons(request: pytest.FixtureRequest) -> Iterator[Callable[..., Daemon]]:
    """Give a function that starts daemons (see `types.StartDaemon`); all stop at the end.

    What they wrote is shown if the test fails.
    """
    numbers = itertools.count(1)
    with contextlib.ExitStack() as stack:
        places = stack.enter_context(private_places())

        def start(
            app: str,
            /,
            *options: str,
            environ: Mapping[str, str] | None = None,
            directory: str | os.PathLike[str] | None = None,
            timeout: float = 30.0,
        ) -> Daemon:
            number = next(numbers)
            name = _option(options, "--name") or f"{_plain(app)}-{number}"
            log = os.path.join(places.state_home, f"{number}.log")
            words = [app, *options, *([] if _option(options, "--name") else ["--name", name])]
            words += [] if _option(options, "--bind") else ["--bind", "127.0.0.1:0"]
            given = {word.partition("=")[0] for word in options}
            for setting, value in NOT_SHARED.items():
                if option(setting) not in given and variable(setting) not in (environ or {}):
                    words.append(f"{option(setting)}={value}")
            place = Place(os.path.join(places.runtime, name))
            process = start_until_ready(
                [sys.executable, "-m", "flaskd", "run", *words],
                place,
                log=log,
                directory=directory or request.config.rootpath,
                environ={**places.environ(os.environ), **(environ or {})},
                timeout=timeout,
            )
            daemon = Daemon(process, place, log)
            stack.callback(_end, daemon)
            return daemon

        yield start


def _end(daemon: Daemon) -> None:
    daemon.close()
    sys.stdout.write(
        f"--- flaskd run, {daemon.name}, exit code {daemon.process.returncode}:\n{daemon.output}"
    )


def _option(words: Sequence[str], wanted: str) -> str:
    """Return the value of an option; "" if it is not given."""
    for number, word in enumerate(words):
        if word == wanted:
            return next(iter(words[number + 1 : number + 2]), "")
        if word.startswith(f"{wanted}="):
            return word.removeprefix(f"{wanted}=")
    return ""


def _plain(app: str) -> str:
    """Return a name of an application that can be part of an instance's name."""
    module = app.partition(":")[0].removesuffix(".py").rpartition("/")[2]
    return re.sub(r"[^A-Za-z0-9]+", "-", module).strip("-")[:40] or "app"
