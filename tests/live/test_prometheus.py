"""A real Prometheus scrapes a real daemon: counters never go back, and what the docs offer for it works."""

import json
import os
import re
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from tests.support.daemons import PATIENCE, Daemon, StartDaemon
from tests.support.exchange import Plan
from tests.support.load import Load
from tests.support.needs import requires
from tests.support.operating import Watch, client, ctl, settled
from tests.support.prometheus import DEPLOY, Prometheus

pytestmark = pytest.mark.live

COUNTER = re.compile(r"flaskd_.*(_total|_bucket|_count|_sum)")


def page(daemon: Daemon, *, accept: str = "*/*") -> tuple[str, bytes]:
    """Return the media type and the content of /metrics."""
    request = urllib.request.Request(
        f"http://{daemon.instance['health']}/metrics", headers={"Accept": accept}
    )
    with urllib.request.urlopen(request, timeout=PATIENCE) as response:
        return response.headers["Content-Type"], response.read()


def queries_of_dashboard() -> Iterator[str]:
    """Return each query of the dashboard, as Grafana sends it."""
    for panel in json.loads((DEPLOY / "dashboard.json").read_text())["panels"]:
        for target in panel["targets"]:
            yield target["expr"].replace("$__rate_interval", "1m").replace("$instance", ".*")


@requires("prometheus", "promtool")
@pytest.mark.timeout(150)
def test_counters_never_go_back_whatever_becomes_of_the_workers(
    start_daemon: StartDaemon, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Over recycling, a reload, and a worker that is killed; and each query and rule of the docs has an answer."""
    daemon = start_daemon(
        "httpbin:app",
        *("--workers", "2", "--health", "127.0.0.1:0", "--max-requests", "150"),
    )
    plan = Plan(mode="closed", clients=4, seconds=90)
    with Prometheus(daemon.instance["health"], tmp_path_factory.mktemp("prometheus")) as prometheus:
        with Watch(daemon) as watch, Load(daemon.url, plan) as load, client(daemon) as running:
            watch.until_worker("leaving")
            prometheus.wait("flaskd_worker_ends_total", bool)
            running.reload()
            load.wait_answered(load.answered + 50)
            os.kill(running.workers()[0].pid, signal.SIGKILL)
            watch.until_incident()
            prometheus.wait('flaskd_worker_ends_total{reason="crash"}', lambda values: values == [1.0])
            load.end(tail=0.3)
            with pytest.raises(urllib.error.HTTPError):
                urllib.request.urlopen(f"{daemon.url}/status/500", timeout=PATIENCE)
            finished = settled(running).total.start.requests
        prometheus.wait("sum(flaskd_requests_total)", lambda values: values == [finished])
        prometheus.wait("sum(flaskd_request_duration_seconds_count)", lambda values: values == [finished])

        counters = [name for name in prometheus.get("label/__name__/values") if COUNTER.fullmatch(name)]
        assert len(counters) > 10
        resets = {name: prometheus.query(f"max(resets({name}[10m]))") for name in counters}
        assert [name for name, found in resets.items() if found != [0.0]] == []
        for query in queries_of_dashboard():
            assert prometheus.query(query), f"no values: {query}"
        rules = prometheus.get("rules")["groups"][0]["rules"]
        assert [rule["health"] for rule in rules] == ["ok"] * len(rules)
        assert len(rules) == 7


@requires("promtool")
def test_promtool_has_no_complaint(start_daemon: StartDaemon) -> None:
    """About the page, or the rules of the docs."""
    daemon = start_daemon("tests.support.shop:app", "--health", "127.0.0.1:0")
    urllib.request.urlopen(daemon.url, timeout=PATIENCE).close()
    media_type, content = page(daemon)

    linted = subprocess.run(["promtool", "check", "metrics"], input=content, capture_output=True, check=False)
    checked = subprocess.run(
        ["promtool", "check", "config", str(DEPLOY / "prometheus.yml")],
        capture_output=True,
        text=True,
        check=False,
    )

    assert media_type.startswith("text/plain")
    assert (linted.returncode, linted.stdout, linted.stderr) == (0, b"", b"")
    assert (checked.returncode, checked.stderr) == (0, ""), checked.stdout


def test_the_page_and_the_command_have_the_same_numbers(start_daemon: StartDaemon) -> None:
    """The reader chooses the format; OpenMetrics ends with a mark, so that half a page is noticed."""
    daemon = start_daemon("tests.support.shop:app", "--health", "127.0.0.1:0")
    for _ in range(3):
        urllib.request.urlopen(daemon.url, timeout=PATIENCE).close()
    with client(daemon) as running:
        settled(running)
    media_type, content = page(daemon, accept="application/openmetrics-text;version=1.0.0,text/plain;q=0.5")
    shown = ctl(daemon.name, "metrics")

    wanted = 'flaskd_requests_total{endpoint="front",status="2xx"} 3.0'
    assert media_type.startswith("application/openmetrics-text; version=1.0.0")
    assert content.endswith(b"# EOF\n")
    assert wanted in content.decode()
    assert wanted in shown.stdout
    with client(daemon) as running:
        assert wanted in running.metrics()


def test_without_prometheus_client_the_next_step_is_told(
    start_daemon: StartDaemon, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """By the command and by the page; the daemon serves on."""
    hidden = tmp_path_factory.mktemp("hidden")
    (hidden / "prometheus_client.py").write_text("raise ImportError('hidden')")
    daemon = start_daemon(
        "tests.support.shop:app", "--health", "127.0.0.1:0", environ={"PYTHONPATH": str(hidden)}
    )
    refused = ctl(daemon.name, "metrics")
    with pytest.raises(urllib.error.HTTPError) as raised:
        page(daemon)

    assert refused.returncode == 1
    assert (
        "prometheus_client is not installed where flaskd is. Pip install 'flaskd[metrics]'" in refused.stderr
    )
    assert (raised.value.code, b"pip install 'flaskd[metrics]'" in raised.value.read()) == (501, True)
    urllib.request.urlopen(daemon.url, timeout=PATIENCE).close()
