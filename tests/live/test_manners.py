"""What `flaskd run` says to the person at its terminal."""

import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from flaskd_ctl.contract.endpoint import Place
from tests.support.caller import Caller
from tests.support.daemons import StartDaemon, flaskd_run
from tests.support.gate import Gate
from tests.support.operating import ctl
from tests.support.terminal import CTRL_C, Terminal

pytestmark = pytest.mark.live

APP = f"{Path(__file__).parents[1] / 'support' / 'gated.py'}:app"


@pytest.fixture
def gate(runtime_dir: str) -> Iterator[Gate]:
    with Gate(os.path.join(runtime_dir, "gate")) as gate:
        yield gate


def run(place: Place, gate: Gate, target: str = APP, *args: str, cwd: Path | None = None) -> Terminal:
    return Terminal(flaskd_run(target, place, *args), environ={"GATE": gate.path}, cwd=cwd)


def test_ctrl_c_says_what_it_waits_for_and_a_second_one_cuts_it(runtime_dir: str, gate: Gate) -> None:
    """The first looks like a server that hangs, if it says nothing."""
    place = Place(os.path.join(runtime_dir, "shop"))
    with run(place, gate) as terminal:
        shown = terminal.wait_for("stop     flaskd_ctl --name shop shutdown, or Ctrl-C\n")
        assert "ask      flaskd_ctl --name shop status\n" in shown
        url = re.search(r"http +(http://\S+)", shown)
        assert url is not None
        with Caller(url[1]) as caller:
            caller.get("/held")
            gate.wait_for("held")
            terminal.type(CTRL_C)
            terminal.wait_for("shop waits for 1 request (the oldest: GET /held, ")
            terminal.wait_for("at most 30 s; to cut it, press Ctrl-C again\n")
            terminal.type(CTRL_C)
            terminal.wait_for("flaskd: cut GET /held after ")
        assert terminal.wait() == 6


def test_a_start_that_takes_long_says_what_it_waits_for(runtime_dir: str, gate: Gate, tmp_path: Path) -> None:
    """Which worker loads what, and how to see where it is."""
    (tmp_path / "slow.py").write_text("from gated import app, hold\nhold('import')\n")
    (tmp_path / "gated.py").write_text((Path(APP.partition(":")[0])).read_text())
    place = Place(os.path.join(runtime_dir, "shop"))
    with run(place, gate, "slow:app", cwd=tmp_path) as terminal:
        loading = gate.wait_for("import")
        terminal.wait_for(
            f"flaskd: shop is still starting after 2 s: worker 1 (pid {loading.pid}) loads slow:app; "
            "see where: flaskd_ctl --name shop stacks\n"
        )
        assert "hold" in ctl("shop", "stacks").stdout
        loading.let_go()
        terminal.wait_for("serving slow:app")
        terminal.type(CTRL_C)
        assert terminal.wait() == 0


def test_a_template_that_takes_long_to_load_is_named(runtime_dir: str, gate: Gate, tmp_path: Path) -> None:
    """With --preload no worker is there yet."""
    (tmp_path / "slow.py").write_text("from gated import app, hold\nhold('import')\n")
    (tmp_path / "gated.py").write_text((Path(APP.partition(":")[0])).read_text())
    place = Place(os.path.join(runtime_dir, "shop"))
    with run(place, gate, "slow:app", "--preload", cwd=tmp_path) as terminal:
        loading = gate.wait_for("import")
        terminal.wait_for(
            f"flaskd: shop is still starting after 2 s: the template (pid {loading.pid}) loads slow:app\n"
        )
        loading.let_go()
        terminal.wait_for("serving slow:app")
        terminal.type(CTRL_C)
        assert terminal.wait() == 0


def test_the_addresses_of_the_probes_are_told(start_daemon: StartDaemon, gate: Gate) -> None:
    """With port 0 nobody knows them before."""
    daemon = start_daemon(
        APP, "--health", "127.0.0.1:0", "--agent", "127.0.0.1:0", environ={"GATE": gate.path}
    )
    probes = {name: daemon.instance[name] for name in ("health", "agent")}
    assert json.loads(ctl("shop", "status", "--json").stdout)["probes"] == probes
    for name, address in probes.items():
        assert not address.endswith(":0")
        assert f"  {name:7}  {address}\n" in daemon.output()
    assert "Ctrl-C" not in daemon.output()


def test_a_table_is_no_wider_than_the_terminal(start_daemon: StartDaemon, gate: Gate) -> None:
    """Else each line of it would be two."""
    urls = [option for _ in range(5) for option in ("--bind", "127.0.0.1:0")]
    daemon = start_daemon(APP, *urls, environ={"GATE": gate.path})
    whole = ctl("shop", "list").stdout.splitlines()
    command = [os.path.join(os.path.dirname(sys.executable), "flaskd_ctl"), "list"]
    with Terminal(command, environ={"NO_COLOR": "1"}) as terminal:
        assert terminal.wait() == 0
        lines = terminal.text().splitlines()
    assert len(whole) == len(lines) == 2
    assert ", ".join(daemon.instance["listeners"]) in whole[1]
    assert len(whole[1]) > 80
    assert max(map(len, lines)) <= 80
