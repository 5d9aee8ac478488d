"""Commands of an application's own, in the workers of a real daemon and in a Server."""

import os
import re
import signal
import socket
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from flaskd import Server
from flaskd_ctl import Client
from flaskd_ctl.errors import Failed, InvalidParams, NotFound, TimedOut
from flaskd_ctl.protocol import CallProgressEvent
from tests.support import commanded
from tests.support.daemons import PATIENCE, Daemon, StartDaemon
from tests.support.operating import Watch, client, ctl

pytestmark = pytest.mark.live


@pytest.fixture
def daemon(start_daemon: StartDaemon) -> Daemon:
    return start_daemon("tests.support.commanded:app", "--workers", "2")


def pids(daemon: Daemon) -> list[int]:
    with client(daemon) as running:
        return [worker.pid for worker in running.workers()]


def test_a_command_runs_in_each_worker_in_the_application_context(daemon: Daemon) -> None:
    """Or in the one that is asked."""
    with client(daemon) as running:
        every = running.call("whoami", {"greeting": "hi"})
        one = running.call("whoami", worker=2)

    assert [each.result["pid"] for each in every.workers] == pids(daemon)
    assert {(each.result["app"], each.result["greeting"]) for each in every.workers} == {("commanded", "hi")}
    assert [(each.worker, each.result["greeting"]) for each in one.workers] == [(2, "hello")]


@pytest.mark.parametrize("engine", ["granian", "waitress", "werkzeug"])
def test_every_engine_leaves_room_for_commands(start_daemon: StartDaemon, engine: str) -> None:
    """They have threads of their own: all of the engine's may be busy."""
    daemon = start_daemon("tests.support.commanded:app", "--engine", engine, "--threads", "1")

    with socket.create_connection(daemon.address, PATIENCE) as stream, client(daemon) as running:
        stream.sendall(b"GET /stream HTTP/1.1\r\nHost: shop\r\n\r\n")
        assert stream.recv(4096)

        assert running.call("whoami").workers[0].result["app"] == "commanded"


def test_what_it_yields_is_progress(daemon: Daemon) -> None:
    """In order, each before the result."""
    heard: list[CallProgressEvent] = []

    with client(daemon) as running:
        (only,) = running.call("count", {"to": 3}, on_progress=heard.append).workers

    assert only.result == 3
    assert [event.value for event in heard] == ["1 of 3", "2 of 3", "3 of 3"]
    assert {event.worker for event in heard} == {only.worker}


def test_two_at_once_are_carried_out_side_by_side(daemon: Daemon, tmp_path: Path) -> None:
    """In one worker, too: each call waits for the other."""
    with (
        Watch(daemon, "call", name="meet", params={"at": str(tmp_path)}, worker=1) as first,
        Watch(daemon, "call", name="meet", params={"at": str(tmp_path)}, worker=1) as second,
    ):
        replies = [first.reply(), second.reply()]

    assert [reply["workers"][0]["result"] for reply in replies] == ["met", "met"]


def test_a_command_that_raises_is_told_with_its_traceback(daemon: Daemon) -> None:
    """And what an application writes is made printable."""
    with client(daemon) as running:
        with pytest.raises(Failed, match=r"fail raised LookupError: no such %1B\[2J thing") as error:
            running.call("fail", worker=1)
        assert "in fail\n" in error.value.data["traceback"]
        assert running.call("whoami", worker=1).workers[0].result["greeting"] == "hello"


def test_a_command_that_fails_in_some_workers_is_a_partial_failure(daemon: Daemon) -> None:
    """The others' results are there; the exit code is 7, and 1 if it failed in all."""
    first, second = pids(daemon)

    some, every = ctl(daemon.name, "call", "fail", f"pid={second}"), ctl(daemon.name, "call", "fail")

    assert (some.returncode, every.returncode) == (7, 1)
    assert some.stdout.splitlines()[0] == "worker 1: fine"
    assert f"worker 2 (pid {second}): fail raised LookupError" in some.stdout
    assert f"worker 1 (pid {first}): fail raised LookupError" in every.stdout


def test_a_result_that_is_not_json_is_told(daemon: Daemon) -> None:
    done = ctl(daemon.name, "call", "odd")

    assert (done.returncode, done.stdout) == (1, "")
    assert "odd returned what JSON cannot have: object" in done.stderr
    assert ctl(daemon.name, "call", "count", "to=1").returncode == 0


