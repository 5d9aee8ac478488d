"""Instances on other hosts through a real ssh: what is done there is what is told here."""

import asyncio
import contextlib
import json
import os
import select
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from flaskd.control.tcp.keygen import make_pair
from flaskd_ctl import AsyncClient, Client
from flaskd_ctl.errors import ConnectionLost, NotPermitted, NotRunning, Unreachable
from tests.support import someone
from tests.support.daemons import PATIENCE
from tests.support.hosts import BIN, Host, Network, network
from tests.support.needs import requires
from tests.support.page import web

pytestmark = [
    pytest.mark.live,
    requires("root", "ip", "ssh", "/usr/sbin/sshd", "ssh-keygen"),
    pytest.mark.timeout(120),
]

ROUNDS = 3
APP = """
import flask
app = flask.Flask(__name__)
@app.get("/")
def hello():
    return "hello"
"""


@pytest.fixture
def net(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Network]:
    with network(tmp_path) as made:
        write_config(made, tmp_path, monkeypatch)
        for host in made.hosts:
            (host.base / "shop.py").write_text(APP)
        yield made


def write_config(
    net: Network,
    base: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    there: Sequence[str] = (f"{BIN}/flaskd_ctl",),
) -> None:
    targets = "".join(f'[targets.{host.name}]\nendpoint = "ssh://{host.name}/shop"\n' for host in net.hosts)
    names = json.dumps([host.name for host in net.hosts])
    (base / "ctl.toml").write_text(
        f"ssh_command = {json.dumps(net.ssh)}\nremote_command = {json.dumps([*there])}\n"
        f"{targets}[groups]\nweb = {names}\n"
    )
    monkeypatch.setenv("FLASKD_CTL_CONFIG", str(base / "ctl.toml"))


def ctl(*args: str, prefix: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*prefix, f"{BIN}/flaskd_ctl", *args],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE + 30,
    )


@pytest.fixture
def host(net: Network) -> Host:
    return net.hosts[0]


def test_commands_work_as_they_do_at_home(host: Host) -> None:
    """Also those that stream and those that wait; the instance sees the user of the other host."""
    daemon = host.start("shop:app")

    status = ctl("--endpoint", "ssh://root@web1:22/shop", "--json", "status")
    assert status.returncode == 0, status.stderr
    assert json.loads(status.stdout)["pid"] == daemon.pid
    only = ctl("--endpoint", "ssh://web1", "ping")
    assert (only.returncode, "shop answers" in only.stdout) == (0, True), only.stderr
    reloaded = ctl("-t", "web1", "reload")
    assert (reloaded.returncode, reloaded.stderr) == (0, "")
    assert "generation 2" in reloaded.stdout
    assert ctl("-t", "web1", "drain").returncode == 0
    asked_by = json.loads(ctl("-t", "web1", "--json", "status").stdout)["requested_by"]
    assert (asked_by["via"], asked_by["uid"]) == ("control", 0)
    assert asked_by["pid"] not in {None, os.getpid()}
    assert ctl("-t", "web1", "resume").returncode == 0
    assert ctl("-t", "web1", "wait", "--for", "ready", "--timeout", "20").stdout == "shop is ready\n"


def test_a_page_here_shows_and_changes_what_is_there(host: Host) -> None:
    host.start("shop:app")
    with web("--endpoint", "ssh://web1/shop", "web", "--allow-changes") as page:
        page.enter()
        (label,) = (each["label"] for each in page.json("/api/instances")["instances"])
        assert "drain" in [each["name"] for each in page.look(label)["changes"]]
        assert page.call(label, "reload").json["result"]["generation"] == 2
        assert page.call(label, "drain").status == 200
        assert page.look(label)["state"] == "draining"
        page.end()


def test_a_shutdown_returns_when_the_process_there_is_gone(host: Host) -> None:
    daemon = host.start("shop:app")
    gone = os.pidfd_open(daemon.pid)
    try:
        done = ctl("--endpoint", "ssh://web1/shop", "shutdown")
        ready, _, _ = select.select([gone], [], [], 0)
    finally:
        os.close(gone)

    assert (done.returncode, done.stderr) == (0, "")
    assert "nothing was cut" in done.stdout
    assert ready, "the process was there when the command said that it had ended"
    again = ctl("--endpoint", "ssh://web1/shop", "shutdown")
    assert again.returncode == 3
    assert "on web1: cannot reach shop: nothing listens at" in again.stderr
    assert "last stopped" in again.stderr
    assert ctl("--endpoint", "ssh://web1/shop", "shutdown", "--missing-ok").returncode == 0


