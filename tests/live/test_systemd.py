"""The unit of docs/systemd.md under a real systemd: nothing in it is changed for the test."""

import contextlib
import http.client
import json
import os
import re
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.daemons import PATIENCE
from tests.live.booted import Machine
from tests.needs import requires

pytestmark = [pytest.mark.live, pytest.mark.systemd, requires("root", "systemd")]

PROJECT = Path(__file__).parents[2]
UNIT = "/etc/systemd/system/shop.service"
CONTROL = "/srv/shop/.venv/bin/flaskd_ctl"


class Connection(http.client.HTTPConnection):
    """An HTTP connection to the machine's own loopback."""

    def __init__(self, machine: Machine) -> None:
        super().__init__("127.0.0.1", 8000)
        self._machine = machine

    def connect(self) -> None:
        """Open the socket in the machine's network namespace."""
        self.sock = self._machine.connect(self.host, self.port)


class Shop:
    """The unit `shop` in the machine, and ways to look at it."""

    def __init__(self, machine: Machine, site: Path) -> None:
        self.machine = machine
        self.site = site

    def systemctl(self, *args: str, expect: int = 0) -> str:
        return self.machine.run("systemctl", *args, expect=expect)

    def property(self, name: str) -> str:
        return self.systemctl("show", "--value", "--property", name, "shop").strip()

    def control(self, *args: str, expect: int = 0) -> str:
        return self.machine.run(CONTROL, "--name", "shop", *args, expect=expect)

    def processes(self) -> list[str]:
        """Every process of the unit's cgroup."""
        path = os.path.join(self.machine.cgroup, "system.slice", "shop.service", "cgroup.procs")
        with contextlib.suppress(FileNotFoundError), open(path, encoding="ascii") as processes:
            return processes.read().split()
        return []

    def get(self, path: str) -> tuple[int, bytes]:
        with contextlib.closing(Connection(self.machine)) as connection:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read()

    @contextlib.contextmanager
    def held(self) -> Iterator[http.client.HTTPResponse]:
        """A request that is in the application, its answer begun; `release` lets it go on."""
        with contextlib.closing(Connection(self.machine)) as connection:
            connection.request("GET", "/held")
            response = connection.getresponse()
            assert (response.status, response.readline()) == (200, b"begun\n")
            yield response

    def release(self) -> None:
        """Open the gate on which the held request waits."""
        with open(self.site / "gate", "wb"):
            pass

    @contextlib.contextmanager
    def events(self) -> Iterator[Iterator[dict[str, Any]]]:
        """What the instance tells a subscriber of its plain socket."""
        with socket.socket(socket.AF_UNIX) as peer:
            peer.settimeout(PATIENCE)
            peer.connect(str(self.machine.root / "run/flaskd/shop/sock"))
            peer.sendall(b'{"jsonrpc":"2.0","id":1,"method":"events"}\n')
            with peer.makefile("rb") as lines:
                messages = map(json.loads, lines)
                assert "result" in next(messages)
                yield (message["params"]["event"] for message in messages)

    def drop_in(self, text: str) -> None:
        """Add `text` to the unit, as an administrator does."""
        directory = self.machine.root / f"{UNIT[1:]}.d"
        directory.mkdir()
        (directory / "test.conf").write_text(text)
        self.systemctl("daemon-reload")


@pytest.fixture(scope="module")
def machine() -> Iterator[tuple[Machine, Path]]:
    """Boot once for all tests here; /srv/shop holds the application and, as .venv, this environment."""
    site = Path(tempfile.mkdtemp(prefix="fd-shop-", dir="/tmp"))
    site.chmod(0o755)
    shutil.copy(Path(__file__).with_name("shop.py"), site)
    (site / ".venv").mkdir()
    os.mkfifo(site / "gate")
    (site / "gate").chmod(0o644)
    same = [(path, path) for path in (str(PROJECT), sys.prefix)]
    binds = [*same, (str(site), "/srv/shop"), (sys.prefix, "/srv/shop/.venv")]
    try:
        with Machine(binds, open_for_all=(sys.base_prefix,)) as booted:
            (booted.root / UNIT[1:]).write_text(unit())
            yield booted, site
    finally:
        shutil.rmtree(site)


@pytest.fixture
def shop(machine: tuple[Machine, Path]) -> Iterator[Shop]:
    """The unit as it is in the docs, not running; afterwards stopped, its drop-ins removed."""
    shop = Shop(*machine)
    shop.systemctl("daemon-reload")
    yield shop
    shop.machine.run("sh", "-c", "systemctl kill --signal KILL shop || :")  # where it still runs
    shop.systemctl("stop", "shop")
    print(shop.machine.run("journalctl", "--no-pager", "--unit", "shop", "--output", "cat"))
    shutil.rmtree(shop.machine.root / f"{UNIT[1:]}.d", ignore_errors=True)
    shop.systemctl("reset-failed")