def test_a_command_that_hangs_is_given_up_and_continues(daemon: Daemon, tmp_path: Path) -> None:
    """After its own time, or the caller's; the worker serves on, and other commands run."""
    go_on = tmp_path / "go"

    own = ctl(daemon.name, "call", "hang", f"at={go_on}")
    with client(daemon) as running:
        with pytest.raises(TimedOut, match=r"did not reply within 0\.1 s: it continues"):
            running.call("hang", {"at": str(go_on)}, timeout=0.1)
        others = running.call("whoami").workers
    go_on.touch()

    assert own.returncode == 5
    assert re.search(r"hang: worker \d did not reply within 0\.5 s: it continues", own.stderr)
    assert [each.error for each in others] == ["", ""]


def test_a_stopped_worker_is_told_and_the_others_reply(daemon: Daemon) -> None:
    """Nor does it keep anybody from the list, or is it chosen for what one of them does."""
    first, _ = pids(daemon)
    os.kill(first, signal.SIGSTOP)
    try:
        done = ctl(daemon.name, "call", "whoami", "--timeout", "1")
        once = ctl(daemon.name, "call", "count", "to=1", "--timeout", "5")
        listed = ctl(daemon.name, "call")
        routes = ctl(daemon.name, "routes")
    finally:
        os.kill(first, signal.SIGCONT)

    assert once.returncode == 0
    assert done.returncode == 7
    assert f"worker 1 (pid {first}): whoami: worker 1 did not reply within 1 s: it continues" in done.stdout
    assert (listed.returncode, routes.returncode) == (0, 0)


def test_a_worker_that_dies_of_its_command_has_not_replied(daemon: Daemon) -> None:
    """It is replaced as after any crash."""
    with client(daemon) as running, Watch(daemon) as watch:
        with pytest.raises(Failed, match=r"die: worker \d ended before it replied"):
            running.call("die")
        watch.until_worker("serving")
        assert [each.error for each in running.call("whoami").workers] == ["", ""]


def test_wrong_calls_get_a_sentence(daemon: Daemon) -> None:
    """And the exit code for what they are."""

    def told(*words: str) -> tuple[int, str]:
        done = ctl(daemon.name, "call", *words)
        return done.returncode, done.stderr

    assert told("nope")[0] == 1
    assert "the application has no command nope. Its commands are count, die," in told("nope")[1]
    assert told("count") == (2, told("count")[1])
    assert "count: params.to: object missing required field `to`. Its parameters: to." in told("count")[1]
    assert told("count", "to=x")[0] == 2
    assert "to=x is not JSON, and to is not text" in told("count", "to=x")[1]
    assert told("count", "to") == (2, told("count", "to")[1])
    assert told("count", "to=1", "to=2")[0] == 2
    assert told("count", "to=1", "--worker", "9") == (
        1,
        "flaskd_ctl: there is no worker 9. See `flaskd_ctl workers`.\n",
    )
    with client(daemon) as running:
        with pytest.raises(InvalidParams) as error:
            running.call("count", {"to": "1"})
        assert error.value.data["path"] == "params.to"
        with pytest.raises(NotFound):
            running.call("nope")


def test_the_list_shows_what_can_be_called_and_how(daemon: Daemon) -> None:
    """As `describe` publishes it."""
    listed = ctl(daemon.name, "call").stdout.splitlines()
    with client(daemon) as running:
        described = {each["name"]: each for each in running.describe()["x-application-commands"]}

    assert listed[0].split() == ["COMMAND", "PARAMETERS", "ROLE", "ON", "TIME", "SUMMARY"]
    assert re.split("  +", listed[1]) == ["count", "to=integer", "operator", "one", "20 s", "Count."]
    assert described["whoami"]["params"]["properties"] == {"greeting": {"type": "string", "default": "hello"}}
    assert (described["wipe"]["x-role"], described["wipe"]["x-permitted"]) == ("admin", True)


