"""What strangers can do to an instance with a tcp:// endpoint: nothing that its other users notice."""

import contextlib
import os
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import pytest
import zmq

from flaskd.control.tcp import gateway
from flaskd_ctl import Client
from flaskd_ctl.contract.keys import read_pair, read_public
from tests.support.daemons import PATIENCE, Daemon, StartDaemon
from tests.support.eavesdropper import Eavesdropper
from tests.support.keyed import Keyring, address_in, url_among
from tests.support.siege import Silent, attack

pytestmark = [pytest.mark.live, pytest.mark.timeout(180)]

SHOP = str(Path(__file__).parents[1] / "support" / "shop.py") + ":app"

ASSAULTS: Final = 4_000
ATTACKERS: Final = 4
LINGERING: Final = 60

SLOWEST: Final = 5.0
"""Seconds that a `status` on the local socket may take at worst, on a machine that is busy with the siege itself."""

GROWTH: Final = 32 << 20
"""Bytes of memory that a siege may cost; what it takes once and keeps for the next one."""


@pytest.fixture
def keys(tmp_path: Path) -> Keyring:
    made = Keyring(tmp_path)
    made.let_in("alice")
    return made


@pytest.fixture
def shop(start_daemon: StartDaemon, keys: Keyring) -> Daemon:
    return start_daemon(SHOP, *keys.options, "--operators", "key:alice")


def url_of(daemon: Daemon) -> str:
    return url_among(daemon.instance["endpoints"])


def address_of(daemon: Daemon) -> tuple[str, int]:
    return address_in(url_of(daemon))


def alice(keys: Keyring, url: str) -> dict[str, Any]:
    return {**keys.given("alice", url), "timeout": PATIENCE}


def descriptors(daemon: Daemon) -> int:
    return len(os.listdir(f"/proc/{daemon.pid}/fd"))


def memory(daemon: Daemon) -> int:
    """Resident bytes of the supervisor."""
    return int(Path(f"/proc/{daemon.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def recording(daemon: Daemon, keys: Keyring) -> bytes:
    """What a good client says, to be torn."""
    with Eavesdropper(address_of(daemon)) as eve:
        with Client(**alice(keys, eve.url)) as client:
            client.ping()
        return b"".join(eve.asked)


class Users:
    """Those who are to notice nothing: of the application, of the local socket, and one with a key."""

    def __init__(self, daemon: Daemon, keys: Keyring) -> None:
        self._daemon = daemon
        self._remote = alice(keys, url_of(daemon))
        self.slowest_status = 0.0
        self.most_descriptors = 0
        self.rounds = 0

    def go_round(self) -> None:
        """Ask each once."""
        with urllib.request.urlopen(f"{self._daemon.url}/", timeout=PATIENCE) as answer:
            assert answer.status == 200
        with Client(self._daemon.name) as client:
            began = time.monotonic()
            assert client.status().state == "running"
            self.slowest_status = max(self.slowest_status, time.monotonic() - began)
        with Client(**self._remote) as client:
            assert client.ping().name == "shop"
        self.most_descriptors = max(self.most_descriptors, descriptors(self._daemon))
        self.rounds += 1


def test_malformed_handshakes_are_noticed_by_nobody(shop: Daemon, keys: Keyring) -> None:
    """Thousands of them, from a seed: everybody else is answered, and the daemon is as it was before."""
    users = Users(shop, keys)
    recorded = recording(shop, keys)
    seeds = range(ATTACKERS)
    attack(address_of(shop), seed=ATTACKERS, count=200, recorded=recorded)
    users.go_round()
    before = memory(shop)

    with ThreadPoolExecutor(ATTACKERS) as pool:
        attacks = [
            pool.submit(attack, address_of(shop), seed=seed, count=ASSAULTS // ATTACKERS, recorded=recorded)
            for seed in seeds
        ]
        while not all(each.done() for each in attacks):
            users.go_round()

    assert sum(each.result() for each in attacks) == ASSAULTS
    users.go_round()
    assert users.slowest_status < SLOWEST
    assert memory(shop) - before < GROWTH
    assert users.most_descriptors < gateway.DESCRIPTORS + 100
    assert "Traceback" not in shop.output()
    with Client(**alice(keys, url_of(shop))) as client:
        assert client.shutdown(timeout=PATIENCE).clean
    assert shop.wait() == 0


def test_connections_that_linger_keep_nobody_out(shop: Daemon, keys: Keyring) -> None:
    """Twice as many as are let stand: each is sent away in time, and who has a key gets in past them."""
    users = Users(shop, keys)
    users.go_round()
    began = time.monotonic()

    with Silent(address_of(shop), LINGERING) as crowd:
        while time.monotonic() < began + gateway.HANDSHAKE_TIME + 1.0:
            users.go_round()

    assert crowd.closed >= LINGERING - gateway.MAX_UNAUTHENTICATED
    assert users.slowest_status < SLOWEST
    assert users.most_descriptors < gateway.DESCRIPTORS + 100
    assert "Traceback" not in shop.output()


def test_flood_of_messages_from_who_has_a_key_is_bounded(shop: Daemon, keys: Keyring) -> None:
    """It asks without end and reads no answer: what it is not sent is dropped, and others have their turn."""
    users = Users(shop, keys)
    users.go_round()
    before = memory(shop)
    question = b'{"jsonrpc":"2.0","id":1,"method":"status"}'
    own = read_pair(str(keys.home / "callers" / "alice.key_secret"))

    with zmq.Context() as context, context.socket(zmq.DEALER) as flood:
        for option, value in (
            (zmq.CURVE_SERVERKEY, read_public(keys.server.public)),
            (zmq.CURVE_PUBLICKEY, own.public),
            (zmq.CURVE_SECRETKEY, own.secret),
            (zmq.LINGER, 0),
            (zmq.RCVHWM, 1),
            (zmq.SNDTIMEO, 500),
        ):
            flood.setsockopt(option, value)
        flood.connect(url_of(shop))
        for number in range(6_000):
            with contextlib.suppress(zmq.Again):  # it is held back
                flood.send(question if number % 100 else b"[" * 1_000_000)
            if number % 1_000 == 0:
                users.go_round()
        users.go_round()
        assert memory(shop) - before < GROWTH + (16 << 20)  # 16 messages of a peer are kept, of 1 MiB each

    users.go_round()
    assert users.slowest_status < SLOWEST
    assert "Traceback" not in shop.output()
