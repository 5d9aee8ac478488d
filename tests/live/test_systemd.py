"""docs/systemd.md under a real systemd: its commands in their order, and the service that they make."""

import contextlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.booted import Machine
from tests.support.daemons import PATIENCE
from tests.support.extent import FULL
from tests.support.needs import requires
from tests.support.service import BIN, PAGE, SITE, UNITS, Load, Service, machine_with_site

pytestmark = [pytest.mark.live, pytest.mark.systemd, requires("root", "systemd")]

TIMES = 20 if FULL else 8
MADE_BY_THE_TEST = [
    "python3 -m venv .venv",
    ".venv/bin/pip install 'flaskd[granian]'",
]
"""Commands of the page that need a network, which the machine has not: it has such an environment already."""

OPTIONS = ["--socket", "--bind", "127.0.0.1:8000"]


@pytest.fixture(scope="module")
def machine() -> Iterator[tuple[Machine, Path]]:
    """Boot once for all tests here."""
    with machine_with_site() as booted:
        yield booted


@pytest.fixture
def shop(machine: tuple[Machine, Path]) -> Iterator[Service]:
    """The service as the page makes it, not running; afterwards it is gone."""
    shop = Service(*machine)
    shop.make(*OPTIONS)
    yield shop
    shop.remove()


def consoles(page: str) -> Iterator[tuple[str, str]]:
    """Yield each command that the page shows, and what it says is printed."""
    for block in re.findall(r"^```console\n(.*?)^```", page, re.DOTALL | re.MULTILINE):
        for entry in re.split(r"^# ", block, flags=re.MULTILINE)[1:]:
            command, _, output = entry.partition("\n")
            yield command, output


@pytest.mark.timeout(290)
def test_page_leads_to_a_service_that_loses_nothing(machine: tuple[Machine, Path]) -> None:
    """Each command is run as it stands there, and prints what stands there; once the service runs there is load."""
    shop, blog = Service(*machine), Service(*machine, name="flaskd@blog", port=8001)
    source = shop.site / "shop.py"
    good, where, skipped = source.read_text(), "/", []
    source.write_text("from httpbin import app as app\n")  # what the load asks for
    with contextlib.ExitStack() as cleanup:
        cleanup.callback(source.write_text, good)
        cleanup.callback(shop.remove)
        cleanup.callback(blog.remove)
        load = None
        for command, output in consoles(PAGE.read_text(encoding="utf-8")):
            if command in MADE_BY_THE_TEST:
                skipped.append(command)
            elif command.startswith("cd "):
                where = command.removeprefix("cd ")
            else:
                printed = shop.machine.run("sh", "-c", f"cd {where} && {command}")
                assert load is not None or output in printed, (
                    command
                )  # afterwards there are requests in flight
            if command.startswith("systemd-analyze security"):
                load = cleanup.enter_context(Load(shop.machine, "http://127.0.0.1:8000", "--clients", "3"))
        assert skipped == MADE_BY_THE_TEST
        assert load is not None
        report = load.end()
        assert (report["lost"], report["refused"], report["races"]) == (0, 0, 0)
        assert report["ok"] > 50
        assert blog.get("/")[0] == 200


def test_units_have_no_mistake_that_systemd_can_see(shop: Service) -> None:
    """`systemd-analyze verify` exits 0 on unknown keys: what counts is that it says nothing."""
    template = ["--template", "--socket", "--bind", "unix:/run/flaskd-%i.sock"]
    for name, args in (
        ("shop", OPTIONS),
        ("shop", ["--user", "web", "--bind", ":80", "--watchdog", "30"]),
        ("flaskd@shop", template),
    ):
        shop.make(*args)
        files = [f"{UNITS}/{name}.{kind}" for kind in ("service", "socket")]

        assert shop.machine.run("systemd-analyze", "verify", "--man=no", *files) == ""


@pytest.mark.timeout(290)
def test_restarts_under_load_lose_nothing_and_refuse_nobody(shop: Service) -> None:
    """On every kind of listener that systemd can hand over: the queues wait for the next instance."""
    targets = ["http://127.0.0.1:8000", "http://[::1]:8000", "unix:/run/shop.http"]
    binds = ["127.0.0.1:8000", "[::1]:8000", "unix:/run/shop.http"]
    shop.make("--socket", *(word for bind in binds for word in ("--bind", bind)), app="httpbin:app")
    shop.systemctl("start", "shop.socket", "shop")

    loads = [
        Load(shop.machine, targets[0], "--clients", "2"),
        Load(shop.machine, targets[1], "--mode", "open", "--rate", "5"),
        Load(shop.machine, targets[2], "--clients", "1"),
    ]
    with loads[0], loads[1], loads[2]:
        for _ in range(TIMES):
            shop.systemctl("restart", "shop")
        reports = [load.end() for load in loads]

    print(reports)
    assert [(each["lost"], each["refused"], each["ok"] > TIMES) for each in reports] == [(0, 0, True)] * 3
    assert shop.property("NRestarts") == "0"