def test_the_audit_log_has_each_call_without_secrets(daemon: Daemon) -> None:
    """Neither among the parameters, nor in the caller's command line."""
    ctl(daemon.name, "call", "fail", "password=hunter2", "--worker", "1")
    ctl(daemon.name, "call", "count", "to=2")

    with client(daemon) as running:
        failed, done = running.history()

    assert failed.params == {"name": "fail", "params": {"password": "***"}, "worker": 1}
    assert (failed.outcome, done.outcome) == ("failed", "done")
    assert failed.error.startswith("fail raised LookupError")
    assert done.params == {"name": "count", "params": {"to": 2}}
    assert "hunter2" not in failed.who
    assert "password=***" in failed.who


def test_a_caller_that_leaves_does_not_end_the_command(daemon: Daemon, tmp_path: Path) -> None:
    """The audit log has the outcome all the same."""
    with Watch(daemon, "call", name="meet", params={"at": str(tmp_path)}, worker=1):
        while not os.listdir(tmp_path):
            pass
    (tmp_path / "other").touch()

    with client(daemon) as running:
        deadline = time.monotonic() + PATIENCE
        while (entry := running.history()[0]).outcome == "begun":
            assert time.monotonic() < deadline, "the command did not end"

    assert (entry.params["name"], entry.outcome) == ("meet", "done")


def test_routes_and_configuration_are_those_of_the_application(daemon: Daemon) -> None:
    """Without its secrets."""
    with client(daemon) as running:
        before = {route.endpoint: route for route in running.routes().routes}
        for _ in range(3):
            urllib.request.urlopen(f"{daemon.url}/items/7", timeout=PATIENCE).close()
        running.wait("idle", PATIENCE)
        routes = {route.endpoint: route for route in running.routes().routes}
        config = running.app_config(worker=2).config

    assert (routes["item"].rule, "GET" in routes["item"].methods) == ("/items/<int:item>", True)
    assert (before["item"].calls, before["item"].p95) == (0, None)
    assert routes["item"].calls == 3
    assert 0 < (routes["item"].p95 or 0) < PATIENCE
    assert config["SECRET_KEY"] == "***"
    assert config["DATABASE_URL"] == "'postgresql://shop:***@db/shop'"
    assert "hunter2" not in ctl(daemon.name, "app-config").stdout
    assert "/items/<int:item>" in ctl(daemon.name, "routes").stdout


def test_a_server_in_a_program_has_the_same_commands(runtime_dir: str) -> None:
    """It is the one process; its middleware does not hide the application."""

    def wrapped(environ: Any, start_response: Any) -> Any:
        return commanded.app(environ, start_response)

    heard: list[CallProgressEvent] = []
    with Server(wrapped, bind="127.0.0.1:0", name="inside"), Client("inside") as inside:
        (only,) = inside.call("whoami").workers
        (counted,) = inside.call("count", {"to": 2}, on_progress=heard.append).workers
        routes = inside.routes().routes
        with pytest.raises(Failed, match="fail raised LookupError"):
            inside.call("fail")

    assert (only.worker, only.result) == (0, {"pid": os.getpid(), "app": "commanded", "greeting": "hello"})
    assert (counted.result, [event.value for event in heard]) == (2, ["1 of 2", "2 of 2"])
    assert "item" in [route.endpoint for route in routes]


def test_an_application_that_is_not_flask_says_so(runtime_dir: str) -> None:
    """It may have commands all the same."""

    def plain(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        return []

    with Server(plain, bind="127.0.0.1:0", name="plain"), Client("plain") as running:
        with pytest.raises(Failed, match=r"routes needs a Flask application; this is builtins\.function"):
            running.routes()
        with pytest.raises(Failed, match="app-config needs a Flask application"):
            running.app_config()
        assert running.call("count", {"to": 1}).workers[0].result == 1


def test_a_command_is_loaded_with_the_application_or_not_at_all(
    start_daemon: StartDaemon, tmp_path: Path
) -> None:
    """A name that is defined twice is refused when the application is imported, with both places."""
    (tmp_path / "twice.py").write_text(
        "import flask, flaskd\n"
        "app = flask.Flask('twice')\n"
        "@flaskd.command('clear')\n"
        "def one(): ...\n"
        "@flaskd.command('clear')\n"
        "def two(): ...\n"
    )

    with pytest.raises(
        Exception, match=r"the command clear is defined twice: by one \(.*twice.py:3\) and by two"
    ) as no:
        start_daemon(f"{tmp_path}/twice.py:app")
    assert "rename one of them" in str(no.value).lower()
