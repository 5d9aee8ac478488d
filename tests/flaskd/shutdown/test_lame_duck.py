"""Serving on with readiness off: as long as it was set, or until nobody sends anything."""

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from flaskd import Server
from flaskd.errors import ConfigError
from flaskd_ctl.errors import WrongState
from tests.flaskd.conftest import WAIT, App, Http, Wire, begin_shutdown
from tests.support.caller import call
from tests.support.daemons import StartDaemon
from tests.support.operating import Watch, client

Serve = Callable[..., Server]


def test_a_stop_serves_on_until_nobody_sends_anything(serve: Serve) -> None:
    """While requests come they are answered as ever; then it does not wait for the rest of its time."""
    server = serve()
    stopped = begin_shutdown(server, lame_duck=WAIT, wait_unrouted=0.3)

    assert Http.get(server.listeners[0], "/").answer().endswith(b"hello")
    assert server.status().phase == "lame duck"
    result = stopped.result(WAIT)

    assert result.clean
    assert result.answered == 1
    assert 0.3 <= result.took < WAIT


def test_the_settings_are_for_every_stop_that_says_nothing(serve: Serve) -> None:
    """A signal cannot say how long; so a container engine's stop is as good as an operator's."""
    server = serve(wait_unrouted=0.2)

    assert 0.2 <= server.shutdown().result(WAIT).took < WAIT


@pytest.mark.parametrize("order", [{"grace": 0}, {"lame_duck": 0}])
def test_who_is_in_a_hurry_does_not_wait(order: dict[str, float], serve: Serve) -> None:
    """Grace 0 cuts at once, and 0 seconds are none, whatever is set."""
    server = serve(lame_duck=600.0, wait_unrouted=300.0)

    assert server.shutdown(**order).result(WAIT).clean


def test_without_a_ledger_nobody_can_see_requests_cease(
    serve: Serve, connect: Callable[[Server], Wire], app: App
) -> None:
    """It is refused, with what to do instead, and nothing has changed."""
    server = serve(ledger=False)

    with pytest.raises(WrongState, match="ledger"):
        server.shutdown(wait_unrouted=1)
    refused = connect(server).ask("shutdown", {"wait_unrouted": 1})
    with pytest.raises(ConfigError, match="--wait-unrouted needs --ledger"):
        Server(app, ledger=False, wait_unrouted=1)

    assert refused["error"]["data"]["name"] == "wrong_state"
    assert "--lame-duck" in refused["error"]["data"]["hint"]
    assert server.status().state == "running"


APP = """
from flask import Flask, current_app, request
app = Flask("shop")
@app.get("/leave")
def leave():
    current_app.extensions["flaskd"].shutdown(**{name: float(value) for name, value in request.args.items()})
    return "asked"
"""


@pytest.mark.live
def test_an_application_may_ask_for_it_and_is_refused_in_the_log(
    start_daemon: StartDaemon, tmp_path: Path
) -> None:
    """What cannot be done for an application is said, and the instance serves on."""
    (tmp_path / "shop.py").write_text(APP)
    daemon = start_daemon("shop:app", "--no-ledger")

    assert call(daemon.url, "/leave?wait_unrouted=1") == "asked"
    assert call(daemon.url, "/leave") == "asked"

    assert daemon.wait() == 0
    assert "ledger of requests is off" in daemon.output()
    assert "Traceback" not in daemon.output()


@pytest.mark.live
def test_a_signal_waits_as_it_is_set_and_a_second_one_does_not(
    start_daemon: StartDaemon, tmp_path: Path
) -> None:
    """SIGTERM says nothing of seconds, so the settings do, as they were read last; who sends another is in a hurry."""
    (tmp_path / "shop.py").write_text("from flask import Flask\napp = Flask('shop')\n")
    daemon = start_daemon("shop:app")
    (tmp_path / "flaskd.toml").write_text("lame_duck = 600\nwait_unrouted = 300\n")
    with client(daemon) as shop:
        assert shop.reload().changed == ["lame_duck", "wait_unrouted"]
    with Watch(daemon) as watch:
        daemon.process.send_signal(signal.SIGTERM)
        watch.until(lambda event: event.get("phase") == "lame duck")

        assert b"404" in Http(daemon.url, b"GET / HTTP/1.0\r\n\r\n").answer()

        daemon.process.send_signal(signal.SIGINT)  # another one: it counts however soon it comes
        assert daemon.wait() == 0
