"""Applications that do what they should not, workers and supervisors that are killed: what it costs, and who answers meanwhile.

Law 2 of `flaskd run`: the control socket answers whatever the application does.
"""

import array
import contextlib
import fcntl
import os
import signal
import subprocess
import termios
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from flaskd_ctl.contract.endpoint import Place
from flaskd_ctl.errors import Failed
from tests.support.caller import Caller, call
from tests.support.daemons import PATIENCE, Daemon, StartDaemon, flaskd_run
from tests.support.gate import Gate, Held
from tests.support.latency import Echo, echoing, slowest
from tests.support.operating import Watch, all_gone, children, client, ctl, until_stopped

pytestmark = pytest.mark.live

ROOT: Final = Path(__file__).parents[2]
ENGINES: Final = ["werkzeug", "granian"]
TARGET: Final = "tests.support.faulty:app"


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch, runtime_dir: str) -> Iterator[Gate]:
    """Where requests of the application wait until the test lets them go."""
    monkeypatch.setenv("GATE", f"{runtime_dir}/gate")
    with Gate(f"{runtime_dir}/gate") as gate:
        yield gate


def start(start_daemon: StartDaemon, *args: str, when_imported: str = "") -> Daemon:
    return start_daemon(TARGET, *args, cwd=ROOT, environ={"WHEN_IMPORTED": when_imported})


def post(daemon: Daemon, path: str) -> str:
    with Caller(daemon.url) as caller:
        return caller.post(path).text()


def broken(caller: Caller) -> bool:
    """Tell whether this request's connection ends without a response."""
    try:
        caller.read()
    except (EOFError, ConnectionResetError):
        return True
    return False


@pytest.fixture(scope="module")
def echo() -> Iterator[Echo]:
    """What tells how busy this machine is."""
    with echoing() as echo:
        yield echo


def check_status_answers(
    daemon: Daemon, echo: Echo, until: threading.Event | None = None, *, times: int = 200
) -> None:
    """Check that each `status` is answered in time, as this machine is at the moment."""
    took = slowest(daemon, echo, until, times=times)
    assert took.status < took.allowed, took


# A worker ends


@pytest.mark.parametrize("engine", ENGINES)
def test_a_killed_worker_loses_what_it_had_and_nothing_else(
    start_daemon: StartDaemon, gate: Gate, engine: str
) -> None:
    """Its clients see a broken connection, its requests are named in an incident, the others' are answered; it is replaced."""
    daemon = start(start_daemon, "--workers", "2", "--engine", engine)
    with contextlib.ExitStack() as stack:
        watch = stack.enter_context(Watch(daemon))
        asked: dict[str, tuple[Caller, Held]] = {}
        for label in (
            "number-0",
            "number-1",
        ):  # while the first's worker is stopped, the other one takes the second
            for _, held in asked.values():
                os.kill(held.pid, signal.SIGSTOP)
                until_stopped(held.pid)
            caller = stack.enter_context(Caller(daemon.url)).get(f"/held/{label}")
            asked[f"/held/{label}"] = caller, gate.wait_for(label)
        assert len({held.pid for _, held in asked.values()}) == 2
        os.kill(asked["/held/number-0"][1].pid, signal.SIGCONT)
        killed = asked["/held/number-0"][1].pid
        lost = {path for path, (_, held) in asked.items() if held.pid == killed}

        os.kill(killed, signal.SIGKILL)

        incident = watch.until_incident()
        assert (incident["kind"], incident["pid"]) == ("crash", killed)
        assert incident["reason"] == "killed by SIGKILL"
        assert {request["path"] for request in incident["requests"]} == lost
        for path, (caller, held) in asked.items():
            if path in lost:
                assert broken(caller)
            else:
                held.let_go()
                assert caller.text() == "let go\n"
        assert watch.until_worker("serving")["why"] == "crash: killed by SIGKILL"
        with client(daemon) as shop:
            status = shop.status()
            assert (status.restarts, status.state, len(status.workers)) == (1, "running", 2)
            assert {request.path for request in shop.incidents(incident["id"])[0].requests} == lost


