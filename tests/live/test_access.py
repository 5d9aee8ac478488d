"""Who may do what, tried by other users of this host, with the exit codes that they see (docs/access.md)."""

import json
import os
import stat
import subprocess
from pathlib import Path
from typing import Final

import pytest

from flaskd_ctl.contract.commands import COMMANDS
from flaskd_ctl.contract.endpoint import Place
from tests.support.balancers import wait_until
from tests.support.caller import Caller
from tests.support.daemons import PATIENCE, Daemon, StartDaemon, flaskd_run
from tests.support.needs import requires
from tests.support.operating import client, ctl
from tests.support.someone import Someone

pytestmark = [pytest.mark.live, requires("root")]

ROOT: Final = Path(__file__).parents[2]
TARGET: Final = "tests.support.shop:app"
OWN: Final = 54_300
"""The group that each of them has for itself."""

VIEWER: Final = Someone(54_321, OWN)
OPERATOR: Final = Someone(54_322, OWN, [54_400])
STRANGER: Final = Someone(54_323, OWN)
VIEWERS, OPERATORS = "user:54321", "group:54400"


@pytest.fixture(autouse=True)
def enterable(runtime_dir: str) -> None:
    """Let other users go as far as the instance's directory, as in /run."""
    for directory in (os.path.dirname(runtime_dir), runtime_dir):
        os.chmod(directory, 0o755)


def start(start_daemon: StartDaemon, *args: str, prefix: tuple[str, ...] = ()) -> Daemon:
    return start_daemon(TARGET, *args, cwd=ROOT, prefix=prefix)


def modes(daemon: Daemon) -> list[int]:
    place = daemon.place
    return [stat.S_IMODE(os.stat(path).st_mode) for path in (place.directory, place.sock, place.zmq)]


def state_of(daemon: Daemon) -> str:
    with client(daemon) as shop:
        return shop.status().state


@pytest.mark.parametrize("over", ["unix", "ipc"])
def test_a_viewer_through_the_door_is_still_a_viewer(start_daemon: StartDaemon, over: str) -> None:
    """Whoever accepts the connection, it is the kernel's word about the peer that counts; the audit log has it too."""
    daemon = start(start_daemon, "--viewers", VIEWERS, "--operators", OPERATORS)
    assert VIEWER.asks(daemon, "status", over=over)["state"] == "running"
    for command in ("drain", "shutdown", "kill"):
        assert VIEWER.asks(daemon, command, over=over)["name"] == "not_permitted"
    assert OPERATOR.asks(daemon, "drain", over=over)["state"] == "draining"
    with client(daemon) as shop:
        by = shop.status().requested_by
        refused = [entry.by for entry in shop.history() if entry.outcome == "refused"]
    assert by is not None
    assert (by.uid, by.gid) == (54_322, OWN)
    assert {(each.uid, each.gid) for each in refused} == {(54_321, OWN)}