@pytest.mark.timeout(290)
def test_reloads_under_load_lose_nothing_and_refuse_nobody(shop: Service) -> None:
    """`systemctl reload` returns when the new workers serve, and the old ones have stepped back."""
    shop.make(*OPTIONS, "--engine", "werkzeug", app="httpbin:app")
    shop.systemctl("start", "shop.socket", "shop")

    with Load(shop.machine, "http://127.0.0.1:8000", "--clients", "3") as load:
        for _ in range(TIMES):
            shop.systemctl("reload", "shop")
        report = load.end()

    print(report)
    assert (report["lost"], report["refused"], report["races"]) == (0, 0, 0)
    assert json.loads(shop.control("--json", "status"))["generation"] == TIMES + 1


def test_connection_starts_the_service(shop: Service) -> None:
    """Socket activation: the first request waits for the start, and is answered."""
    shop.systemctl("start", "shop.socket")
    assert shop.property("ActiveState") == "inactive"

    assert shop.get("/")[0] == 200


def test_service_that_fails_while_it_is_stopped_keeps_its_socket(shop: Service) -> None:
    """A kill of the whole service resets what was in it, and nobody after that: the queue waits for the next start."""
    shop.systemctl("start", "shop.socket", "shop")
    shop.systemctl("kill", "--signal", "KILL", "shop")

    assert shop.get("/")[0] == 200
    assert shop.property("NRestarts") == "1"


def seconds_left(text: str) -> int:
    """Return what the status text of a stop says of its deadline."""
    found = re.fullmatch(r"stopping, 1 left, (\d+) s", text)
    assert found, text
    return int(found[1])


def test_status_text_follows_what_goes_on(shop: Service) -> None:
    """Requests in flight, an instance out of rotation, a stop with its seconds: as `systemctl status` shows it."""
    shop.systemctl("start", "shop.socket", "shop")
    with shop.told("STATUS") as texts, shop.held() as response:
        assert next(texts) == "running, 1 worker, 1 in flight"
        shop.control("drain")
        assert next(texts) == "draining, 1 worker, 1 in flight"
        shop.control("resume")
        assert next(texts) == "running, 1 worker, 1 in flight"
        with shop.machine.popen("systemctl", "stop", "shop") as stop:
            assert (left := seconds_left(next(texts))) <= 30
            assert seconds_left(next(texts)) < left
            shop.release()
            assert response.read() == b"finished\n"
            assert stop.wait(PATIENCE) == 0


def test_stop_may_take_longer_than_the_unit_allows_where_it_asks_for_it(shop: Service) -> None:
    """EXTEND_TIMEOUT_USEC: the operator's grace period counts, not TimeoutStopSec=."""
    shop.drop_in("[Service]\nTimeoutStopSec=1\nExecStop=\n")
    shop.systemctl("start", "shop.socket", "shop")

    with shop.held() as response, shop.told("STATUS") as texts:
        command = [f"{BIN}/flaskd_ctl", "--name", "shop", "shutdown", "--grace", "60"]
        with shop.machine.popen(*command) as stop:
            assert any(seconds_left(text) <= 57 for text in texts if text.startswith("stopping"))
            shop.release()
            assert response.read() == b"finished\n"
            assert stop.wait(PATIENCE) == 0
    assert shop.property("Result") == "success"


def test_hanging_control_loop_is_restarted_by_the_watchdog(shop: Service) -> None:
    """Stopped by SIGSTOP it gives no sign of life, whatever its workers do."""
    shop.make(*OPTIONS, "--watchdog", "3")
    shop.systemctl("start", "shop.socket", "shop")
    before = shop.property("MainPID")

    with shop.journal_follows() as lines:
        shop.systemctl("kill", "--signal", "STOP", "--kill-whom", "main", "shop")
        assert any("Watchdog timeout" in line for line in lines)
        assert any("Started shop.service" in line for line in lines)

    assert shop.property("MainPID") != before
    assert shop.get("/")[0] == 200


def test_watchdog_leaves_alone_what_answers(shop: Service) -> None:
    """Its time goes by more than once, with the application's only thread blocked; the loop gives its signs."""
    shop.make(*OPTIONS, "--watchdog", "3", "--threads", "1")
    shop.systemctl("start", "shop.socket", "shop")

    with shop.told("WATCHDOG") as signs, shop.held() as response:
        assert [next(signs) for _ in range(3)] == ["1"] * 3  # 3 s from the first to the last
        shop.release()
        response.read()

    assert shop.property("NRestarts") == "0"