def test_a_worker_that_ends_itself_is_replaced_and_its_request_named(
    start_daemon: StartDaemon, gate: Gate
) -> None:
    """os._exit runs no clean-up of ours either."""
    daemon = start(start_daemon)
    with Watch(daemon) as watch:
        with Caller(daemon.url) as caller:
            assert broken(caller.post("/exit/3"))
        incident = watch.until_incident()
        assert (incident["kind"], incident["reason"]) == ("crash", "exit code 3")
        assert [request["path"] for request in incident["requests"]] == ["/exit/3"]
        watch.until_worker("serving")
    assert call(daemon.url, "/") == "front\n"


@pytest.mark.parametrize("engine", ENGINES)
def test_a_worker_without_its_descriptors_is_replaced(
    start_daemon: StartDaemon, gate: Gate, engine: str
) -> None:
    """It can neither serve nor be told anything any more, and does not seem to."""
    daemon = start(start_daemon, "--engine", engine)
    with Watch(daemon) as watch:
        with Caller(daemon.url) as caller:
            assert broken(caller.post("/close"))
        with Caller(daemon.url) as caller:
            caller.get("/")  # wakes who accepts
            watch.until_incident()
        watch.until_worker("serving")
    assert call(daemon.url, "/") == "front\n"
    assert ctl("shop", "shutdown").returncode == 0


def test_a_crash_loop_is_degraded_answers_with_its_traceback_and_loses_no_connection(
    start_daemon: StartDaemon, tmp_path: Path
) -> None:
    """Once the code is mended, a reload makes it run, and who waited in the accept queue is answered."""
    shop = tmp_path / "shop.py"
    code = "import flask\napp = flask.Flask(__name__)\n@app.get('/')\ndef front():\n    return 'front'\n"
    shop.write_text(code)
    daemon = start_daemon("shop:app", cwd=tmp_path, environ={"PYTHONDONTWRITEBYTECODE": "1"})
    with Watch(daemon) as watch, client(daemon) as operator, contextlib.ExitStack() as stack:
        shop.write_text("raise RuntimeError('the database is down')\n")
        os.kill(children(daemon.pid)[0], signal.SIGKILL)
        watch.until_worker("gone")
        waiting = stack.enter_context(Caller(daemon.url)).get("/")
        watch.until_state("degraded")

        status = operator.status()
        assert (status.state, status.ready, status.wanted_workers) == ("degraded", False, 1)
        assert status.last_failure is not None
        assert "RuntimeError: the database is down" in status.last_failure.reason
        assert "raise RuntimeError('the database is down')" in status.last_failure.traceback
        assert ctl("shop", "status").returncode == 0
        with pytest.raises(Failed, match="the database is down"):
            operator.reload()
        assert operator.status().state == "degraded"

        shop.write_text(code)
        assert operator.reload().workers == 1
        watch.until_state("running")
        assert waiting.text() == "front"


# A worker does not start


IMPORTS: Final = {
    "memory": ("raise MemoryError", "MemoryError"),
    "limit": (
        "import resource; resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30)); bytearray(1 << 31)",
        "MemoryError",
    ),
    "killed": ("os.kill(os.getpid(), 9)", "killed by SIGKILL"),
    "abort": ("os.abort()", "killed by SIGABRT"),
    "exit": ("sys.exit(3)", "SystemExit"),
    "end": ("os._exit(0)", "exit code 0"),
    "close": ("os.closerange(3, 4096); raise RuntimeError", ""),
}


@pytest.mark.parametrize("how", IMPORTS)
def test_code_that_kills_its_process_at_import_never_begins_to_serve(
    runtime_dir: str, gate: Gate, how: str
) -> None:
    """The daemon ends with 1 and says with what, as after any other failed start."""
    code, said = IMPORTS[how]
    done = ended(runtime_dir, code)
    assert done.returncode == 1
    assert said in done.stderr.splitlines()[-1], done.stderr
    assert not os.path.exists(os.path.join(runtime_dir, "shop"))


def ended(runtime_dir: str, when_imported: str, *args: str) -> subprocess.CompletedProcess[str]:
    """Run a daemon that is to end by itself."""
    return subprocess.run(
        flaskd_run(TARGET, Place(os.path.join(runtime_dir, "shop")), *args),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env={**os.environ, "WHEN_IMPORTED": when_imported},
        check=False,
    )


