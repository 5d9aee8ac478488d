"""Three instances behind a real balancer, restarted one after the other under load: no client notices."""

import contextlib
import functools
import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.balancers import (
    Balancer,
    free_ports,
    haproxy,
    nginx,
    own_address,
    runtime,
    seen,
    wait_until,
)
from tests.support.caller import Caller, call
from tests.support.daemons import Daemon, StartDaemon
from tests.support.exchange import Plan
from tests.support.load import Load
from tests.support.needs import requires
from tests.support.operating import client, ctl

pytestmark = [pytest.mark.live, pytest.mark.timeout(150)]

NUMBERS = (1, 2, 3)
PLAN = Plan(clients=6, posts=0.3, seconds=120)


class Shops:
    """Three instances at addresses that stay theirs when they are restarted."""

    def __init__(self, start_daemon: StartDaemon) -> None:
        self._start_daemon = start_daemon
        self._http, self._health, self._agent = free_ports(own_address(1), 3)
        self._daemons: dict[int, Daemon] = {}
        for number in NUMBERS:
            self.start(number)

    def __getitem__(self, number: int) -> Daemon:
        return self._daemons[number]

    @property
    def addresses(self) -> dict[str, str]:
        """What to write in the place of the page's addresses."""
        servers = {f"10.0.0.{number}:8000": f"{own_address(number)}:{self._http}" for number in NUMBERS}
        return {**servers, "8081": str(self._health), "8082": str(self._agent)}

    @property
    def servers(self) -> dict[str, str]:
        """Those of the public ports only."""
        return {there: here for there, here in self.addresses.items() if ":" in there}

    def start(self, number: int) -> None:
        """Start an instance, or start it again, and return when it serves."""
        host = own_address(number)
        ports = {"--bind": self._http, "--health": self._health, "--agent": self._agent}
        args = [word for option, port in ports.items() for word in (option, f"{host}:{port}")]
        self._daemons[number] = self._start_daemon("httpbin:app", *args, name=f"shop{number}")

    def restart(self, number: int, *args: str) -> float:
        """Stop an instance by `flaskd_ctl shutdown`, and start it again; return how long the stop took, in seconds."""
        done = ctl(f"shop{number}", "shutdown", "--json", *args)
        assert done.returncode == 0, done.stderr
        assert self[number].wait() == 0
        self.start(number)
        return float(json.loads(done.stdout)["took"])

    def served(self, number: int) -> int:
        """Tell how many requests it has answered since its start."""
        with client(self[number]) as shop:
            return sum(shop.status().served.values())


@pytest.fixture
def shops(start_daemon: StartDaemon) -> Shops:
    return Shops(start_daemon)


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """Where clients connect."""
    with socket.create_server((own_address(15), 0), backlog=256) as listening:
        yield listening


def rolled(shops: Shops, balancer: Balancer, *args: str) -> list[float]:
    """Restart each instance under load through the balancer, and prove that each request was answered as it should be.

    Each gets its share again before the next one goes. Returns how long they took to stop.
    """
    took = []
    with balancer, Load(balancer.url, PLAN) as load:
        load.wait_answered(60)
        for number in NUMBERS:
            took.append(shops.restart(number, *args))
            wait_until(functools.partial(shops.served, number))
        report = load.end()
    assert report.counts.total() == report.ok, report.as_json()
    return took


@requires("haproxy")
def test_a_rolling_restart_behind_haproxy_fails_no_request(
    shops: Shops, listener: socket.socket, tmp_path: Path
) -> None:
    """An instance says that it leaves, and goes as soon as nothing is sent to it any more, long before it would have to."""
    took = rolled(
        shops, haproxy(tmp_path, listener, shops.addresses), "--wait-unrouted", "1", "--lame-duck", "60"
    )

    assert min(took) >= 1
    assert max(took) < 30


@requires("haproxy")
def test_drain_takes_an_instance_out_before_anything_is_refused(
    shops: Shops, listener: socket.socket, tmp_path: Path
) -> None:
    """HAProxy sends it nothing more, and again something after `resume`; no request fails."""
    with haproxy(tmp_path, listener, shops.addresses) as balancer, client(shops[1]) as shop:

        def loaded(until: Callable[[], object]) -> None:
            """Have load until this is so, and all of it answered."""
            with Load(balancer.url, PLAN) as load:
                load.wait_answered(100)
                wait_until(until)
                report = load.end()
            assert report.counts.total() == report.ok, report.as_json()

        loaded(lambda: shops.served(1))
        shop.drain()
        loaded(lambda: seen(tmp_path, "shop1")["weight"] == "0")
        drained = shops.served(1)
        loaded(lambda: True)
        assert shops.served(1) == drained

        shop.resume()
        loaded(lambda: shops.served(1) > drained)


@requires("haproxy")
def test_a_busy_instance_weighs_less(shops: Shops, listener: socket.socket, tmp_path: Path) -> None:
    """Of its 16 threads 4 are busy, so HAProxy gives it three quarters of what it would."""
    with contextlib.ExitStack() as busy, haproxy(tmp_path, listener, shops.addresses) as balancer:
        assert call(balancer.url, "/get")
        for _ in range(4):
            busy.enter_context(Caller(shops[1].url)).get("/delay/10")

        wait_until(lambda: seen(tmp_path, "shop1")["weight"] == "75")
        assert seen(tmp_path, "shop2")["weight"] == "100"


@requires("haproxy")
def test_what_an_administrator_of_haproxy_drains_stays_drained(
    shops: Shops, listener: socket.socket, tmp_path: Path
) -> None:
    """The agent's word does not undo it, whatever becomes of the instance meanwhile."""
    with haproxy(tmp_path, listener, shops.addresses) as balancer, client(shops[1]) as shop:
        assert call(balancer.url, "/get")  # it serves, so its runtime socket is there
        runtime(tmp_path, "set server shop/shop1 state drain")
        shop.drain()
        wait_until(lambda: seen(tmp_path, "shop1")["weight"] == "0")
        shop.resume()
        wait_until(lambda: seen(tmp_path, "shop1")["weight"] == "100")

        wait_until(lambda: seen(tmp_path, "shop1")["status"].startswith("DRAIN"))

        runtime(tmp_path, "set server shop/shop1 state ready")
        wait_until(lambda: seen(tmp_path, "shop1")["status"] == "UP")


@requires("nginx")
def test_a_rolling_restart_behind_nginx_fails_no_request(
    shops: Shops, listener: socket.socket, tmp_path: Path
) -> None:
    """Nothing tells nginx: who is gone refuses at once, and the next one is asked, also for a POST."""
    rolled(shops, nginx(tmp_path, listener, shops.servers))
