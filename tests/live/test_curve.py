"""An instance operated over TCP: by the command line, from another host, and past somebody who listens in between."""

import contextlib
import json
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from flaskd_ctl import Client
from flaskd_ctl.errors import ConnectionLost
from tests.support.daemons import PATIENCE, Daemon, StartDaemon
from tests.support.eavesdropper import GREETING, Eavesdropper, frames_end
from tests.support.hosts import Host, Network, network
from tests.support.keyed import Keyring, address_in, url_among
from tests.support.needs import requires
from tests.support.page import web

pytestmark = [pytest.mark.live, pytest.mark.timeout(120)]

SHOP = str(Path(__file__).parents[1] / "support" / "shop.py") + ":app"
COLD = 60.0
"""Seconds for a command line on a busy machine."""

ALICE = ("--operators", "key:alice")


@pytest.fixture
def keys(tmp_path: Path) -> Keyring:
    made = Keyring(tmp_path)
    made.let_in("alice")
    return made


@pytest.fixture
def shop(start_daemon: StartDaemon, keys: Keyring) -> Daemon:
    """A daemon that alice operates."""
    return start_daemon(SHOP, *keys.options, *ALICE)


def url_of(daemon: Daemon) -> str:
    return url_among(daemon.instance["endpoints"])


def address_of(daemon: Daemon) -> tuple[str, int]:
    return address_in(url_of(daemon))


def alice(keys: Keyring, url: str) -> dict[str, Any]:
    """What alice gives to a client."""
    return keys.given("alice", url)


def flaskd_ctl(
    given: dict[str, str], *arguments: str, prefix: Sequence[str] = ()
) -> subprocess.CompletedProcess[str]:
    options = [part for name, value in given.items() for part in (f"--{name.replace('_', '-')}", value)]
    command = [*prefix, sys.executable, "-m", "flaskd_ctl", *options, *arguments]
    return subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=COLD, check=False
    )


# As at home


def test_a_page_offers_what_the_key_allows_and_the_instance_refuses_the_rest(
    shop: Daemon, keys: Keyring
) -> None:
    given = alice(keys, url_of(shop))
    options = [part for name, value in given.items() for part in (f"--{name.replace('_', '-')}", value)]
    with web(*options, "web", "--allow-changes") as page:
        page.enter()
        (listed,) = page.json("/api/instances")["instances"]
        look = page.look(listed["label"])
        assert look["role"] == "operator"
        assert "drain" in [each["name"] for each in look["changes"]]
        assert "gc" not in look["may"]
        refused = page.call(listed["label"], "gc")
        assert (refused.status, refused.json["error"]["name"]) == (403, "not_permitted")
        assert page.call(listed["label"], "drain").status == 200
        page.end()


def test_commands_work_as_they_do_at_home(shop: Daemon, keys: Keyring) -> None:
    """status, reload, and a shutdown that returns when nothing is left there."""
    given, address = alice(keys, url_of(shop)), address_of(shop)

    status = flaskd_ctl(given, "status", "--json")
    assert (status.returncode, json.loads(status.stdout)["pid"]) == (0, shop.pid)

    reload = flaskd_ctl(given, "reload", "--json")
    assert (reload.returncode, reload.stderr) == (0, "")
    assert json.loads(reload.stdout)["generation"] == 2

    shutdown = flaskd_ctl(given, "shutdown", "--json")
    assert (shutdown.returncode, shutdown.stderr) == (0, "")
    assert json.loads(shutdown.stdout)["clean"]

    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, timeout=PATIENCE).close()
    assert shop.wait() == 0
    gone = flaskd_ctl(given, "status")
    assert gone.returncode == 3
    assert f"nothing listens at {given['endpoint']}" in gone.stderr


