"""Scripted daemons, and the command line run in this process."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import NamedTuple, Protocol

import pytest

from flaskd_ctl.cli import main
from flaskd_ctl.contract.endpoint import Place
from tests.flaskd_ctl.fake import FAKES, Fake


class Outcome(NamedTuple):
    """What one run of the command line gave."""

    code: int
    out: str
    err: str


Ctl = Callable[..., Outcome]


class StartFake(Protocol):
    """Start a scripted daemon, on the plain stream unless `scheme` says ipc; it ends with the test."""

    def __call__(self, name: str = "shop", *, scheme: str = "unix") -> Fake: ...


@pytest.fixture
def place(runtime_dir: str) -> Place:
    return Place(os.path.join(runtime_dir, "shop"))


@pytest.fixture
def start_fake(runtime_dir: str) -> Iterator[StartFake]:
    with ExitStack() as fakes:

        def start(name: str = "shop", *, scheme: str = "unix") -> Fake:
            return fakes.enter_context(FAKES[scheme](Place(os.path.join(runtime_dir, name))))

        yield start


@pytest.fixture
def fake(start_fake: StartFake) -> Fake:
    """One daemon called shop, on the plain stream."""
    return start_fake()


@pytest.fixture(params=["unix", "ipc"])
def either(request: pytest.FixtureRequest, start_fake: StartFake) -> Fake:
    """One daemon called shop, on each transport in turn."""
    return start_fake(scheme=request.param)


@pytest.fixture
def ctl(capsys: pytest.CaptureFixture[str]) -> Ctl:
    """Run `flaskd_ctl` with these arguments, in this process."""

    def run(*arguments: str) -> Outcome:
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit_:
            main.main(arguments)
        assert isinstance(exit_.value.code, int)
        return Outcome(exit_.value.code, *capsys.readouterr())

    return run
