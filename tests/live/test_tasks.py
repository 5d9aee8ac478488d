"""Commands that look into the workers of a real daemon, and what becomes of them where a worker cannot reply."""

import os

import pytest

from flaskd import Server
from flaskd_ctl import Client
from flaskd_ctl.errors import NotFound, WrongState
from tests.support import shop
from tests.support.daemons import Daemon, StartDaemon
from tests.support.operating import client, ctl

pytestmark = pytest.mark.live


@pytest.fixture
def daemon(start_daemon: StartDaemon) -> Daemon:
    return start_daemon("tests.support.shop:app", "--workers", "2")


def test_each_worker_collects_its_garbage_and_says_what_it_freed(daemon: Daemon) -> None:
    """Or only the one that is asked."""
    with client(daemon) as running:
        pids = [worker.pid for worker in running.workers()]

        every, one = running.gc(), running.gc(worker=2)

        assert [each.pid for each in every] == pids
        assert [each.worker for each in one] == [2]
        for each in [*every, *one]:
            assert not each.error
            assert each.tracked > 1000
            assert each.took > 0
        with pytest.raises(NotFound, match="there is no worker 9"):
            running.gc(worker=9)


def test_the_command_shows_a_row_for_each_worker(daemon: Daemon) -> None:
    """A worker that is not there is a failure with the next step."""
    done, refused = ctl(daemon.name, "gc"), ctl(daemon.name, "gc", "--worker", "9")

    assert (done.returncode, refused.returncode) == (0, 1)
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["WORKER", "1", "2"]
    assert "there is no worker 9. See `flaskd_ctl workers`" in refused.stderr


def test_a_server_in_a_program_is_one_process(runtime_dir: str) -> None:
    """It has no workers to choose from."""
    with Server(shop.app, bind="127.0.0.1:0", name="inside"), Client("inside") as inside:
        (only,) = inside.gc()

        assert (only.worker, only.pid, only.error) == (0, os.getpid(), "")
        with pytest.raises(WrongState, match="inside serves in one process, which has no workers"):
            inside.gc(worker=1)
