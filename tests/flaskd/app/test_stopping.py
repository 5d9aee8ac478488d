"""How an application learns that its process begins to stop."""

import threading
from typing import Any

import flask
import pytest

import flaskd
from flaskd.app.extension import announce_stopping
from tests.support.daemons import PATIENCE


class Extension:
    """What the application finds."""

    def __init__(self) -> None:
        self.name = "shop"
        self.stopping = threading.Event()

    def shutdown(self, **_: object) -> None: ...
    def drain(self) -> None: ...
    def resume(self) -> None: ...


def test_it_is_told_once() -> None:
    """By the event and by the signal, whose sender is the Flask application, also behind middleware."""
    app, extension = flask.Flask("shop"), Extension()
    heard: list[Any] = []
    told = threading.Event()

    def receive(sender: object) -> None:
        heard.append((sender, threading.current_thread().name))
        told.set()

    def middleware(environ: Any, start_response: Any) -> Any:
        return app(environ, start_response)

    with flaskd.worker_stopping.connected_to(receive):
        announce_stopping(middleware, extension)
        assert extension.stopping.is_set()
        assert told.wait(PATIENCE)
        announce_stopping(middleware, extension)
        for thread in threading.enumerate():
            if thread.name == "flaskd-stopping":
                thread.join(PATIENCE)
    assert heard == [(app, "flaskd-stopping")]


def test_a_receiver_that_hangs_or_fails_holds_up_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """The stop goes on while it runs; what it raises is logged."""
    extension = Extension()
    go_on, done = threading.Event(), threading.Event()

    def receive(sender: object) -> None:
        assert go_on.wait(PATIENCE)
        done.set()
        raise RuntimeError("no luck")

    with flaskd.worker_stopping.connected_to(receive):
        announce_stopping(flask.Flask("shop"), extension)
        assert extension.stopping.is_set()
        (thread,) = (each for each in threading.enumerate() if each.name == "flaskd-stopping")
        assert not done.is_set()
        go_on.set()
        thread.join(PATIENCE)

    assert done.is_set()
    assert "no luck" in caplog.text


def test_without_receivers_no_thread_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process at its limit of threads stops as well."""

    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    extension = Extension()

    announce_stopping(flask.Flask("shop"), extension)

    assert extension.stopping.is_set()