def test_journal_knows_how_grave_a_line_is(shop: Service) -> None:
    """A request that was cut is an error, a greeting is not; what a worker logs keeps its level."""
    source = shop.site / "shop.py"
    good = source.read_text()
    source.write_text(good + "\nimport logging\nlogging.getLogger('till').error('the till\\nis open')\n")
    try:
        shop.systemctl("start", "shop.socket", "shop")
    finally:
        source.write_text(good)
    with shop.held():
        shop.control("shutdown", "--grace", "0", expect=6)

    errors, warnings = shop.journal("--priority", "err"), shop.journal("--priority", "warning")
    assert "[1] till: the till" in errors
    assert "  | is open" in errors
    assert "flaskd: cut GET /held" in errors
    assert "serving shop:app" not in warnings
    assert "serving shop:app" in shop.journal("--priority", "info")
    (found,) = shop.journal("--output", "json", "FLASKD_LOGGER=till").splitlines()
    assert json.loads(found)["FLASKD_WORKER"] == "1"
    assert json.loads(found)["MESSAGE"] == "[1] till: the till\n  | is open"


def test_service_runs_in_its_sandbox(shop: Service) -> None:
    """As a user made up for it, who may write nowhere but in its own directories, with no capability at all."""
    shop.systemctl("start", "shop.socket", "shop")
    pid = shop.property("MainPID")
    status = shop.machine.run("cat", f"/proc/{pid}/status")

    (uid,) = re.findall(r"^Uid:\t(\d+)", status, re.MULTILINE)
    assert 61184 <= int(uid) <= 65519  # systemd's range for DynamicUser=
    assert re.findall(r"^CapBnd:\t(0+)$", status, re.MULTILINE)
    assert re.findall(r"^Seccomp:\t2$", status, re.MULTILINE)
    inside = ["nsenter", "--target", pid, "--mount", "--setuid", uid, "--setgid", uid, "sh", "-c"]
    assert "Read-only" in shop.machine.run(*inside, f"touch {SITE}/x /etc/x /var/x 2>&1 || :")
    shop.machine.run(*inside, "touch /var/lib/flaskd/shop/x /run/flaskd/shop/x /tmp/x")


@pytest.mark.parametrize("engine", ["granian", "werkzeug"])
def test_each_engine_lives_in_the_sandbox(shop: Service, engine: str) -> None:
    """As another user, with a port of its own: pidfd, memfd, ctypes and libzmq, all under the filters."""
    shop.make("--user", "web", "--bind", "127.0.0.1:8000", "--engine", engine, "--workers", "2")
    shop.systemctl("start", "shop")
    assert shop.get("/")[0] == 200
    assert json.loads(shop.control("--json", "status"))["engine"] == engine

    shop.control("reload")
    shop.control("scale", "1")
    shop.systemctl("stop", "shop")

    assert shop.property("Result") == "success"


def test_roles_hold_in_the_sandbox(shop: Service) -> None:
    """A group that may operate reaches the socket of a user that systemd made up; whoever is not in it does not."""
    shop.make(*OPTIONS, "--operators", "group:web")
    shop.systemctl("start", "shop.socket", "shop")

    def drain(group: str, expect: int) -> None:
        user = ["setpriv", "--reuid", "nobody", "--regid", group, "--clear-groups"]
        shop.machine.run(*user, f"{BIN}/flaskd_ctl", "--name", "shop", "drain", expect=expect)

    drain("web", 0)
    drain("nogroup", 4)


def test_start_returns_when_the_first_request_is_answered(shop: Service) -> None:
    """READY=1 means that it serves, not that a process exists."""
    shop.systemctl("start", "shop")

    status, body = shop.get("/")

    assert status == 200
    assert int(body) > 1
    assert shop.property("ActiveState") == "active"


def test_runtime_directory_is_the_place_of_the_instance(shop: Service) -> None:
    """RuntimeDirectory=flaskd/%N is the instance's directory itself, private, and found by everybody."""
    shop.systemctl("start", "shop")

    place = shop.machine.root / "run/flaskd/shop"
    assert {entry.name for entry in place.iterdir()} >= {"lock", "zmq", "sock", "instance.json"}
    assert place.stat().st_mode & 0o777 == 0o700
    instance = json.loads((place / "instance.json").read_text())
    assert str(instance["pid"]) == shop.property("MainPID")
    assert "shop" in shop.machine.run(f"{BIN}/flaskd_ctl", "list")