def test_both_clients_do_the_same(host: Host) -> None:
    """Typed results, progress, and an end that is one."""
    daemon = host.start("shop:app", "--workers", "2")
    steps: list[str] = []
    with Client(endpoint="ssh://web1/shop", timeout=PATIENCE) as shop:
        assert shop.ping().pid == daemon.pid
        assert shop.reload(on_progress=lambda event: steps.append(event.state)).replaced == 2
        assert shop.status().generation == 2
    assert "serving" in steps

    async def operate() -> bool:
        async with AsyncClient(endpoint="ssh://web1/shop", timeout=PATIENCE) as shop:
            assert (await shop.scale(1)).workers == 1
            assert (await shop.status()).pid == daemon.pid
            return (await shop.shutdown()).clean

    assert asyncio.run(operate())
    assert daemon.wait() == 0


def test_a_killed_instance_is_told_as_killed(host: Host) -> None:
    daemon = host.start("shop:app")

    killed = ctl("-t", "web1", "kill")

    assert killed.returncode == 0, killed.stderr
    assert f"killed pid {daemon.pid}" in killed.stdout
    daemon.wait()


def test_an_ssh_that_ends_in_a_shutdown_leaves_it_unknown(
    host: Host, net: Network, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Law 3: what was not seen is not said to have happened."""
    pids = tmp_path / "pids"
    noted = f"{shlex.quote('/bin/sh')} -c 'echo $$ >> {pids}; exec \"$@\"' sh {shlex.join(net.ssh)}"
    monkeypatch.setenv("FLASKD_CTL_SSH", noted)
    daemon = host.start("shop:app")

    def cut(_: object) -> None:
        os.kill(int(pids.read_text().split()[-1]), 9)

    with pytest.raises(ConnectionLost, match="ssh"):
        Client(endpoint="ssh://web1/shop", timeout=PATIENCE).shutdown(lame_duck=2.0, on_progress=cut)
    assert daemon.wait() == 0  # it goes on with what it was told


def test_a_process_that_dies_in_its_shutdown_is_told_as_such(host: Host) -> None:
    """The far end has seen it; nobody has seen what became of its requests."""
    daemon = host.start("shop:app")

    with pytest.raises(ConnectionLost, match=rf"pid {daemon.pid}\) ended before it said how"):
        Client(endpoint="ssh://web1/shop", timeout=PATIENCE).shutdown(
            lame_duck=30.0, on_progress=lambda _: daemon.process.kill()
        )


@pytest.mark.parametrize(
    ("url", "kind", "said"),
    [
        ("ssh://web1/nobody", NotRunning, "on web1: cannot reach nobody: nothing listens at"),
        ("ssh://10.99.1.77/shop", Unreachable, "No route to host|timed out"),
        ("ssh://web1:2222/shop", Unreachable, "Connection refused"),
        ("ssh://mallory@web1/shop", NotPermitted, "Permission denied"),
        ("ssh://10.99.1.1/shop", Unreachable, "Connection refused"),
    ],
)
def test_what_stands_in_the_way_is_told_apart(
    net: Network, url: str, kind: type[Exception], said: str
) -> None:
    with pytest.raises(kind, match=said):
        Client(endpoint=url, timeout=20).status()


def test_a_host_key_that_does_not_fit_is_ssh_s_to_refuse(net: Network, tmp_path: Path) -> None:
    known = tmp_path / "known_hosts"
    one, two = known.read_text().splitlines()
    known.write_text(f"{one.split()[0]} {' '.join(two.split()[1:])}\n")

    done = ctl("-t", "web1", "status")

    assert done.returncode == 4
    assert "Host key verification failed" in done.stderr


def test_who_you_are_there_is_the_user_of_that_host(
    runtime_dir: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever you are here: the kernel there tells the instance who dials."""
    base = Path(runtime_dir).parent / "net"
    base.mkdir()
    viewer = [
        sys.executable,
        "-c",
        someone._DROP,
        json.dumps([54_321, 54_300, [], "--name", "shop", "dial-stdio"]),
    ]
    with network(base, ["web1"]) as net:
        (host,) = net.hosts
        for directory in (base.parent, base, host.base, host.runtime_dir):
            os.chmod(directory, 0o755)  # as in /run
        write_config(net, base, monkeypatch, there=viewer)
        (host.base / "shop.py").write_text(APP)
        host.start("shop:app", "--viewers", "user:54321")

        assert ctl("-t", "web1", "status").returncode == 0
        refused = ctl("-t", "web1", "drain")

    assert (refused.returncode, refused.stdout) == (4, "")
    assert "drain needs operator" in refused.stderr


def test_a_host_without_flaskd_says_so(net: Network, tmp_path: Path) -> None:
    config = tmp_path / "ctl.toml"
    config.write_text(config.read_text().replace(f"{BIN}/flaskd_ctl", "/nowhere/flaskd_ctl"))

    done = ctl("-t", "web1", "status")

    assert done.returncode == 4
    assert "web1 has no /nowhere/flaskd_ctl. Install flaskd there" in done.stderr


def test_two_hosts_side_by_side(net: Network) -> None:
    """A table for people, an object for programs, and 7 when it is only so for some."""
    one, two = (host.start("shop:app") for host in net.hosts)

    table = ctl("-t", "web", "status")
    assert table.returncode == 0, table.stderr
    assert [line.split()[:3] for line in table.stdout.splitlines()] == [
        ["TARGET", "STATE", "READY"],
        ["web1", "running", "yes"],
        ["web2", "running", "yes"],
    ]
    told = json.loads(ctl("-t", "web", "--json", "status").stdout)
    assert [told[name]["result"]["pid"] for name in ("web1", "web2")] == [one.pid, two.pid]
    assert ctl("-t", "web2", "shutdown").returncode == 0
    some = ctl("-t", "web", "--json", "ping")
    assert some.returncode == 7
    assert [json.loads(some.stdout)[name]["exit"] for name in ("web1", "web2")] == [0, 3]


def test_a_rolling_reload_of_all_hosts_under_load_loses_nothing(net: Network) -> None:
    """One after the other, again and again, with a load on each: none lost, none refused, no kept connection closed."""
    with contextlib.ExitStack() as stack:
        for host in net.hosts:
            host.start("httpbin:app", "--threads", "8")
        kinds = (["--clients", "2"], ["--mode", "open", "--rate", "10"])
        loads = [
            stack.enter_context(net.load(host, *kind)) for host, kind in zip(net.hosts, kinds, strict=True)
        ]
        for number in range(ROUNDS):
            told = ctl("-t", "web", "--json", "reload")
            assert told.returncode == 0, told.stdout + told.stderr
            outcomes = json.loads(told.stdout)
            assert {one["result"]["generation"] for one in outcomes.values()} == {number + 2}
        reports = [load.report() for load in loads]

    for report in reports:
        assert (report["lost"], report["refused"], report["races"]) == (0, 0, 0), report
        assert report["ok"] > 10 * ROUNDS


def test_hosts_reached_by_ssh_and_by_keys_roll_together(
    net: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A group says nothing about the way to each; here the whole client is on the controller."""
    one, two = net.hosts
    server, ops = (make_pair(name, str(tmp_path / "keys"), force=False) for name in ("server", "ops"))
    (tmp_path / "authorized").mkdir(mode=0o755)
    os.rename(ops.public, tmp_path / "authorized" / "ops.key")
    url = f"tcp://{two.address}:7400"
    one.start("shop:app")
    two.start(
        "shop:app",
        "--control-endpoints",
        url,
        "--curve-key",
        str(server.secret),
        "--authorized-keys",
        str(tmp_path / "authorized"),
        "--operators",
        "key:ops",
    )
    config = tmp_path / "ctl.toml"
    over_tcp = f'endpoint = "{url}"\nkey = "keys/ops.key_secret"\nserver_key = "keys/server.key"\n'
    config.write_text(config.read_text().replace('endpoint = "ssh://web2/shop"\n', over_tcp))
    monkeypatch.setenv("FLASKD_CTL_SSH", f"ssh -F {net.ssh_config}")

    reloaded = ctl("-t", "web", "--json", "reload", prefix=net.prefix)
    stopped = ctl("-t", "web", "shutdown", prefix=net.prefix)

    assert reloaded.returncode == 0, reloaded.stdout
    assert {name: told["result"]["generation"] for name, told in json.loads(reloaded.stdout).items()} == {
        "web1": 2,
        "web2": 2,
    }
    assert (stopped.returncode, stopped.stderr) == (0, "")
    assert ctl("-t", "web", "ping", prefix=net.prefix).returncode == 3
