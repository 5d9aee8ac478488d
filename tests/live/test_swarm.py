"""The stack of docs/deploy in a swarm of its own: ten updates, a rollback and a bad release under load, and nothing is lost.

The load goes through the stack's HAProxy, which finds the tasks by the engine's DNS and asks each whether it is ready. The
network is the overlay of the stack file, of one node. What is not tried here, since this kernel may lack ip_vs, is Swarm's own
balancer: the virtual address of a service, and its ingress network.
"""

import contextlib
import http.client
import json
import sys
import time
from collections.abc import Iterator
from typing import Any, Final

import pytest

from tests.support.dockerd import BASE, DOCS, ENGINE_PATIENCE, Engine, Told
from tests.support.extent import FULL
from tests.support.needs import requires

pytestmark = [pytest.mark.live, requires("root", "docker", "haproxy", "vxlan")]

UPDATES: Final = 10 if FULL else 4
SERVICE: Final = "web_shop"
TARGET: Final = "http://127.0.0.1:8080"
SETTINGS: Final = {"HEALTH_INTERVAL": "1s", "UPDATE_MONITOR": "1s", "PROXY_IMAGE": BASE}
"""What the stack file lets be chosen: as short as can be, and a HAProxy that is not fetched."""


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """Start a swarm of one node; the image of each release differs from the others by its name."""
    context = tmp_path_factory.mktemp("shop")
    (context / "shop.py").write_text("from httpbin import app\n")
    (context / "requirements.txt").write_text("httpbin\n")
    with Engine() as booted:
        booted.build("shop:0", context)
        for number in range(1, UPDATES + 1):
            booted.docker("tag", "shop:0", f"shop:{number}")
        bad = tmp_path_factory.mktemp("bad")
        (bad / "Containerfile").write_text(
            "FROM shop:0\nUSER 0\nRUN echo import nowhere >shop.py\nUSER 10001:10001\n"
        )
        booted.docker("build", "--tag", "shop:bad", "--file", f"{bad}/Containerfile", str(bad))
        booted.docker("swarm", "init", "--advertise-addr", "127.0.0.1")
        yield booted


def deploy(engine: Engine, release: str) -> None:
    """Ask for a release, as the page says."""
    environ = {**SETTINGS, "SHOP_IMAGE": f"shop:{release}"}
    stack = ["stack", "deploy", "--resolve-image", "never", "--compose-file", str(DOCS / "stack.yml"), "web"]
    engine.docker(*stack, environ=environ)


def until(told: Iterator[Told], state: str) -> None:
    """Return when an update of the service has come to `state`; fail when it comes to another end."""
    for event in told:
        now = event["Actor"]["Attributes"].get("updatestate.new", "updating")
        assert now in {"updating", "rollback_started", state}, f"the update has {now}"
        if now == state:
            return


def images(engine: Engine) -> set[str]:
    """Tell which images are meant to run."""
    listed = engine.docker(
        "service", "ps", "--filter", "desired-state=running", "--format", "{{.Image}}", SERVICE
    )
    return set(listed.splitlines())


@contextlib.contextmanager
def load(engine: Engine, *args: str) -> Iterator[dict[str, Any]]:
    """Put load on the proxy during the block; its report is there afterwards."""
    report: dict[str, Any] = {}
    command = [
        sys.executable,
        "-m",
        "tests.support.load",
        TARGET,
        "--seconds",
        "300",
        "--count",
        "1000000",
        *args,
    ]
    with engine.popen(*command, "--until-eof") as process:
        assert process.stdout is not None
        try:
            assert "warm" in process.stdout.readline()
            yield report
            told, _ = process.communicate(timeout=ENGINE_PATIENCE)
            report.update(json.loads(told))
        finally:
            process.kill()


def await_service(engine: Engine) -> None:
    """Return when the proxy has found a task that is ready, which it announces to nobody: ask until it says no 503."""
    deadline = time.monotonic() + ENGINE_PATIENCE
    status = 0
    while status != 200:
        assert time.monotonic() < deadline, f"the proxy still says {status}"
        with contextlib.closing(http.client.HTTPConnection("proxy")) as connection:
            connection.sock = engine.connect("127.0.0.1", 8080)
            connection.request("GET", "/delay/0.2")
            status = connection.getresponse().status


def what_was_lost(report: dict[str, Any]) -> str:
    """Sum up a report for whoever has to look why."""
    counts = {name: count for name, count in report.items() if isinstance(count, int) and count}
    return f"{counts}, such as {report['unanswered'][:3]}"


@pytest.mark.timeout(900)
def test_rolling_updates_and_a_rollback_under_load_lose_nothing(engine: Engine) -> None:
    """Nobody is refused either: there is always a task that serves, and the proxy has heard of who leaves before it does."""
    with engine.events("type=container", "event=health_status") as healthy:
        deploy(engine, "0")
        for _ in range(2):
            assert next(healthy)["Action"] == "health_status: healthy"
    await_service(engine)

    with (
        load(engine, "--clients", "2") as closed,
        load(engine, "--mode", "open", "--rate", "5") as opened,
        engine.events("type=service", f"service={SERVICE}") as told,
    ):
        for number in range(1, UPDATES + 1):
            deploy(engine, str(number))
            until(told, "completed")
            assert images(engine) == {f"shop:{number}"}
        engine.docker("service", "rollback", "--detach", SERVICE)
        until(told, "rollback_completed")
        assert images(engine) == {f"shop:{UPDATES - 1}"}

        deploy(engine, "bad")
        until(told, "rollback_completed")
        assert images(engine) == {f"shop:{UPDATES - 1}"}

    for report in (closed, opened):
        assert report["ok"] > 100
        assert report["ok"] == report["requests"], what_was_lost(report)
