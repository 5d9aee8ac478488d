"""The playbook of the docs, run by a real Ansible on two hosts: a rolling reload, and a release that does not work."""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.daemons import PATIENCE, Daemon
from tests.support.hosts import BIN, PROJECT, Host, Network, network
from tests.support.needs import requires
from tests.support.operating import client

pytestmark = [
    pytest.mark.live,
    requires("root", "ip", "ssh", "/usr/sbin/sshd", "ssh-keygen", f"{BIN}/ansible-playbook"),
    pytest.mark.timeout(300),
]

PLAYS = PROJECT / "docs" / "deploy" / "ansible"
RELEASE = """
from httpbin import app
VERSION = {version!r}
if VERSION == "broken":
    raise RuntimeError("the database has another schema")
@app.get("/version")
def version():
    return VERSION
@app.get("/health")
def health():
    return VERSION
"""
VERSIONS = ("one", "two", "broken")


@pytest.fixture
def net(tmp_path: Path) -> Iterator[Network]:
    with network(tmp_path) as made:
        yield made


@pytest.fixture
def masters(net: Network) -> Iterator[Path]:
    """Where Ansible's ssh keeps its connections from task to task, in a short path (unix(7)); they end with the test."""
    directory = Path(tempfile.mkdtemp(prefix="fa-", dir="/tmp"))
    yield directory
    for path in directory.iterdir():
        subprocess.run(["ssh", "-o", f"ControlPath={path}", "-O", "exit", "any"], capture_output=True)
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def daemons(net: Network) -> list[Daemon]:
    """The instance of each host, which serves release one."""
    return [start(host) for host in net.hosts]


def start(host: Host) -> Daemon:
    for version in VERSIONS:
        directory = host.base / "releases" / version
        directory.mkdir(parents=True)
        (directory / "shop.py").write_text(RELEASE.format(version=version))
    current = host.base / "current"
    current.symlink_to("releases/one")
    return host.start("shop:app", "--threads", "8", "--workers", "2", cwd=current)


def play(net: Network, base: Path, masters: Path, release: str) -> subprocess.CompletedProcess[str]:
    """Run the playbook of the docs with its inventory, from the controller's network."""
    given = {
        "release": release,
        "home": f"{base}/{{{{ inventory_hostname }}}}",
        "flaskd_ctl": f"{BIN}/flaskd_ctl",
        "ansible_python_interpreter": sys.executable,
    }
    variables = [word for key, value in given.items() for word in ("-e", f"{key}={value}")]
    quiet = {"LC_ALL": "C.UTF-8", "ANSIBLE_NOCOLOR": "1", "ANSIBLE_DEPRECATION_WARNINGS": "0"}
    return subprocess.run(
        [
            *net.prefix,
            f"{BIN}/ansible-playbook",
            "-i",
            str(PLAYS / "inventory.ini"),
            *variables,
            str(PLAYS / "rolling-reload.yml"),
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=5 * PATIENCE,
        cwd=base,
        env={
            **os.environ,
            **quiet,
            "ANSIBLE_HOME": str(base / "ansible"),
            "ANSIBLE_LOCAL_TEMP": str(base / "ansible" / "local"),
            "ANSIBLE_REMOTE_TEMP": str(base / "ansible" / "remote"),
            "ANSIBLE_SSH_ARGS": f"-F {net.ssh_config} -o ControlMaster=auto -o ControlPersist=60",
            "ANSIBLE_SSH_CONTROL_PATH_DIR": str(masters),
            "ANSIBLE_PIPELINING": "1",
        },
    )


def version(net: Network, host: Host) -> str:
    """Ask from the controller, which is where the host can be reached from."""
    asked = f"import urllib.request as r; print(r.urlopen('{host.url}/version', timeout=20).read().decode())"
    return subprocess.run(
        [*net.prefix, sys.executable, "-c", asked], capture_output=True, text=True, timeout=PATIENCE
    ).stdout.strip()


def generations(daemons: list[Daemon]) -> list[int]:
    found = []
    for daemon in daemons:
        with client(daemon) as shop:
            found.append(shop.status().generation)
    return found


def test_the_playbook_rolls_a_release_out_and_loses_nothing(
    net: Network, daemons: list[Daemon], masters: Path, tmp_path: Path
) -> None:
    """Host by host, under load on both."""
    with contextlib.ExitStack() as stack:
        loads = [stack.enter_context(net.load(host, "--mode", "open", "--rate", "10")) for host in net.hosts]
        played = play(net, tmp_path, masters, "two")
        reports = [load.report() for load in loads]

    assert played.returncode == 0, played.stdout + played.stderr
    assert [version(net, host) for host in net.hosts] == ["two", "two"]
    assert generations(daemons) == [2, 2]
    assert played.stdout.count("PLAY [Bring two of shop into service]") == 2
    assert played.stdout.index("ok: [web1] =>") < played.stdout.index("[web2]")
    assert "2 workers replaced in" in played.stdout
    for report in reports:
        assert (report["lost"], report["refused"], report["races"]) == (0, 0, 0), report


def test_a_release_that_does_not_work_goes_no_further_than_the_first_host(
    net: Network, daemons: list[Daemon], masters: Path, tmp_path: Path
) -> None:
    """Both serve the old one, the link is back, the second host was not touched, and the reason is shown.

    One that is not there is not even begun with.
    """
    played = play(net, tmp_path, masters, "broken")

    assert played.returncode == 2, played.stdout + played.stderr
    assert "RuntimeError: the database has another schema" in played.stdout
    assert "[web2]" not in played.stdout.partition("PLAY RECAP")[0]
    assert [version(net, host) for host in net.hosts] == ["one", "one"]
    assert [os.path.realpath(host.base / "current") for host in net.hosts] == [
        str(host.base / "releases" / "one") for host in net.hosts
    ]
    before = generations(daemons)
    assert before[1] == 1

    played = play(net, tmp_path, masters, "three")

    assert played.returncode == 2
    assert "Look for the release" in played.stdout
    assert generations(daemons) == before