def test_no_http_request_is_a_command(start_daemon: StartDaemon) -> None:
    """Law 4: whatever the path and the method, it is the application's; and the control socket does not speak HTTP."""
    daemon = start(start_daemon)
    for command in COMMANDS:
        for path in (f"/{command}", f"/{command.replace('_', '-')}", f"/flaskd/{command}"):
            with Caller(daemon.url) as caller:
                assert caller.post(path).read().status == 404
    with Caller(f"unix://{daemon.place.sock}") as caller:
        caller.send(b"POST /shutdown HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
        assert b'"parse_error"' in caller.socket.recv(65536)
    assert state_of(daemon) == "running"


def test_without_rules_nobody_else_gets_near(start_daemon: StartDaemon) -> None:
    """Exit 4, for what would look and for what would change; and nothing was changed."""
    daemon = start(start_daemon)
    assert modes(daemon) == [0o700, 0o600, 0o600]
    for command in ("status", "drain", "shutdown", "kill"):
        refused = STRANGER.ctl("--name", "shop", command)
        assert (refused.returncode, refused.stdout) == (4, ""), refused
    assert state_of(daemon) == "running"


def test_each_role_may_what_it_includes_and_no_more(start_daemon: StartDaemon) -> None:
    """The refusal names the role that is missing, and who has it; `describe` tells the same beforehand."""
    daemon = start(start_daemon, "--viewers", VIEWERS, "--operators", OPERATORS)

    assert VIEWER.ctl("--name", "shop", "status").returncode == 0
    refused = VIEWER.ctl("--name", "shop", "shutdown")
    assert refused.returncode == 4
    assert "shutdown needs operator (held by group:54400, user:0)" in refused.stderr
    assert state_of(daemon) == "running"

    assert OPERATOR.ctl("drain").returncode == 0  # the only instance that it can see
    assert state_of(daemon) == "draining"
    refused = OPERATOR.ctl("--name", "shop", "kill")
    assert refused.returncode == 4
    assert "kill needs admin (held by user:0)" in refused.stderr

    assert STRANGER.ctl("--name", "shop", "status").returncode == 4
    assert state_of(daemon) == "draining"

    viewer = VIEWER.asks(daemon, "describe", over="unix")
    assert viewer["x-caller"]["role"] == "viewer"
    assert "shutdown" not in viewer["x-caller"]["may"]
    shown = VIEWER.ctl("--name", "shop", "describe").stdout
    assert "operator (not you)" in shown
    assert "you are viewer here" in shown
    permitted = {method["name"] for method in viewer["methods"] if method["x-permitted"]}
    assert permitted == set(viewer["x-caller"]["may"])


def test_the_only_others_who_get_near_are_those_named(start_daemon: StartDaemon) -> None:
    """By a list: the mode opens nothing to everybody, neither the sockets nor the file that says who is there."""
    daemon = start(start_daemon, "--viewers", VIEWERS, "--operators", OPERATORS)
    assert all(mode & 0o007 == 0 for mode in modes(daemon))
    assert os.stat(daemon.place.instance_file).st_mode & 0o007 == 0
    for someone in (VIEWER, OPERATOR):
        assert "running" in someone.ctl("list").stdout
    assert "not permitted" in STRANGER.ctl("list").stdout
    reached = STRANGER.ctl("--endpoint", f"unix://{daemon.place.sock}", "status")
    assert reached.returncode == 4
    assert "you may not open" in reached.stderr


def test_one_group_gets_its_permissions_by_the_mode(start_daemon: StartDaemon) -> None:
    """As `ls -l` shows it."""
    daemon = start(start_daemon, "--operators", OPERATORS)
    place = daemon.place
    assert modes(daemon) == [0o710, 0o660, 0o660]
    assert {os.stat(path).st_gid for path in (place.directory, place.sock, place.zmq)} == {54_400}
    assert OPERATOR.ctl("--name", "shop", "drain").returncode == 0
    assert VIEWER.ctl("--name", "shop", "status").returncode == 4


def test_a_reload_changes_the_rules_and_who_gets_near(start_daemon: StartDaemon, tmp_path: Path) -> None:
    """Who lost a role is refused at once, also on connections that are open: the stream of events ends, and says why."""
    config = tmp_path / "access.toml"
    config.write_text(f'viewers = ["{VIEWERS}"]\n')
    daemon = start(start_daemon, "--config", str(config))
    watching = VIEWER.start("--name", "shop", "events")
    with client(daemon) as shop:
        while not watching.has_said_something():
            shop.drain()
            shop.resume()
        shop.drain()

    config.write_text(f'operators = ["{OPERATORS}"]\n')
    reloaded = ctl("shop", "--json", "reload")

    assert set(json.loads(reloaded.stdout)["changed"]) == {"viewers", "operators"}
    assert json.loads(reloaded.stdout)["needs_restart"] == []
    assert modes(daemon) == [0o710, 0o660, 0o660]
    ended = watching.finish()
    assert ended.returncode == 4, ended
    assert "uid 54321 has no role here" in ended.stderr
    assert VIEWER.ctl("--name", "shop", "status").returncode == 4
    assert OPERATOR.ctl("--name", "shop", "resume").returncode == 0

    config.write_text("viewers = []\n")
    assert ctl("shop", "reload").returncode == 0
    assert modes(daemon) == [0o700, 0o600, 0o600]
    assert OPERATOR.ctl("--name", "shop", "status").returncode == 4


def test_a_reload_with_a_name_that_nobody_bears_changes_nothing(
    start_daemon: StartDaemon, tmp_path: Path
) -> None:
    """It is said, with the workers left as they are."""
    config = tmp_path / "access.toml"
    config.write_text(f'viewers = ["{VIEWERS}"]\n')
    daemon = start(start_daemon, "--config", str(config))
    config.write_text('viewers = ["user:nobody-of-that-name"]\n')

    refused = ctl("shop", "reload")

    assert refused.returncode == 1
    assert "there is no user 'nobody-of-that-name' on this host; nothing was changed" in refused.stderr
    assert VIEWER.ctl("--name", "shop", "status").returncode == 0
    assert state_of(daemon) == "running"


def test_a_socket_that_somebody_removed_comes_back_with_the_rules_of_a_reload(
    start_daemon: StartDaemon, tmp_path: Path
) -> None:
    """A role that was taken away is gone, also on the socket that is created again."""
    config = tmp_path / "access.toml"
    config.write_text(f'viewers = ["{VIEWERS}"]\n')
    daemon = start(start_daemon, "--config", str(config))
    endpoint = f"ipc://{daemon.place.zmq}"
    assert VIEWER.ctl("--endpoint", endpoint, "status").returncode == 0
    config.write_text(f'viewers = ["{OPERATORS}"]\n')
    os.unlink(daemon.place.sock)

    assert ctl("shop", "reload").returncode == 0

    wait_until(lambda: os.path.exists(daemon.place.sock))
    for url in (endpoint, f"unix://{daemon.place.sock}"):
        refused = VIEWER.ctl("--endpoint", url, "status")
        assert (refused.returncode, refused.stdout) == (4, "")
        assert OPERATOR.ctl("--endpoint", url, "status").returncode == 0


@pytest.mark.parametrize("command", ["run", "check"])
def test_a_name_that_nobody_bears_is_said_at_the_start(runtime_dir: str, command: str) -> None:
    """Exit 1, and nothing is bound."""
    place = Place(f"{runtime_dir}/shop")
    words = flaskd_run(TARGET, place, "--operators", "group:none-of-that-name")
    words[words.index("run")] = command
    said = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, timeout=PATIENCE, check=False)
    assert said.returncode == 1
    assert "operators: there is no group 'none-of-that-name' on this host" in said.stderr
    assert not os.path.exists(place.directory)


