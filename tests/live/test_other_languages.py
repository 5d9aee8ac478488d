"""What docs/other-languages.md shows is run as it is printed, against a real daemon."""

import http.client
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.support.daemons import PATIENCE, Daemon, StartDaemon
from tests.support.keyed import Keyring
from tests.support.needs import requires

pytestmark = pytest.mark.live

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs" / "other-languages.md"
SHOP = str(TESTS / "support" / "shop.py") + ":app"
ZEROMQ = "zeromq@6"


@pytest.fixture
def shop(start_daemon: StartDaemon, tmp_path: Path) -> Daemon:
    """A running shop whose slow request waits for `release`."""
    os.mkfifo(tmp_path / "gate")
    return start_daemon(SHOP, environ={"SHOP_GATE": str(tmp_path / "gate")})


@pytest.fixture
def node(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A directory with the page's scripts and npm's zeromq, which is fetched once and kept in pytest's cache."""
    assert request.config.cache
    packages = request.config.cache.mkdir("npm")
    if not (packages / "node_modules" / "zeromq").exists():
        install = [
            "npm",
            "install",
            "--no-audit",
            "--no-fund",
            "--no-save",
            "--prefix",
            str(packages),
            ZEROMQ,
        ]
        done = subprocess.run(install, capture_output=True, text=True, timeout=100)
        assert done.returncode == 0, done.stderr
    (tmp_path / "node_modules").symlink_to(packages / "node_modules")
    for script in blocks("js"):
        name = script.splitlines()[0].removeprefix("// ")
        (tmp_path / name).write_text(script)
    return tmp_path


def blocks(language: str) -> list[str]:
    """The code of one language on the page."""
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)


def zmq_endpoint(daemon: Daemon) -> str:
    return next(str(url) for url in daemon.instance["endpoints"] if url.startswith("ipc://"))


def run_node(directory: Path, script: str, *args: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        ["node", script, *args],
        cwd=directory,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
    )


@contextmanager
def held(daemon: Daemon) -> Iterator[http.client.HTTPResponse]:
    """A request that is in the application, its answer begun."""
    with closing(http.client.HTTPConnection(*daemon.address, timeout=PATIENCE)) as connection:
        connection.request("GET", "/held")
        response = connection.getresponse()
        assert response.readline() == b"begun\n"
        yield response


def release(directory: Path) -> None:
    """Open the gate on which the held request waits."""
    with open(directory / "gate", "wb"):
        pass


@requires("socat")
def test_shell_asks_for_status_and_shuts_down(shop: Daemon, tmp_path: Path) -> None:
    """One line to a Unix socket is enough; nothing of ours is needed on that side."""
    (script,) = blocks("sh")
    script = script.replace("/run/flaskd/shop/sock", shop.place.sock)

    done = subprocess.run(["sh", "-eu", "-c", script], capture_output=True, text=True, timeout=PATIENCE)

    assert (done.returncode, done.stderr) == (0, "")
    status, shutdown = map(json.loads, done.stdout.splitlines())
    assert (status["id"], status["result"]["state"]) == (1, "running")
    assert (shutdown["id"], shutdown["result"]["clean"]) == (2, True)
    assert shop.wait() == 0


@requires("node", "npm")
def test_node_request_socket_asks_for_status(shop: Daemon, node: Path) -> None:
    """A REQ socket of another ZeroMQ binding gets its one answer."""
    with run_node(node, "status.mjs", zmq_endpoint(shop)) as script:
        output, _ = script.communicate(timeout=PATIENCE)

    assert (script.returncode, output) == (0, "shop is running, 0 in flight\n")


@requires("node", "npm")
def test_node_dealer_socket_follows_a_shutdown(shop: Daemon, node: Path) -> None:
    """A DEALER socket gets progress first, and the reply when the request in flight is answered in full."""
    with held(shop) as response:
        with run_node(node, "shutdown.mjs", zmq_endpoint(shop)) as script:
            assert script.stdout
            first = script.stdout.readline()
            assert "1 in flight" in first, first

            release(node)

            rest, _ = script.communicate(timeout=PATIENCE)
        assert response.read() == b"finished\n"

    assert (script.returncode, rest.splitlines()[-1]) == (0, "stopped, nothing was cut")
    assert shop.wait() == 0


@requires("node", "npm")
def test_node_is_told_why_it_is_refused(shop: Daemon, node: Path) -> None:
    """A REQ socket can have one answer: asking it for a stream is refused, by name."""
    shutil.copy(node / "status.mjs", node / "events.mjs")
    text = (node / "events.mjs").read_text().replace('method: "status"', 'method: "events"')
    (node / "events.mjs").write_text(text)

    with run_node(node, "events.mjs", zmq_endpoint(shop)) as script:
        output, _ = script.communicate(timeout=PATIENCE)

    assert script.returncode == 1
    assert "invalid_params: " in output


@requires("node", "npm")
def test_node_asks_over_tcp_with_keys(start_daemon: StartDaemon, node: Path, tmp_path: Path) -> None:
    """Another ZeroMQ binding reads the keys of ours and gets its answer; without a grant it is told what is missing."""
    (tmp_path / "keys").mkdir()
    keys = Keyring(tmp_path / "keys")
    anna, carol = keys.let_in("anna"), keys.let_in("carol")
    shop = start_daemon(SHOP, *keys.options, "--viewers", "key:anna")
    url = next(str(each) for each in shop.instance["endpoints"] if each.startswith("tcp://"))

    with run_node(node, "remote.mjs", url, anna, keys.server.public) as script:
        answered, _ = script.communicate(timeout=PATIENCE)
    with run_node(node, "remote.mjs", url, carol, keys.server.public) as refused:
        told, _ = refused.communicate(timeout=PATIENCE)

    assert (script.returncode, answered) == (0, "shop is running, 0 in flight\n")
    assert refused.returncode == 1
    assert "not_permitted: key carol has no role here; status needs viewer" in told