def test_a_first_import_that_hangs_ends_the_daemon_with_a_sentence(runtime_dir: str, gate: Gate) -> None:
    """--start-timeout bounds it."""
    done = ended(runtime_dir, "threading.Event().wait()", "--start-timeout", "1")
    assert done.returncode == 1
    assert "did not serve within 1 s (--start-timeout)" in done.stderr.splitlines()[-1]
    assert not os.path.exists(os.path.join(runtime_dir, "shop"))


@pytest.mark.parametrize(
    "hang", ["threading.Event().wait()", "while True: ctypes.PyDLL(None).sleep(600)"], ids=["python", "c"]
)
def test_an_import_that_hangs_later_is_an_incident_with_its_stacks(
    start_daemon: StartDaemon, gate: Gate, hang: str, tmp_path: Path
) -> None:
    """The old worker serves on; the stacks tell where it hung, also where C code holds the GIL."""
    flag = tmp_path / "hang"
    daemon = start(
        start_daemon, "--start-timeout", "4", when_imported=f"if os.path.exists({str(flag)!r}):\n    {hang}"
    )
    flag.touch()

    done = ctl("shop", "reload")

    assert done.returncode == 1
    assert "worker 2 could not start: did not serve within 4 s (--start-timeout)" in done.stderr
    with client(daemon) as shop:
        (incident,) = shop.incidents()
        assert (incident.kind, incident.worker) == ("start failed", 2)
        stacks = shop.incidents(incident.id)[0].stacks
    assert "faulty.py" in stacks
    assert call(daemon.url, "/") == "front\n"


# A worker hangs


@pytest.mark.parametrize("engine", ENGINES)
def test_status_answers_while_c_code_holds_the_gil(
    start_daemon: StartDaemon, gate: Gate, echo: Echo, engine: str
) -> None:
    """Law 2, and the request is shown; nothing else of that worker runs meanwhile."""
    daemon = start(start_daemon, "--engine", engine)
    slowest(daemon, echo, times=20)
    with Caller(daemon.url) as caller:
        caller.get("/gil/2")
        gate.wait_for("gil").let_go()
        over = threading.Event()

        def answered() -> None:
            caller.read()
            over.set()

        thread = threading.Thread(target=answered)
        thread.start()
        with client(daemon) as shop:
            assert [request.path for request in shop.requests()] == ["/gil/2"]
        check_status_answers(daemon, echo, over)
        thread.join(PATIENCE)
        assert caller.response.status == 200


@pytest.mark.parametrize("engine", ENGINES)
def test_a_stopped_worker_keeps_neither_status_nor_a_shutdown(
    start_daemon: StartDaemon, gate: Gate, echo: Echo, engine: str
) -> None:
    """SIGSTOP: it ends within the grace period and a little more, and what was cut is named from shared memory."""
    daemon = start(start_daemon, "--grace", "1", "--engine", engine)
    with Caller(daemon.url) as caller:
        caller.get("/held/stopped")
        held = gate.wait_for("stopped")
        os.kill(held.pid, signal.SIGSTOP)
        check_status_answers(daemon, echo, times=50)
        with all_gone(held.pid), client(daemon) as shop:
            began = time.monotonic()
            result = shop.shutdown()
            assert time.monotonic() - began < 1 + 4
        assert [request.path for request in result.cut] == ["/held/stopped"]
        assert not result.clean
        assert broken(caller)
    assert daemon.wait() == 6


def test_a_worker_that_hangs_when_told_to_leave_does_not_hold_up_a_shutdown(
    start_daemon: StartDaemon, gate: Gate
) -> None:
    """C code holds the GIL for longer than the grace period: exit 6, with the request named."""
    daemon = start(start_daemon, "--grace", "1")
    with Caller(daemon.url) as caller:
        caller.get("/gil/600")
        held = gate.wait_for("gil")
        with all_gone(held.pid):
            held.let_go()
            done = ctl("shop", "shutdown")
        assert done.returncode == 6
        assert "/gil/600" in done.stdout
        assert broken(caller)


# The supervisor ends


@pytest.mark.parametrize("engine", ENGINES)
def test_workers_answer_what_they_have_and_end_when_their_supervisor_was_killed(
    start_daemon: StartDaemon, gate: Gate, engine: str
) -> None:
    """The end of their line is an order to leave; then the port is free for the next instance."""
    daemon = start(start_daemon, "--workers", "2", "--engine", engine)
    address = daemon.address
    with Caller(daemon.url) as caller:
        caller.get("/held/orphan")
        held = gate.wait_for("orphan")
        with all_gone(*children(daemon.pid)):
            os.kill(daemon.pid, signal.SIGKILL)
            daemon.wait()
            held.let_go()
            assert caller.text() == "let go\n"
    again = start(start_daemon, "--bind", f"{address[0]}:{address[1]}", "--engine", engine)
    assert call(again.url, "/") == "front\n"


