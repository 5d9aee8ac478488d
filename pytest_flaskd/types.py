"""The types of the fixtures, for annotations: `def test_front(flaskd_server: StartServer)`."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

    from pytest_flaskd.daemon import Daemon
    from pytest_flaskd.server import Server


class StartServer(Protocol):
    """Serves an application in the test's process."""

    def __call__(
        self, app: WSGIApplication | Callable[[], WSGIApplication] | None = None, /, **settings: Any
    ) -> Server:
        """Return when it serves. `app` is an application, a factory without arguments, or None for the fixture `app`.

        `settings` are those of `flaskd.Server`; by default it listens at a free port of 127.0.0.1. Raises what `Server.start`
        raises.
        """


class StartDaemon(Protocol):
    """Runs `flaskd run` in a process of its own."""

    def __call__(
        self,
        app: str,
        /,
        *options: str,
        environ: Mapping[str, str] | None = None,
        directory: str | os.PathLike[str] | None = None,
        timeout: float = 30.0,
    ) -> Daemon:
        """Return when it serves. `app` and `options` are those of `flaskd run`; by default it listens at a free port.

        It runs in `directory` (default: pytest's root directory) with `environ` added to the environment. Raises NotServing,
        with its output, if it ends, or does not serve within `timeout` seconds.
        """
