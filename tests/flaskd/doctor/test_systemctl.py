"""What a real systemd tells of a unit is what is read from the unit's file."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from flaskd.doctor import unit
from flaskd.settings.sources import resolve
from tests.flaskd.doctor.examples import MAX_UNREAD, SIGNALLED, UNIT
from tests.support.booted import Machine
from tests.support.needs import requires

pytestmark = [pytest.mark.live, pytest.mark.systemd, requires("root", "systemd")]

CROWDED = """\
[Service]
Type=exec
Environment=FLASKD_GRACE=25 "FLASKD_PRE_STOP=shop:good bye"
Environment=FLASKD_HEAD_TIMEOUT=7
EnvironmentFile=-/etc/default/shop
KillSignal=SIGINT
KillMode=process
TimeoutSec=1min 20s
TimeoutStopSec=20
ExecStart=/bin/sleep 1000
ExecStart=
ExecStart=/usr/bin/flaskd run shop:app --linger 1 --name=%N
ExecReload=/bin/kill -HUP $MAINPID
ExecStop=-/usr/bin/flaskd_ctl shutdown --lame-duck 3
"""

ENDLESS = (
    "[Service]\nType=notify\nTimeoutStopSec=infinity\nTimeoutStartSec=0\nExecStart=/usr/bin/flaskd run a:b\n"
)
UNITS = {
    "plain": UNIT,
    "signalled": SIGNALLED,
    "held": MAX_UNREAD.replace("shop.socket", "held.socket"),
    "crowded": CROWDED,
    "endless": ENDLESS,
}
SOCKET = "[Socket]\nListenStream=127.0.0.1:8000\n"


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """Boot with all units in place."""
    directory = tmp_path_factory.mktemp("units")
    for name, text in UNITS.items():
        (directory / f"doctor-{name}.service").write_text(text.replace("held.socket", "doctor-held.socket"))
    (directory / "doctor-held.socket").write_text(SOCKET)
    with Machine([(str(directory), "/srv/units")]) as booted:
        booted.run("sh", "-c", "cp /srv/units/* /run/systemd/system/")
        booted.run("systemctl", "daemon-reload")
        yield booted


@pytest.mark.parametrize("name", UNITS)
def test_both_ways_to_look_at_a_unit_see_the_same(
    name: str, machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever properties systemd renames, adds up or counts in other units."""
    local = resolve({}, environ={}, directory="/dev/null")
    where = f"doctor-{name}.service"
    text = UNITS[name].replace("held.socket", "doctor-held.socket").replace("%N", f"doctor-{name}")
    inside = subprocess.run

    def run(command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
        return inside(["nsenter", "--target", str(machine.pid), "--all", *command], **options)  # type: ignore[call-overload, no-any-return]

    monkeypatch.setattr(subprocess, "run", run)
    unseen: list[str] = []
    asked = unit.ask(where, local=local, unseen=unseen)
    read = unit.read_file(where, text, local=local, unseen=[])

    for field in asked.__struct_fields__:
        if field != "reload":  # systemd shows where it found the program
            assert getattr(asked, field) == getattr(read, field), field
    assert any("WatchdogSec" in sentence for sentence in unseen)  # none of them runs
    assert ("kill" in asked.reload) == ("kill" in read.reload)
