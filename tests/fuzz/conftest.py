"""A real daemon to be attacked, and what it was like before."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.fuzz.bystanders import descriptors, memory, wait_for_descriptors
from tests.fuzz.talk import Plain, dealer
from tests.support.daemons import Daemon, StartDaemon

APP = "from flask import Flask\napp = Flask(__name__)\n@app.get('/')\ndef front():\n    return 'hello\\n'\n"

GROWTH = 64
"""MiB by which the daemon's memory may grow in one test: what libzmq's and malloc's pools keep (49 were seen), with room to
spare."""


class Target(NamedTuple):
    """A daemon with its descriptors and its memory (MiB) before anything was done to it."""

    daemon: Daemon
    descriptors: int
    memory: int

    def check_unharmed(self) -> None:
        """Hold it to what it was: nothing is left open, memory is bounded, nothing in its log is a traceback."""
        wait_for_descriptors(self.daemon, self.descriptors)
        growth = memory(self.daemon) - self.memory
        print(f"memory grew by {growth} MiB")
        assert growth < GROWTH
        assert "Traceback" not in self.daemon.output()
        with Plain(self.daemon.place.sock) as plain:
            assert plain.ask("status")["result"]["state"] == "running"


@pytest.fixture
def target(start_daemon: StartDaemon, tmp_path: Path) -> Iterator[Target]:
    """A daemon that has served each transport once, so that what it opens for good is open."""
    (tmp_path / "shop.py").write_text(APP)
    daemon = start_daemon("shop:app", "--engine", "werkzeug")
    with dealer(daemon.place.zmq) as sock:
        sock.send(b'{"jsonrpc":"2.0","id":1,"method":"status"}')
        sock.recv()
        with Plain(daemon.place.sock) as plain:
            plain.ask("status")
            most = descriptors(daemon)
    yield Target(
        daemon, most - 1, memory(daemon)
    )  # the dealer's, which is gone; ours is counted when we look
    assert daemon.process.poll() is None, daemon.output()
