"""Type=notify-reload, which systemd has from 253 on: its own wait for RELOADING=1 and READY=1, and where a failure is seen."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.backports import systemd_layer
from tests.support.booted import Machine
from tests.support.daemons import PATIENCE
from tests.support.extent import FULL
from tests.support.needs import requires
from tests.support.service import BIN, UNITS, Load, Service, machine_with_site

pytestmark = [pytest.mark.live, pytest.mark.systemd, requires("root", "systemd", "apt-get", "dpkg-deb")]

WAYS = {
    "command": ("", 20 if FULL else 6),
    "signal": ("[Service]\nExecReload=\nReloadSignal=SIGHUP\n", 10 if FULL else 4),
}
"""How a reload is ordered, and how often."""


@pytest.fixture(scope="module")
def machine(request: pytest.FixtureRequest) -> Iterator[tuple[Machine, Path]]:
    """Boot once for all tests here, with a newer systemd than the machine's if need be."""
    assert request.config.cache is not None
    layer = systemd_layer(request.config.cache.mkdir("systemd-backports"))
    with machine_with_site(layer=layer) as (booted, site):
        (version,) = re.findall(r"^systemd (\d+)", booted.run("systemctl", "--version"), re.MULTILINE)
        assert int(version) >= 253
        yield booted, site


@pytest.fixture
def shop(machine: tuple[Machine, Path]) -> Iterator[Service]:
    """The service with --notify-reload, running; afterwards it is gone."""
    shop = Service(*machine)
    shop.make("--notify-reload", "--socket", "--bind", "127.0.0.1:8000")
    yield shop
    shop.remove()


def test_unit_has_no_mistake_that_this_systemd_can_see(shop: Service) -> None:
    """Older ones do not know the type."""
    files = [f"{UNITS}/shop.{kind}" for kind in ("service", "socket")]

    assert shop.machine.run("systemd-analyze", "verify", "--man=no", *files) == ""


@pytest.mark.timeout(290)
@pytest.mark.parametrize("way", WAYS)
def test_reloads_under_load_lose_nothing_and_refuse_nobody(shop: Service, way: str) -> None:
    """Whether the unit's command reloads, or SIGHUP alone: systemd waits for the new workers, and nobody notices them."""
    shop.make("--notify-reload", "--socket", "--bind", "[::1]:8000", app="httpbin:app")
    drop_in, times = WAYS[way]
    shop.drop_in(drop_in)
    shop.systemctl("start", "shop.socket", "shop")

    with Load(shop.machine, "http://[::1]:8000", "--mode", "open", "--rate", "8") as load:
        for _ in range(times):
            shop.systemctl("reload", "shop")
        assert json.loads(shop.control("--json", "status"))["generation"] == times + 1
        report = load.end()

    print(report)
    assert (report["lost"], report["refused"], report["races"]) == (0, 0, 0)
    assert report["ok"] > times


def test_reload_that_fails_fails_where_the_unit_has_a_command(shop: Service) -> None:
    """The command's exit code decides; the signal is one that does nothing."""
    shop.systemctl("start", "shop.socket", "shop")
    worker = shop.get("/")[1]

    with shop.broken():
        shop.systemctl("reload", "shop", expect=1)

    assert shop.property("ActiveState") == "active"
    assert shop.get("/")[1] == worker
    assert "reload failed: worker 2 could not start" in shop.property("StatusText")
    assert len(json.loads(shop.control("--json", "incidents"))["incidents"]) == 1  # none for the signal


def test_reload_by_signal_is_waited_for_and_its_failure_is_only_told(shop: Service) -> None:
    """This type knows no failure: the text and the journal tell it (docs/decisions/0040)."""
    shop.drop_in(WAYS["signal"][0])
    shop.systemctl("start", "shop.socket", "shop")
    worker = shop.get("/")[1]

    with shop.broken():
        shop.systemctl("reload", "shop")
    assert shop.get("/")[1] == worker
    assert "reload failed: worker 2 could not start" in shop.property("StatusText")
    assert "the database is down" in shop.journal("--priority", "warning")

    shop.systemctl("reload", "shop")
    assert shop.get("/")[1] != worker
    assert shop.property("StatusText") == "running, 1 worker, 0 in flight"


def test_unit_is_reloading_while_new_workers_start_whoever_asked(shop: Service) -> None:
    """`flaskd_ctl reload` is seen by systemd too: units ordered after it wait, and `systemctl status` shows it."""
    shop.systemctl("start", "shop.socket", "shop")
    source = shop.site / "shop.py"
    good = source.read_text()
    source.write_text(good + "\nopen('/srv/shop/gate', 'rb').read()\n")  # loads when the gate is opened
    try:
        with shop.told("RELOADING") as told:
            reload = shop.machine.popen(f"{BIN}/flaskd_ctl", "--name", "shop", "reload")
            with reload:
                assert next(told) == "1"
                assert shop.property("ActiveState") == "reloading"
                shop.release()
                assert reload.wait(PATIENCE) == 0
        assert shop.property("ActiveState") == "active"
    finally:
        source.write_text(good)