def test_reload_replaces_the_workers_and_fails_where_the_new_ones_cannot_start(shop: Service) -> None:
    """The main process stays, the unit stays active, and requests are answered by whoever can."""
    shop.systemctl("start", "shop")
    main, worker = shop.property("MainPID"), shop.get("/")[1]

    shop.systemctl("reload", "shop")
    reloaded = shop.get("/")[1]
    with shop.broken():
        shop.systemctl("reload", "shop", expect=1)

    assert reloaded != worker
    assert shop.get("/")[1] == reloaded
    assert shop.property("ActiveState") == "active"
    assert shop.property("MainPID") == main
    assert "reload failed: worker 3 could not start" in shop.property("StatusText")


def test_stop_answers_the_slow_request_in_full(shop: Service) -> None:
    """`systemctl stop` waits for the request in flight, and leaves no process behind."""
    shop.systemctl("start", "shop")

    with shop.held() as response, shop.events() as events:
        stop = shop.machine.popen("systemctl", "stop", "shop.socket", "shop")
        with stop:
            assert any(event.get("state") == "stopping" for event in events)
            assert shop.property("ActiveState") == "deactivating"
            assert stop.poll() is None

            shop.release()

            assert response.read() == b"finished\n"
            assert stop.wait(PATIENCE) == 0
    assert shop.property("ActiveState") == "inactive"
    assert shop.property("Result") == "success"
    assert shop.processes() == []
    assert not (shop.machine.root / "run/flaskd/shop").exists()


def test_stop_command_returns_only_when_the_process_is_gone(shop: Service) -> None:
    """A second ExecStop= runs after the first: by then the main process has ended."""
    look = "ExecStop=+/bin/sh -c 'grep -s State /proc/${MAINPID:-gone}/status >/dev/shm/left; touch /dev/shm/looked'\n"
    shop.drop_in(f"[Service]\nPrivateDevices=no\n{look}")
    shop.systemctl("start", "shop")

    shop.systemctl("stop", "shop.socket", "shop")

    assert (shop.machine.root / "dev/shm/looked").exists()
    left = (shop.machine.root / "dev/shm/left").read_text()
    assert left == "" or "zombie" in left  # systemd itself is the one that buries it


def test_stop_that_cuts_a_request_is_seen_as_failed(shop: Service) -> None:
    """Exit 6 reaches whoever looks at the unit."""
    stop = f"{BIN}/flaskd_ctl --name %N shutdown --missing-ok --grace 0"
    shop.drop_in(f"[Service]\nExecStop=\nExecStop={stop}\n")
    shop.systemctl("start", "shop")

    with shop.held():
        shop.systemctl("stop", "shop.socket", "shop")

    assert "status=6" in shop.property("ExecStop")
    assert shop.property("Result") == "exit-code"
    assert shop.processes() == []


def test_stop_by_somebody_else_that_cuts_a_request_is_no_reason_to_restart(shop: Service) -> None:
    """Who stops it with `flaskd_ctl` wants it stopped; the unit shows the loss."""
    shop.systemctl("start", "shop")
    with shop.held():
        shop.control("shutdown", "--grace", "0", expect=6)
    shop.systemctl("stop", "shop.socket")

    assert shop.property("ActiveState") == "failed"
    assert "status=6" in shop.property("ExecStart")
    assert shop.property("NRestarts") == "0"


def test_stop_of_a_service_that_died_is_no_failure_of_the_stop(shop: Service) -> None:
    """After `kill -9` nothing is there to be stopped: fine with --missing-ok, else 3."""
    shop.make("--user", "web")
    shop.drop_in("[Service]\nRestart=no\nRuntimeDirectoryPreserve=yes\n")
    shop.systemctl("start", "shop")
    shop.systemctl("kill", "--signal", "KILL", "--kill-whom", "main", "shop")

    shop.systemctl("stop", "shop")

    assert "status=0" in shop.property("ExecStop")
    assert shop.property("Result") == "signal"
    assert (shop.machine.root / "run/flaskd/shop/sock").exists()  # stale, and nobody is fooled by it
    shop.control("shutdown", expect=3)
    shop.control("shutdown", "--missing-ok")
    shop.systemctl("start", "shop")  # what `kill -9` leaves behind is cleaned up without being asked
    assert shop.get("/")[0] == 200
    shop.systemctl("stop", "shop")


def test_start_of_an_application_that_does_not_import_fails_at_once(shop: Service) -> None:
    """`systemctl start` tells that nothing serves."""
    shop.drop_in(f"[Service]\nRestart=no\nExecStart=\nExecStart={BIN}/flaskd run nowhere:app --name %N\n")

    shop.systemctl("start", "shop", expect=1)

    assert shop.property("Result") == "exit-code"
    assert shop.processes() == []