def test_a_stopped_worker_goes_on_and_ends_when_its_supervisor_was_killed(
    start_daemon: StartDaemon, gate: Gate
) -> None:
    """The kernel continues it, so that it sees that its line has ended."""
    daemon = start(start_daemon)
    (worker,) = children(daemon.pid)
    with all_gone(worker):
        os.kill(worker, signal.SIGSTOP)
        while "T (stopped)" not in Path(f"/proc/{worker}/status").read_text():
            pass
        os.kill(daemon.pid, signal.SIGKILL)


# What else applications do


def test_a_flood_of_output_delays_no_status(start_daemon: StartDaemon, gate: Gate, echo: Echo) -> None:
    """Somebody else than the loop of the supervisor passes it on."""
    daemon = start(start_daemon)
    post(daemon, "/flood")
    check_status_answers(daemon, echo)
    post(daemon, "/quiet")
    assert ctl("shop", "shutdown").returncode == 0
    assert daemon.wait() == 0


@pytest.mark.parametrize("engine", ENGINES)
def test_a_daemonized_child_keeps_neither_the_port_nor_the_name(
    start_daemon: StartDaemon, gate: Gate, engine: str
) -> None:
    """It lives on after a shutdown that has not waited for it; the next instance takes the same port."""
    daemon = start(start_daemon, "--engine", engine)
    address = daemon.address
    assert post(daemon, "/daemonize") == "daemonized\n"
    child = gate.wait_for("daemonized")
    spawned = int(post(daemon, "/spawn"))
    try:
        done = ctl("shop", "shutdown")
        assert (done.returncode, daemon.wait()) == (0, 0)
        os.kill(child.pid, 0)
        os.kill(spawned, 0)
        again = start(start_daemon, "--bind", f"{address[0]}:{address[1]}", "--engine", engine)
        assert call(again.url, "/") == "front\n"
    finally:
        os.kill(spawned, signal.SIGKILL)


def test_an_application_with_signal_handlers_of_its_own_is_stopped_as_any(
    start_daemon: StartDaemon, gate: Gate
) -> None:
    """A SIGTERM that reaches every process (systemd, a container engine) ends no worker before its request is answered."""
    taken = "import signal\nfor name in ('SIGTERM', 'SIGINT', 'SIGHUP', 'SIGURG', 'SIGCHLD'):\n"
    taken += "    signal.signal(getattr(signal, name), lambda *_: sys.exit(1))"
    daemon = start(start_daemon, when_imported=taken)
    with Caller(daemon.url) as caller:
        caller.get("/held/terminated")
        held = gate.wait_for("terminated")
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
            os.kill(held.pid, number)
        os.kill(daemon.pid, signal.SIGTERM)
        held.let_go()
        assert caller.text() == "let go\n"
    assert daemon.wait() == 0
    assert "nothing lost" in daemon.output()


# Nobody reads what the daemon writes


@contextlib.contextmanager
def mute(
    runtime_dir: str, *args: str, lines: int | None, stderr: int = subprocess.STDOUT
) -> Iterator[Daemon]:
    """Run a daemon whose output goes into a pipe of which nothing more is read than so many lines; None: it is closed then."""
    place = Place(os.path.join(runtime_dir, "shop"))
    process = subprocess.Popen(
        flaskd_run(TARGET, place, *args),
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=stderr,
        start_new_session=True,
        env=os.environ,
    )
    daemon = Daemon(process, place, Path(os.devnull))
    try:
        assert process.stdout is not None
        for _ in range(1 if lines is None else lines):
            assert process.stdout.readline()
        if lines is None:
            process.stdout.close()
        assert ctl("shop", "wait", "--for", "ready").returncode == 0
        yield daemon
    finally:
        daemon.end()
        process.stdout and process.stdout.close()