def test_a_role_for_the_workers_user_is_said(runtime_dir: str) -> None:
    """It would undo what the user is for."""
    words = flaskd_run(
        TARGET, Place(f"{runtime_dir}/shop"), "--worker-user", "54321:54400", "--operators", OPERATORS
    )
    words[words.index("run")] = "check"
    said = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, timeout=PATIENCE, check=False)
    assert said.returncode == 0, said
    assert "--worker-user 54321:54400 has the role operator: the application can operate its" in said.stderr


@requires("root", "unshare")
@pytest.mark.parametrize("over", ["unix", "ipc"])
def test_a_member_of_a_supplementary_group_has_its_role_over_both_transports(
    start_daemon: StartDaemon, tmp_path: Path, over: str
) -> None:
    """The plain stream asks the kernel; ZeroMQ, which is told the uid only, the user database."""
    passwd, group = tmp_path / "passwd", tmp_path / "group"
    passwd.write_text(Path("/etc/passwd").read_text() + f"olga:x:54322:{OWN}::/:/bin/false\n")
    group.write_text(Path("/etc/group").read_text() + "keepers:x:54400:olga\n")
    mounting = 'mount --bind "$1" /etc/passwd && mount --bind "$2" /etc/group && shift 2 && exec "$@"'
    prefix = ("unshare", "--mount", "sh", "-c", mounting, "sh", str(passwd), str(group))
    daemon = start(start_daemon, "--operators", "group:keepers", prefix=prefix)

    assert OPERATOR.asks(daemon, "drain", over=over)["state"] == "draining"
    assert OPERATOR.asks(daemon, "kill", over=over)["name"] == "not_permitted"
    assert STRANGER.asks(daemon, "resume", over=over)["name"] == "not_permitted"
    assert state_of(daemon) == "draining"