def unit() -> str:
    """The unit file, cut out of the page that explains it."""
    page = (PROJECT / "docs" / "systemd.md").read_text()
    (block,) = re.findall(r"^```ini\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    return str(block)


def test_unit_has_no_mistake_that_systemd_can_see(shop: Shop) -> None:
    """`systemd-analyze verify` exits 0 on unknown keys: what counts is that it says nothing."""
    complaints = shop.machine.run("systemd-analyze", "verify", "--man=no", UNIT)

    assert [line for line in complaints.splitlines() if "shop" in line] == []


def test_start_returns_when_the_first_request_is_answered(shop: Shop) -> None:
    """READY=1 means that it serves, not that a process exists."""
    shop.systemctl("start", "shop")

    status, body = shop.get("/")

    assert status == 200
    assert int(body) > 1
    assert shop.property("ActiveState") == "active"


def test_status_text_tells_what_is_served(shop: Shop) -> None:
    """`systemctl status` shows what the daemon says of itself."""
    shop.systemctl("start", "shop")

    assert "running" in shop.property("StatusText")


def test_runtime_directory_is_the_place_of_the_instance(shop: Shop) -> None:
    """RuntimeDirectory=flaskd/%N is the instance's directory itself, private, and found by everybody."""
    shop.systemctl("start", "shop")

    place = shop.machine.root / "run/flaskd/shop"
    assert {entry.name for entry in place.iterdir()} >= {"lock", "zmq", "sock", "instance.json"}
    assert place.stat().st_mode & 0o777 == 0o700
    instance = json.loads((place / "instance.json").read_text())
    assert str(instance["pid"]) == shop.property("MainPID")
    assert "shop" in shop.machine.run(CONTROL, "list")


def test_reload_replaces_the_workers_and_fails_where_the_new_ones_cannot_start(shop: Shop) -> None:
    """The main process stays, the unit stays active, and requests are answered by whoever can."""
    shop.systemctl("start", "shop")
    main, worker = shop.property("MainPID"), shop.get("/")[1]

    shop.systemctl("reload", "shop")
    reloaded = shop.get("/")[1]
    source = shop.site / "shop.py"
    good = source.read_text()
    source.write_text(good + "\nraise RuntimeError('the database is down')\n")
    try:
        shop.systemctl("reload", "shop", expect=1)
    finally:
        source.write_text(good)

    assert reloaded != worker
    assert shop.get("/")[1] == reloaded
    assert shop.property("ActiveState") == "active"
    assert shop.property("MainPID") == main


def test_stop_answers_the_slow_request_in_full(shop: Shop) -> None:
    """`systemctl stop` waits for the request in flight, and leaves no process behind."""
    shop.systemctl("start", "shop")

    with shop.held() as response, shop.events() as events:
        stop = shop.machine.popen("systemctl", "stop", "shop")
        with stop:
            assert any(event.get("state") == "stopping" for event in events)
            assert shop.property("ActiveState") == "deactivating"
            assert stop.poll() is None

            shop.release()

            assert response.read() == b"finished\n"
            assert stop.wait(PATIENCE) == 0
    assert shop.property("ActiveState") == "inactive"
    assert shop.property("Result") == "success"
    assert shop.processes() == []
    assert not (shop.machine.root / "run/flaskd/shop").exists()


def test_stop_command_returns_only_when_the_process_is_gone(shop: Shop) -> None:
    """A second ExecStop= runs after the first: by then the main process has ended."""
    look = (
        "ExecStop=+/bin/sh -c 'grep -s State /proc/${MAINPID:-gone}/status >/run/left; touch /run/looked'\n"
    )
    shop.drop_in(f"[Service]\n{look}")
    shop.systemctl("start", "shop")

    shop.systemctl("stop", "shop")

    assert (shop.machine.root / "run/looked").exists()
    left = (shop.machine.root / "run/left").read_text()
    assert left == "" or "zombie" in left  # systemd itself is the one that buries it


def test_stop_that_cuts_a_request_is_seen_as_failed(shop: Shop) -> None:
    """Exit 6 reaches whoever looks at the unit."""
    stop = f"{CONTROL} --name %N shutdown --missing-ok --grace 0"
    shop.drop_in(f"[Service]\nExecStop=\nExecStop={stop}\n")
    shop.systemctl("start", "shop")

    with shop.held():
        shop.systemctl("stop", "shop")

    assert "status=6" in shop.property("ExecStop")
    assert shop.property("Result") == "exit-code"
    assert shop.processes() == []


def test_stop_of_a_service_that_died_is_no_failure_of_the_stop(shop: Shop) -> None:
    """After `kill -9` nothing is there to be stopped: fine with --missing-ok, else 3."""
    shop.drop_in("[Service]\nRestart=no\nRuntimeDirectoryPreserve=yes\n")
    shop.systemctl("start", "shop")
    shop.systemctl("kill", "--signal", "KILL", "--kill-whom", "main", "shop")

    shop.systemctl("stop", "shop")

    assert "status=0" in shop.property("ExecStop")
    assert shop.property("Result") == "signal"
    assert (shop.machine.root / "run/flaskd/shop/sock").exists()  # stale, and nobody is fooled by it
    shop.control("shutdown", expect=3)
    shop.control("shutdown", "--missing-ok")


def test_killed_service_starts_again_over_its_stale_place(shop: Shop) -> None:
    """What `kill -9` leaves behind is cleaned up without being asked."""
    shop.drop_in("[Service]\nRestart=no\nRuntimeDirectoryPreserve=yes\n")
    shop.systemctl("start", "shop")
    shop.systemctl("kill", "--signal", "KILL", "--kill-whom", "main", "shop")
    shop.systemctl("stop", "shop")

    shop.systemctl("start", "shop")

    assert shop.get("/")[0] == 200


def test_start_of_an_application_that_does_not_import_fails_at_once(shop: Shop) -> None:
    """`systemctl start` tells that nothing serves."""
    flaskd = CONTROL.removesuffix("_ctl")
    shop.drop_in(f"[Service]\nRestart=no\nExecStart=\nExecStart={flaskd} run nowhere:app --name %N\n")

    shop.systemctl("start", "shop", expect=1)

    assert shop.property("Result") == "exit-code"
    assert shop.processes() == []