def test_a_daemon_whose_reader_has_gone_serves_on(runtime_dir: str, gate: Gate) -> None:
    """`flaskd run … 2>&1 | head -1`: what cannot be written is not written."""
    with mute(runtime_dir, "--access-log", "common", lines=None) as daemon:
        assert post(daemon, "/print/1000") == "written\n"
        assert ctl("shop", "reload").returncode == 0
        assert post(daemon, "/print/1000") == "written\n"
        assert ctl("shop", "shutdown").returncode == 0
        assert daemon.wait() == 0


@pytest.mark.parametrize("log", ["off", "common"])
def test_a_daemon_whose_output_nobody_reads_answers_and_ends(
    runtime_dir: str, gate: Gate, echo: Echo, log: str
) -> None:
    """The pipe is full: the application's writes wait, status and the end do not."""
    with mute(runtime_dir, "--grace", "1", "--access-log", log, lines=4) as daemon:
        post(daemon, "/flood")
        _wait_until_full(daemon)
        check_status_answers(daemon, echo)
        assert ctl("shop", "reload").returncode == 0
        assert ctl("shop", "shutdown").returncode == 0
        assert daemon.wait() == 0


@pytest.mark.parametrize("engine", ENGINES)
def test_a_stalled_stdout_silences_no_stderr(
    runtime_dir: str, gate: Gate, engine: str, tmp_path: Path
) -> None:
    """Tracebacks and crashes come out; the access log, which goes to stdout, is cut, and says so."""
    args = ["--engine", engine, "--access-log", "common", "--grace", "1"]
    errors = tmp_path / "stderr"
    with open(errors, "wb") as file, mute(runtime_dir, *args, lines=0, stderr=file.fileno()) as daemon:
        post(daemon, "/flood")
        _wait_until_full(daemon)
        with Caller(daemon.url) as caller:
            assert caller.get("/fail").read().status == 500
        with Watch(daemon) as watch:
            with contextlib.suppress(EOFError, ConnectionError), Caller(daemon.url) as caller:
                caller.post("/exit/3").read()
            watch.until_incident()
        assert ctl("shop", "shutdown").returncode == 0
        assert daemon.wait() == 0
    told = errors.read_text()
    assert "\n  | ValueError: a fault of the application's\n" in told
    assert "exit code 3" in told


def _wait_until_full(daemon: Daemon) -> None:
    """Wait until no more bytes come into the pipe, for as long as a good many requests take."""
    waiting, before, size = 0, -1, array.array("i", [0])
    assert daemon.process.stdout is not None
    while waiting < 20:
        call(daemon.url, "/")
        fcntl.ioctl(daemon.process.stdout, termios.FIONREAD, size)
        waiting = waiting + 1 if size[0] == before else 0
        before = size[0]


def test_a_full_disk_stops_nobody(runtime_dir: str, gate: Gate) -> None:
    """/dev/full refuses every write (full(4))."""
    place = Place(os.path.join(runtime_dir, "shop"))
    with open("/dev/full", "wb") as full:
        process = subprocess.Popen(
            flaskd_run(TARGET, place, "--access-log", "json"),
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=full,
            stderr=full,
            start_new_session=True,
        )
    daemon = Daemon(process, place, Path(os.devnull))
    try:
        assert ctl("shop", "wait", "--for", "ready").returncode == 0
        assert post(daemon, "/print/10") == "written\n"
        assert ctl("shop", "reload").returncode == 0
        assert call(daemon.url, "/") == "front\n"
        assert ctl("shop", "shutdown").returncode == 0
        assert daemon.wait() == 0
    finally:
        daemon.end()


def test_a_daemon_without_standard_descriptors_takes_nothing_else_for_them(
    runtime_dir: str, gate: Gate
) -> None:
    """What workers write must not go into a socket that happens to have the number of stdout."""
    place = Place(os.path.join(runtime_dir, "shop"))
    command = flaskd_run(TARGET, place, "--access-log", "common")
    process = subprocess.Popen(
        ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *command], cwd=ROOT, start_new_session=True
    )
    daemon = Daemon(process, place, Path(os.devnull))
    try:
        assert ctl("shop", "wait", "--for", "ready").returncode == 0
        assert [os.readlink(f"/proc/{process.pid}/fd/{number}") for number in range(3)] == [os.devnull] * 3
        assert post(daemon, "/print/10") == "written\n"
        assert ctl("shop", "shutdown").returncode == 0
        assert daemon.wait() == 0
    finally:
        daemon.end()
