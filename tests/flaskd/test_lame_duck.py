"""Serving on with readiness off: as long as it was set, or until nobody sends anything."""

from collections.abc import Callable

import pytest

from flaskd import Server
from flaskd.errors import ConfigError
from flaskd_ctl.errors import WrongState
from tests.flaskd.conftest import WAIT, App, Http, Wire

Serve = Callable[..., Server]


def test_a_stop_serves_on_until_nobody_sends_anything(serve: Serve) -> None:
    """While requests come they are answered as ever; then it does not wait for the rest of its time."""
    server = serve()
    stopped = server.shutdown(lame_duck=WAIT, wait_unrouted=0.3)

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
    with pytest.raises(ConfigError, match="--wait-unrouted needs the ledger"):
        Server(app, ledger=False, wait_unrouted=1)

    assert refused["error"]["data"]["name"] == "wrong_state"
    assert "--lame-duck" in refused["error"]["data"]["hint"]
    assert server.status().state == "running"
