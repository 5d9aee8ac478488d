"""The fixtures. Each module that needs flaskd is imported by the fixture that needs it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_flaskd.types import StartDaemon, StartServer


@pytest.fixture
def flaskd_server(request: pytest.FixtureRequest) -> Iterator[StartServer]:
    """Serve an application in this process: `flaskd_server(app).url`. Stops after the test."""
    yield from _servers(request)


@pytest.fixture(scope="module")
def flaskd_server_module(request: pytest.FixtureRequest) -> Iterator[StartServer]:
    """Serve an application in this process. Stops after the tests of the module."""
    yield from _servers(request)


@pytest.fixture(scope="session")
def flaskd_server_session(request: pytest.FixtureRequest) -> Iterator[StartServer]:
    """Serve an application in this process. Stops after all tests."""
    yield from _servers(request)


@pytest.fixture
def flaskd_daemon(request: pytest.FixtureRequest) -> Iterator[StartDaemon]:
    """Run `flaskd run` in a process: `flaskd_daemon("shop:app").url`. Stops after the test."""
    yield from _daemons(request)


@pytest.fixture(scope="module")
def flaskd_daemon_module(request: pytest.FixtureRequest) -> Iterator[StartDaemon]:
    """Run `flaskd run` in a process. Stops after the tests of the module."""
    yield from _daemons(request)


@pytest.fixture(scope="session")
def flaskd_daemon_session(request: pytest.FixtureRequest) -> Iterator[StartDaemon]:
    """Run `flaskd run` in a process. Stops after all tests."""
    yield from _daemons(request)


def _servers(request: pytest.FixtureRequest) -> Iterator[StartServer]:
    from pytest_flaskd.server import servers

    with servers(request) as start:
        yield start


def _daemons(request: pytest.FixtureRequest) -> Iterator[StartDaemon]:
    from pytest_flaskd.daemon import daemons

    with daemons(request) as start:
        yield start