def test_events_tell_the_whole_story(shop: Daemon, keys: Keyring) -> None:
    """To the last one, which is that it has stopped."""
    given = alice(keys, url_of(shop))
    options = [part for name, value in given.items() for part in (f"--{name.replace('_', '-')}", value)]
    command = [sys.executable, "-m", "flaskd_ctl", *options, "events"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as told:
        assert told.stderr is not None
        assert "events follow" in told.stderr.readline()

        with Client(**given) as client:
            client.shutdown()

        output, _ = told.communicate(timeout=COLD)
    assert told.returncode == 0
    assert "running -> stopping" in output
    assert "stopping -> stopped" in output.splitlines()[-1]


def test_end_that_nobody_announces_is_seen_too(start_daemon: StartDaemon, keys: Keyring) -> None:
    """`kill` returns when nothing listens any more, and so does who waits for that from elsewhere."""
    shop = start_daemon(SHOP, *keys.options, "--admins", "key:alice")
    given = alice(keys, url_of(shop))
    assert flaskd_ctl(given, "wait", "--for", "ready").returncode == 0
    options = [part for name, value in given.items() for part in (f"--{name.replace('_', '-')}", value)]
    waiting = [sys.executable, "-m", "flaskd_ctl", *options, "wait", "--for", "stopped"]
    with subprocess.Popen(waiting, stdout=subprocess.PIPE, text=True) as waits:
        killed = flaskd_ctl(given, "kill")
        output, _ = waits.communicate(timeout=COLD)

    assert (killed.returncode, killed.stderr) == (0, "")
    assert waits.returncode == 0
    # Of shop, or of "the instance" where it came too late to learn its name.
    assert output.endswith("is stopped\n")
    assert shop.wait() == 137


def test_each_way_of_being_refused_has_its_code(shop: Daemon, keys: Keyring) -> None:
    """4: not let in, by either side's key, or without the role. 2: asked without keys. Nothing has changed."""
    given = alice(keys, url_of(shop))
    mallory = keys.make("mallory")
    carol = keys.let_in("carol")

    cases = {
        "unknown key": (flaskd_ctl({**given, "key": mallory.secret}, "shutdown"), 4, "does not let the key"),
        "other server": (flaskd_ctl({**given, "server_key": mallory.public}, "status"), 4, "does not fit"),
        "no role": (flaskd_ctl({**given, "key": carol}, "shutdown"), 4, "key carol has no role here"),
        "too low a role": (flaskd_ctl(given, "kill"), 4, "kill needs admin"),
        "no keys": (flaskd_ctl({"endpoint": given["endpoint"]}, "status"), 2, "needs keys"),
    }

    for case, (ran, code, sentence) in cases.items():
        assert (case, ran.returncode, ran.stdout) == (case, code, "")
        assert sentence in ran.stderr, case
    assert shop.process.poll() is None
    with Client(**given) as client:
        assert client.status().state == "running"


def test_start_without_keys_is_refused_with_a_sentence(tmp_path: Path, runtime_dir: str) -> None:
    """Exit 1, and nothing is left in the way of the next start."""
    command = [sys.executable, "-m", "flaskd", "run", SHOP, "--control-endpoints", "tcp://127.0.0.1:0"]

    ran = subprocess.run(
        [*command, "--name", "shop", "--bind", "127.0.0.1:0"], capture_output=True, text=True, timeout=COLD
    )

    assert ran.returncode == 1
    assert "needs --curve-key and --authorized-keys" in ran.stderr
    assert "flaskd keygen" in ran.stderr
    assert "Traceback" not in ran.stderr


# From another host


@pytest.fixture
def net(tmp_path: Path) -> Iterator[Network]:
    (tmp_path / "net").mkdir()
    with network(tmp_path / "net", ("web1",)) as made:
        yield made


def over_there(host: Host, keys: Keyring) -> tuple[Daemon, dict[str, Any]]:
    """A daemon on a host, and what alice reaches it with."""
    options = [option.replace("127.0.0.1:0", f"{host.address}:0") for option in keys.options]
    daemon = host.start(SHOP, *options, *ALICE)
    return daemon, alice(keys, url_of(daemon))


@requires("root", "ip", "ssh", "/usr/sbin/sshd", "ssh-keygen")
def test_instance_is_operated_from_another_host(net: Network, keys: Keyring) -> None:
    """Of which it is known only who it is, and which is told when it cannot get there."""
    (host,) = net.hosts
    daemon, given = over_there(host, keys)

    status = flaskd_ctl(given, "status", "--json", prefix=net.prefix)
    assert (status.returncode, status.stderr) == (0, "")
    assert json.loads(status.stdout)["pid"] == daemon.pid

    no_way = {**given, "endpoint": "tcp://192.0.2.1:7000"}  # RFC 5737, and there is no default route
    unreachable = flaskd_ctl(no_way, "status", prefix=net.prefix)
    assert unreachable.returncode == 4
    assert "cannot reach" in unreachable.stderr

    subprocess.run(["ip", "-n", host.namespace, "link", "set", "eth0", "down"], check=True, timeout=PATIENCE)
    cut_off = flaskd_ctl(given, "status", "--timeout", "0.5", prefix=net.prefix)
    assert cut_off.returncode in {4, 5}, (
        cut_off.stderr
    )  # 4: its neighbour has been asked for before, and is known to be gone
    subprocess.run(["ip", "-n", host.namespace, "link", "set", "eth0", "up"], check=True, timeout=PATIENCE)

    shutdown = flaskd_ctl(given, "shutdown", "--json", prefix=net.prefix)
    assert (shutdown.returncode, shutdown.stderr) == (0, "")
    assert json.loads(shutdown.stdout)["clean"]
    assert daemon.wait() == 0


# Past somebody in between


def orders(daemon: Daemon) -> list[str]:
    """The orders that were given and carried out, from the audit log."""
    with Client(daemon.name) as owner:
        return [entry.command for entry in owner.history() if entry.outcome == "done"]


def test_nothing_that_is_sent_can_be_read(shop: Daemon, keys: Keyring) -> None:
    """Neither commands nor answers, nor the name of who asks."""
    with Eavesdropper(address_of(shop)) as eve, Client(**alice(keys, eve.url)) as client:
        client.drain()

    heard = b"".join(eve.asked + eve.answered)
    assert len(heard) > 500
    for word in (b"jsonrpc", b"drain", b"draining", b"alice"):
        assert word not in heard


def test_replayed_session_does_nothing(shop: Daemon, keys: Keyring) -> None:
    """The daemon's side of a handshake is new each time: what was recorded fits no other connection."""
    with Eavesdropper(address_of(shop)) as eve:
        with Client(**alice(keys, eve.url)) as client:
            client.drain()
        with Client(shop.name) as owner:
            owner.resume()
        assert orders(shop) == ["drain", "resume"]

        at_once = b"".join(eve.asked)
        assert _sent_and_dropped(address_of(shop), [at_once])
        assert _sent_and_dropped(address_of(shop), eve.asked)

    assert orders(shop) == ["drain", "resume"]
    with Client(**alice(keys, url_of(shop))) as client:
        assert client.status().state == "running"


def test_message_that_comes_twice_ends_the_connection(shop: Daemon, keys: Keyring) -> None:
    """Each has a number of its own, and numbers only rise: the second one is not carried out."""
    with (
        Eavesdropper(address_of(shop), twice=True) as eve,
        Client(**alice(keys, eve.url)) as client,
        contextlib.suppress(ConnectionLost),  # the connection may end before the reply has come
    ):
        client.scale(by=1, timeout=PATIENCE)

    assert frames_end(b"".join(eve.asked), start=GREETING, count=3), "there was no message to double"
    with Client(shop.name) as owner:
        assert owner.status().wanted_workers <= 2
        assert orders(shop).count("scale") <= 1


def _sent_and_dropped(address: tuple[str, int], parts: Sequence[bytes]) -> bool:
    """Send what was recorded, part by part as the answers come; tell whether the daemon ended the connection."""
    with socket.create_connection(address, timeout=PATIENCE) as link:
        try:
            for part in parts:
                link.sendall(part)
                link.settimeout(0.2)
                with contextlib.suppress(TimeoutError):
                    link.recv(4096)
            link.settimeout(PATIENCE)
            while link.recv(4096):
                pass
        except (ConnectionResetError, BrokenPipeError):
            pass
    return True
